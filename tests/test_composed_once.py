"""Compositions that tests keep are equal to those of Hydra."""

from collections.abc import Iterator

import pytest
from hydra import compose, initialize_config_module
from hydra._internal import config_loader_impl
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra.errors import HydraException
from omegaconf import Container, ListConfig, Node, OmegaConf

LINES = [
    "",
    "K=3",
    "K=3 strategy=vrl_sgd",
    "strategy=vrl_sgd K=4",
    "strategy=vrl_sgd uplink=qsgd +uplink.compressor.more={a:1}",
    "strategy=double_compression ~experiment",
    "partition=redundant partition@partition.base=iid partition.base.seed=3",
    "hydra/launcher=stacked hydra.job.chdir=true ++foo.bar=[1]",
    "experiment=vrl_sgd_mnist dataset.root=DIR",
]


def composed(line: str):
    with initialize_config_module("conf", version_base="1.3"):
        return compose("config", line.split(), return_hydra_config=True)


def nodes(cfg: Container) -> Iterator[Node]:
    yield cfg
    names = range(len(cfg)) if isinstance(cfg, ListConfig) else list(cfg)
    for name in names if not cfg._is_none() and not cfg._is_missing() else ():
        child = cfg._get_node(name)
        yield from nodes(child) if isinstance(child, Container) else (child,)


def described(cfg: Container) -> list[tuple[object, ...]]:
    data = ((type(node), node._metadata) for node in nodes(cfg))
    # Their caches hold the time.
    return [(kind, d.key, d.ref_type, d.object_type, d.optional, d.flags) for kind, d in data]


@pytest.fixture
def as_users_do(monkeypatch):
    """Compositions by Hydra alone."""

    def alone(line: str):
        with monkeypatch.context() as patch:
            for owner, name in (
                (ConfigRepository, "load_config"),
                (config_loader_impl, "create_defaults_list"),
                (ConfigLoaderImpl, "_load_single_config"),
                (ConfigLoaderImpl, "_compose_config_from_defaults_list"),
            ):
                patch.setattr(owner, name, getattr(owner, name).__wrapped__)
            return composed(line)

    return alone


def test_a_composition_that_is_kept_is_the_one_that_users_get(as_users_do):
    for line in LINES:
        alone, _, kept = as_users_do(line), composed(line), composed(line)
        # Unresolved, and in the same order.
        assert OmegaConf.to_yaml(kept) == OmegaConf.to_yaml(alone)
        assert described(kept) == described(alone)


def test_what_is_given_to_one_is_not_in_the_next():
    one = composed("K=3 strategy.lr=0.3")
    one.strategy.buffers = "changed"
    other = composed("K=2").strategy
    assert other.lr != 0.3 and other.buffers != "changed"


@pytest.mark.parametrize("line", ["K=3 foo=1", "strategy=foo", "+strategy=vrl_sgd", "K=[1"])
def test_refusals_are_hydras_own(as_users_do, line):
    composed("K=3")
    said = set()
    for way in (composed, as_users_do, composed):
        with pytest.raises(HydraException) as caught:
            way(line)
        said.add((type(caught.value), str(caught.value)))
    assert len(said) == 1
