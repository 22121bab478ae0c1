"""What every scheme promises; a new file in partitions/ is tested here without being named."""

import ast
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from inspect import isfunction, signature
from pathlib import Path
from pkgutil import iter_modules

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import partitions
from partitions import Partition
from partitions.storage import digest

NAMES = [info.name for info in iter_modules(partitions.__path__)]
SCHEMES = [name for name in NAMES if isfunction(getattr(partitions, name))]
DISJOINT = [name for name in SCHEMES if name != "redundant"]
EQUAL_SIZES = ["iid", "shards", "label_blocks", "similarity", "dirichlet_prior"]


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, int, int, int]:
    """Labels, clients, seed and minimum size; every client can have an id of its own."""
    num_clients = draw(st.integers(1, 12))
    rest = draw(st.lists(st.integers(-3, 15), max_size=150))
    labels = np.array([*range(num_clients), *rest])
    labels = np.random.default_rng(len(rest)).permutation(labels)
    return labels, num_clients, draw(st.integers(0, 2**40)), draw(st.integers(0, 15))


def test_the_schemes_of_the_brief_are_there():
    assert set(SCHEMES) >= {
        *("iid", "dirichlet", "dirichlet_prior", "shards", "label_blocks", "classes_per_client"),
        *("quantity", "similarity", "natural", "redundant"),
    }


@pytest.mark.parametrize("name", SCHEMES)
def test_function_is_bound_under_its_name_both_ways(name):
    scheme = getattr(import_module(f"partitions.{name}"), name)
    assert getattr(partitions, name) is scheme
    assert scheme.__module__ == f"partitions.{name}"


@pytest.mark.parametrize("name", ["statistics", "storage", "partition"])
def test_modules_without_a_function_of_their_name_stay_modules(name):
    assert getattr(partitions, name) is sys.modules[f"partitions.{name}"]


@pytest.mark.parametrize("name", SCHEMES)
def test_signature(name):
    parameters = signature(getattr(partitions, name)).parameters
    assert list(parameters)[1:3] == ["num_clients", "seed"]
    assert parameters["min_size"].default == 10
    assert all(p.default is not p.empty for p in list(parameters.values())[3:])


@pytest.mark.parametrize("name", NAMES)
def test_imports_numpy_and_the_standard_library_only(name):
    tree = ast.parse(Path(partitions.__path__[0], f"{name}.py").read_text())
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    roots = {getattr(node, "module", None) or node.names[0].name for node in found}
    assert {root.split(".")[0] for root in roots} <= {
        "numpy",
        "partitions",
    } | sys.stdlib_module_names


@pytest.mark.parametrize("name", DISJOINT)
@given(case=cases())
def test_covers_everything_exactly_once_sorted_in_one_chunk(name, case):
    labels, num_clients, seed, min_size = case
    split = getattr(partitions, name)(labels, num_clients, seed, min_size=min_size)
    assert isinstance(split, Partition) and len(split) == num_clients
    assert sorted(np.concatenate(split).tolist()) == list(range(len(labels)))
    for held, chunks in zip(split, split.chunks, strict=True):
        assert held.dtype == np.int64 and (np.diff(held) > 0).all()
        assert len(chunks) == 1 and chunks[0] is held


