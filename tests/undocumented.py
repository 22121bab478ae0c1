"""What a source file uses that its libraries do not document, read from the source."""

import ast
import re

OURS = ("fedlocal", "strategies", "partitions", "hydra_plugins", "conf")
LIBRARIES = {
    "torch",
    "flwr",
    "hydra",
    "omegaconf",
    "uvicorn",
    "ray",
    "matplotlib",
    "wandb",
    "mlflow",
}
# Documented modules of libraries that have others as well.
DOCUMENTED = {
    "flwr": {"flwr.app", "flwr.clientapp", "flwr.serverapp", "flwr.serverapp.strategy"},
    "hydra": {
        "hydra",
        "hydra.core.config_store",
        "hydra.core.hydra_config",
        "hydra.errors",
        "hydra.experimental.callback",
        "hydra.plugins.launcher",
        "hydra.types",
        "hydra.utils",
    },
}
# Private by their name, but methods of every NamedTuple, and an end of every process.
NAMED_TUPLE = {"_asdict", "_exit", "_fields", "_make", "_replace"}
HYDRAS = {"_convert_", "_partial_", "_target_"}


def uses(tree):
    """What a file uses that its libraries do not document."""
    own, foreign = own_names(tree), imported(tree)
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module=str(module), level=0):
                for alias in node.names:
                    if is_undocumented(module) or is_private(alias.name, set()):
                        yield from [] if of_ours(module) else [f"{module}.{alias.name}"]
            case ast.Import():
                yield from (a.name for a in node.names if is_undocumented(a.name))
            case ast.Attribute(attr=name) if is_private(name, own):
                yield name
            case ast.keyword(arg=str(name)) if is_private(name, own):
                yield name
            case ast.Constant(value=str(text)) if re.fullmatch(r"flwr(\.\w+)+", text):
                yield from [text] if is_undocumented(text) else []
            # getattr(x, "_name"), vars(x)["_name"], x.__dict__["_name"]
            case ast.Call(func=ast.Name("getattr" | "setattr"), args=[_, name, *_]):
                yield from literal(name, own)
            case ast.Subscript(slice=name):
                yield from literal(name, own)
        yield from replaced(node, foreign)


def replaced(node, foreign):
    """Attributes of other libraries' objects that are assigned to."""
    targets = node.targets if isinstance(node, ast.Assign) else []
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "setattr":
        targets = [ast.Attribute(node.args[0], "")]
    for target in targets:
        root = target
        while isinstance(root, ast.Attribute | ast.Call):
            root = root.value if isinstance(root, ast.Attribute) else root.func
        if isinstance(target, ast.Attribute) and isinstance(root, ast.Name) and root.id in foreign:
            yield ast.unparse(target).removesuffix(".")


def literal(node, own):
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield from [node.value] if is_private(node.value, own) else []


def own_names(tree):
    """Names that a file defines: private ones are its own business."""
    own = set()
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                own.add(name)
            case ast.Name(id=name, ctx=ast.Store()):
                own.add(name)
            case ast.Attribute(value=ast.Name("self"), attr=name, ctx=ast.Store()):
                own.add(name)
    return own


def imported(tree):
    """Names that stand for modules or contents of other libraries."""
    found = set()
    for node in ast.walk(tree):
        module = node.module if isinstance(node, ast.ImportFrom) else None
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                name = (module or alias.name).split(".")[0]
                if name in LIBRARIES:
                    found.add(alias.asname or alias.name.split(".")[0])
    return found


def is_private(name, own):
    return bool(re.fullmatch(r"_[A-Za-z]\w*", name)) and name not in own | NAMED_TUPLE | HYDRAS


def is_undocumented(module):
    first, *rest = module.split(".")
    if of_ours(module) or module in DOCUMENTED.get(first, ()):
        return False
    hidden = any(is_private(part, set()) for part in (first, *rest))
    return hidden or first in DOCUMENTED or "experimental" in rest


def of_ours(module):
    return module.split(".")[0] in OURS
