"""Who may import whom, read from the source."""

import ast
from collections.abc import Iterable
from pathlib import Path

import networkx

ROOT = Path(__file__).parents[1]
FILES = {
    str(path.relative_to(ROOT)): path
    for package in ("fedlocal", "strategies", "partitions")
    for path in (ROOT / package).rglob("*.py")
}

# A room imports itself and those of the lines above.
ROOMS = (
    {"utils", "vectors"},
    {"slots", "data"},
    {"models", "objective"},
    {"rounds"},
    {"runtime"},
    {"api"},
    {"config"},
    {"report"},
    {"cli"},
    {"flower"},
)

# Services that a run may be told to, and what brings one along.
SERVICES = {"wandb", "tensorboard", "mlflow"}
BRINGS = {"torch.utils.tensorboard": "tensorboard"}
# The result of every scheme, and what is counted and kept of it.
PARTITIONS = {
    "partitions.Partition",
    "partitions.statistics.credit",
    "partitions.storage.digest",
    "partitions.storage.save_npz",
}
HYDRA = (
    "fedlocal/cli/main.py",
    "fedlocal/config/build.py",
    "fedlocal/config/components.py",
    "fedlocal/config/compose.py",
    "fedlocal/config/errors.py",
    "fedlocal/config/split.py",
    "fedlocal/report/sweep.py",
)


def imported(path: Path) -> set[str]:
    """Modules and names that a file imports, but not those for type checkers."""
    return names_in(_run(ast.parse(path.read_text())))


def _run(tree: ast.Module) -> Iterable[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield from ast.walk(node)


def names_in(nodes: Iterable[ast.AST]) -> set[str]:
    names = set[str]()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def roots_of(names: set[str]) -> set[str]:
    return {BRINGS.get(name, name).split(".")[0] for name in names}


def test_direction_between_packages():
    for file, path in FILES.items():
        found = roots_of(imported(path))
        # Hydra's _target_ is the only link to algorithms and schemes.
        forbidden = {
            "fedlocal": {"strategies", "conf"},
            "partitions": {"torch", "fedlocal", "strategies", "hydra", "omegaconf"},
            "strategies": {"partitions", "hydra", "omegaconf", "flwr", *SERVICES},
        }[file.split("/")[0]]
        assert not found & forbidden, file
        if file.startswith("fedlocal/"):
            used = {name for name in imported(path) if name.startswith("partitions.")}
            assert used <= PARTITIONS, file


def test_heavy_libraries_stay_in_their_rooms():
    for file, path in FILES.items():
        found = roots_of(imported(path))
        assert "flwr" not in found or file.startswith("fedlocal/flower/"), file
        assert not found & SERVICES or file.startswith("fedlocal/report/tracking/"), file
        # Only in functions: not everybody has them, and nobody waits for what he does not use.
        assert not roots_of(names_in(ast.parse(path.read_text()).body)) & SERVICES, file
        assert "hydra" not in found or file in HYDRA, file


def test_rooms_import_those_above():
    level = {room: line for line, rooms in enumerate(ROOMS) for room in rooms}
    for file, path in FILES.items():
        own = file.removesuffix(".py").split("/")[1]
        if not file.startswith("fedlocal/") or own == "__init__":
            continue
        for name in imported(path):
            if name.startswith("fedlocal."):
                room = name.split(".")[1]
                assert room == own or level[room] < level[own], f"{file} imports {name}"


def test_every_room_has_its_line_and_they_are_few():
    entries = {path.stem for path in (ROOT / "fedlocal").glob("[!_]*")}
    assert entries == {room for rooms in ROOMS for room in rooms} and len(entries) + 1 <= 14


def test_no_two_files_import_each_other_around_a_circle():
    modules = {
        file.removesuffix(".py").replace("/", ".").removesuffix(".__init__"): path
        for file, path in FILES.items()
    }
    graph = networkx.DiGraph(
        (module, found)
        for module, path in modules.items()
        for name in imported(path)
        for found in {name, name.rpartition(".")[0]} & modules.keys()
        if found != module and not (name in modules and found != name)
    )
    assert not list(networkx.simple_cycles(graph))


def test_no_algorithm_is_named_outside_its_file():
    names = {path.stem for path in (ROOT / "strategies").glob("[a-z]*.py")}
    for file, path in FILES.items():
        if file.startswith("strategies/"):
            continue
        compared = {
            node.value
            for compare in ast.walk(ast.parse(path.read_text()))
            if isinstance(compare, ast.Compare)
            for node in ast.walk(compare)
            if isinstance(node, ast.Constant)
        }
        assert not compared & names, file


def test_every_strategy_has_conf_and_test():
    for path in (ROOT / "strategies").glob("[a-z]*.py"):
        assert (ROOT / "conf/strategy" / f"{path.stem}.yaml").exists(), path.stem
        assert (ROOT / "tests/strategies" / f"test_{path.stem}.py").exists(), path.stem
    for path in (ROOT / "partitions").glob("[a-z]*.py"):
        function = f"def {path.stem}("
        if function in path.read_text():
            assert (ROOT / "conf/partition" / f"{path.stem}.yaml").exists(), path.stem


def test_uplink_and_downlink_offer_the_same():
    for path in (ROOT / "conf/uplink").glob("*.yaml"):
        assert (ROOT / "conf/downlink" / path.name).read_text() == path.read_text()
