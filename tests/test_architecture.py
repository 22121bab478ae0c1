"""Who may import whom, read from the source."""

import ast
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = {
    str(path.relative_to(ROOT)): path
    for package in ("fedlocal", "strategies", "partitions")
    for path in (ROOT / package).rglob("*.py")
}

# A layer of fedlocal imports itself and lower ones only.
LAYERS = (
    {
        "lazy",
        "moved",
        "options",
        "version",
        "flattened",
        "trees",
        "flat",
        "rng",
        "precision",
        "memory",
        "device",
        "whole",
    },
    {"criteria", "class_criteria", "losses"},
    {"goal", "threads", "bits", "recorded"},
    {"pieces"},
    {"rates", "sampling", "inner", "outer", "period", "mixing", "correction", "compress", "noise"},
    {"average", "lars"},
    {"strategy"},
    {"augment", "data", "models", "wire"},
    {"client", "clients", "client_table", "server", "objective", "participation", "accuracy"},
    {"ledger", "ledger_file", "links", "evaluate"},
    {"clock", "deadline", "runtime"},
    {"simulation"},
    {"replay"},
    {"in_process"},
    {"rounds"},
    {"course", "result"},
    {"simulate"},
    {"progress", "tracking"},
    {"payload", "fingerprint", "checkpoint"},
    {"config"},
    {"report"},
    {"job", "stacked"},
    {"flower", "deploy"},
    {"main"},
)


# Services that a run may be told to, and what brings one along.
SERVICES = {"wandb", "tensorboard", "mlflow"}
BRINGS = {"torch.utils.tensorboard": "tensorboard"}


def imported(path: Path) -> set[str]:
    return names_in(ast.walk(ast.parse(path.read_text())))


def names_in(nodes: Iterable[ast.AST]) -> set[str]:
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return names


def roots(path: Path) -> set[str]:
    return roots_of(imported(path))


def roots_of(names: set[str]) -> set[str]:
    return {BRINGS.get(name, name).split(".")[0] for name in names}


@pytest.mark.parametrize("file", FILES)
def test_direction_between_packages(file):
    found = roots(FILES[file])
    if file.startswith("fedlocal/"):
        # Hydra's _target_ is the only link to algorithms and schemes.
        assert not found & {"strategies", "partitions", "conf"}
    if file.startswith("partitions/"):
        assert not found & {"torch", "fedlocal", "strategies", "hydra", "omegaconf"}
    if file.startswith("strategies/"):
        assert not found & {"partitions", "hydra", "omegaconf", "flwr", *SERVICES}


@pytest.mark.parametrize("file", FILES)
def test_heavy_libraries_stay_in_their_rooms(file):
    found = roots(FILES[file])
    assert "flwr" not in found or file.startswith("fedlocal/flower/")
    assert not found & SERVICES or file.startswith("fedlocal/tracking/")
    # Only in functions: not everybody has them, and nobody waits for what he does not use.
    assert not roots_of(names_in(ast.parse(FILES[file].read_text()).body)) & SERVICES
    assert "hydra" not in found or file in (
        "fedlocal/main.py",
        "fedlocal/config/build.py",
        "fedlocal/config/chosen.py",
        "fedlocal/config/compose.py",
        "fedlocal/config/refusal.py",
        "fedlocal/config/split.py",
        "fedlocal/report/sweep.py",
    )


@pytest.mark.parametrize("file", [f for f in FILES if f.startswith("fedlocal/")])
def test_layers_import_downwards(file):
    level = {name: i for i, layer in enumerate(LAYERS) for name in layer}
    own = layer_of(file.removesuffix(".py").replace("/", "."))
    if own == "__init__":
        return
    for name in imported(FILES[file]):
        if name.startswith("fedlocal."):
            assert level[layer_of(name)] <= level[own], f"{file} imports {name}"


def layer_of(module: str) -> str:
    """A module's layer: the package or file at the top of fedlocal."""
    return module.split(".")[1]


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
