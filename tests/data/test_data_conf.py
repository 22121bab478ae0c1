"""Every conf/dataset and conf/model file composes, and its keys are its function's arguments."""

import inspect
import shutil
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import get_method, instantiate
from omegaconf import OmegaConf
from omegaconf.errors import MissingMandatoryValue

CONF = Path(__file__).parents[2] / "conf"
DATASETS = sorted(path.stem for path in (CONF / "dataset").glob("*.yaml"))
# A user's own has another target.
MODELS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
PRIMARY = """\
defaults:
  - _self_
  - partition: iid
  - model: mlp
  - dataset: digits
K: 4
seed: 3
"""


@pytest.fixture
def composed(tmp_path):
    """Compose with a primary config of our own: the real one belongs to another layer."""
    for group in ("dataset", "model"):
        shutil.copytree(CONF / group, tmp_path / group)
    (tmp_path / "partition").mkdir()
    for name in ("iid", "natural", "dirichlet"):
        (tmp_path / f"partition/{name}.yaml").write_text(f"name: {name}\n")
    (tmp_path / "primary.yaml").write_text(PRIMARY)
    with initialize_config_dir(str(tmp_path), version_base=None):
        yield lambda *overrides: compose("primary", overrides=list(overrides))
    GlobalHydra.instance().clear()


@pytest.mark.parametrize("name", sorted(set(DATASETS) - {"own"}))
def test_dataset_keys_are_the_arguments(composed, name):
    node = composed(f"dataset={name}").dataset
    assert node._target_ == f"fedlocal.data.{name}"
    arguments = inspect.signature(get_method(node._target_)).parameters
    assert set(node) - {"_target_"} == set(arguments)
    for key, parameter in arguments.items():
        if OmegaConf.is_missing(node, key):
            assert parameter.default is inspect.Parameter.empty
        elif not OmegaConf.is_interpolation(node, key):
            assert node[key] == parameter.default


@pytest.mark.parametrize("name", sorted(set(MODELS) - {"own"}))
def test_model_keys_are_the_arguments(composed, name):
    node = composed(f"model={name}").model
    assert (node._target_, node._partial_) == (f"fedlocal.models.{name}", True)
    arguments = set(inspect.signature(get_method(node._target_)).parameters)
    given = {"input_shape", "num_outputs", "num_tokens"}
    assert set(node) - {"_target_", "_partial_"} == arguments - given
    example = ((9,), 10, 30) if "num_tokens" in arguments else ((1, 28, 28), 10)
    assert sum(p.numel() for p in instantiate(node)(*example).parameters()) > 0


def test_natural_clients_choose_their_partition(composed):
    assert composed().partition.name == "iid"
    config = composed("dataset=synthetic", "seed=9")
    assert config.partition.name == "natural"
    assert config.model._target_ == "fedlocal.models.mlp"
    assert (config.dataset.num_clients, config.dataset.seed) == (4, 9)
    for name, model in (("text", "char_gru"), ("heart_disease", "logistic")):
        config = composed(f"dataset={name}")
        assert config.partition.name == "natural"
        assert config.model._target_ == f"fedlocal.models.{model}"
    assert composed("dataset=text_csv").model._target_ == "fedlocal.models.text_cnn"
    config = composed("dataset=quadratic")
    assert (config.partition.name, config.model._target_) == ("natural", "fedlocal.models.linear")
    assert config.model.bias is False


def test_the_command_line_has_the_last_word(composed):
    config = composed("dataset=quadratic", "partition=dirichlet", "model=mlp")
    assert (config.partition.name, config.model._target_) == ("dirichlet", "fedlocal.models.mlp")


def test_quadratic_from_conf(composed):
    data = instantiate(composed("dataset=quadratic", "K=3", "dataset.dim=5").dataset)
    assert set(data.client_ids) == {0, 1, 2}
    assert data.input_shape == (5,)


def test_mandatory_root(composed):
    with pytest.raises(MissingMandatoryValue, match=r"dataset\.root"):
        _ = composed("dataset=mnist").dataset.root