@pytest.mark.parametrize("name", [name for name in SCHEMES if name != "natural"])
@given(case=cases())
def test_minimum_size(name, case):
    labels, num_clients, seed, min_size = case
    scheme = getattr(partitions, name)
    if name == "redundant":
        scheme = partial(scheme, base=partial(partitions.dirichlet, min_size=min_size))
    split = scheme(labels, num_clients, seed, min_size=min_size)
    assert min(map(len, split)) >= min(min_size, len(labels) // num_clients)


@pytest.mark.parametrize("name", EQUAL_SIZES)
@given(case=cases())
def test_equal_sizes(name, case):
    labels, num_clients, seed, min_size = case
    held = sorted(map(len, getattr(partitions, name)(labels, num_clients, seed, min_size=min_size)))
    assert held[-1] - held[0] <= 1


@pytest.mark.parametrize("name", SCHEMES)
@given(case=cases())
def test_same_seed_same_split_and_no_trace_outside(name, case):
    labels, num_clients, seed, _ = case
    scheme, before = getattr(partitions, name), labels.copy()
    np.random.seed(1)
    first = digest(scheme(labels, num_clients, seed))
    np.random.seed(2)
    assert first == digest(scheme(labels.tolist(), num_clients=num_clients, seed=seed))
    assert (labels == before).all()


@pytest.mark.parametrize("name", [name for name in SCHEMES if name != "label_blocks"])
def test_seeds_differ(name):
    labels = np.arange(300) % 30
    assert len({digest(getattr(partitions, name)(labels, 6, seed)) for seed in range(5)}) == 5


GOLDEN = {
    "iid": "4e910d13a269532617e0235459ea669f5631c37ea79eff0deb3cdc9fddb6593d",
    "dirichlet": "f69c80311a117e40eac847a37d433785ee237db0c6da71e68a7ca001accc4b94",
    "dirichlet_prior": "0c8c6af5f17af60453727121dcddac88389c4f963bb2993cdcf96768ebc85783",
    "shards": "bae2caa7c86480dc36d361c55b17a45770f77426953b4b867fbf8e16f58fbefd",
    "label_blocks": "1bdcae39134102c4952971155e45f59aa81cf1d1e7f7835a7e7a3696c8ddca47",
    "classes_per_client": "941c7ea862133375e653c95f50341c793b99c4b17273dd6c10621180c989733f",
    "quantity": "86888b75a7ccc6a1a41e28e92b68c535cbad6676a6c1334fee933a4add993b3c",
    "similarity": "f35f2de22a9369332515153d86e08c6b93b5fd73b36d74a22075d5e200cb9990",
    "natural": "1fb790051bff763e6f08fe974a78fef0a5455d4d3335ca82f05a9e28db928f52",
    "redundant": "84094cce97f584b803ff92e4d117b5ca674010ddbada0689de14de3f01cb67a6",
}


@pytest.mark.parametrize("name", SCHEMES)
def test_golden_digest(name):
    """A change here changes every published split: note it under Numerics in the changelog."""
    labels = np.arange(500) ** 2 % 23
    assert digest(getattr(partitions, name)(labels, 7, seed=3)) == GOLDEN[name]


ARGUMENT_ERRORS: list[tuple[Callable[[Callable], object], str]] = [
    (lambda f: f([0] * 9, 0, 0), "num_clients must be an integer of at least 1, got 0; use"),
    (lambda f: f([0] * 9, -2, 0), "num_clients must be an integer of at least 1, got -2; use"),
    (lambda f: f([0] * 9, 2.0, 0), r"num_clients must be an integer of at least 1, got 2\.0; use"),
    (lambda f: f([0] * 9, 10, 0), "got 10 clients for 9 examples; use fewer clients or more data"),
    (lambda f: f([], 1, 0), "got 1 clients for 0 examples; use fewer clients or more data"),
    (lambda f: f([[0], [1]], 1, 0), r"labels must be 1-D, .*got shape \(2, 1\); pass the class"),
    (lambda f: f([0.5, 1.0], 1, 0), "labels must be integers.*, got dtype float64; cast them"),
    (lambda f: f([True, False], 1, 0), "labels must be integers.*, got dtype bool; cast them"),
    (lambda f: f([0] * 9, 1, -1), "seed must be an integer of at least 0, got -1; use seed=0"),
    (lambda f: f([0] * 9, 1, None), "seed must be an integer of at least 0, got None; use seed=0"),
    (lambda f: f([0] * 9, 1, 0, min_size=-1), "min_size must be an integer of at least 0, got -1"),
]


@pytest.mark.parametrize(("call", "message"), ARGUMENT_ERRORS)
@pytest.mark.parametrize("name", SCHEMES)
def test_wrong_arguments_are_named(name, call, message):
    with pytest.raises(ValueError, match=message):
        call(getattr(partitions, name))


@pytest.mark.parametrize("alpha", [0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["dirichlet", "dirichlet_prior", "quantity"])
def test_wrong_alpha(name, alpha):
    with pytest.raises(ValueError, match=f"alpha must be positive and finite, got {alpha}; small"):
        getattr(partitions, name)([0] * 9, 2, 0, alpha=alpha)
