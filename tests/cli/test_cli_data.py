"""Runs on texts, speakers, hospitals and features, as a user starts them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fedlocal.data import digits, extract_features

SHARED = Path(__file__).parents[2].parent / "shared/data"
SPEAKERS = ("ANNA", "BEN", "CLEO")
# Every character follows from the one before.
PLAY = "\n\n".join(f"{name}:\n{'abcdef' * 20}" for name in SPEAKERS)
SHORT = ("dataset.sequence_length=6", "dataset.stride=1", "K=3", "H=5", "rounds=12")
MODELS = {
    "char_gru": ("lr=2", "model.embedding=6", "model.hidden=12"),
    "char_transformer": ("lr=0.5", "model.width=16", "model.layers=1"),
}


@pytest.fixture
def play(here):
    (here / "play.txt").write_text(PLAY)


@pytest.mark.parametrize("model", MODELS)
def test_a_text_that_can_be_learnt(summary, play, model):
    given = ("dataset=text", "dataset.path=play.txt", f"model={model}", *MODELS[model], *SHORT)
    found = summary(*given)
    # The most frequent character is a sixth.
    assert found["test_accuracy"] > 0.9
    assert found["choices"]["partition"] == "natural"


@pytest.mark.parametrize("partition", ["iid", "dirichlet"])
def test_a_text_of_nobody(summary, cli, play, partition):
    given = ("dataset=text", "dataset.path=play.txt", "dataset.speakers=false", *SHORT, "rounds=1")
    assert np.isfinite(summary(*given, "model.hidden=4", f"partition={partition}")["train_loss"])
    assert "natural needs client ids, and dataset text has none" in cli(*given).refused


def test_tokens_are_no_numbers(cli, play):
    line = cli("dataset=text", "dataset.path=play.txt", "model=mlp", *SHORT).refused
    assert "dataset text has token indices, and the model reads numbers; use model=char_gru" in line


def news(folder):
    rng = np.random.default_rng(0)
    topics = (["goal", "team", "cup"], ["oil", "price", "bank"], ["star", "moon", "probe"])
    common = ["the", "a", "of", "new", "says"]
    rows = ["class,title,description"]
    for label in rng.integers(1, 4, 240):
        words = [*rng.choice(common, 6), *rng.choice(topics[label - 1], 2)]
        rng.shuffle(words)
        rows.append(f'{label},"{words[0]}, {words[1]}","{" ".join(words[2:])}"')
    (folder / "news.csv").write_text("\n".join(rows))


def test_news_that_can_be_told_apart(summary, here):
    news(here)
    given = ("dataset=text_csv", "dataset.path=news.csv", "dataset.length=10", "model.filters=8")
    found = summary(*given, "model.embedding=8", "K=3", "H=5", "rounds=30", "lr=0.5")
    assert found["test_accuracy"] > 0.9


@pytest.mark.skipif(
    not (SHARED / "heart_disease").is_dir(), reason=f"needs heart_disease in {SHARED}"
)
def test_four_hospitals(summary):
    given = ("dataset=heart_disease", f"dataset.path={SHARED / 'heart_disease'}", "lr=0.05")
    for more in (("K=4",), ("K=6", "partition=dirichlet")):
        # The more frequent class is 102 of 185.
        assert summary(*given, "H=5", "rounds=20", *more)["test_accuracy"] > 0.7


@pytest.mark.parametrize("model", ["linear", "logistic", "mlp"])
def test_features_of_a_backbone(summary, here, model):
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2))
    extract_features(backbone, digits(flat=False), here / "features.npz")
    given = ("dataset=npz", "dataset.path=features.npz", f"model={model}", "partition=iid")
    assert summary(*given, "K=3", "H=10", "rounds=10", "lr=0.1")["test_accuracy"] > 0.6


@pytest.mark.parametrize("model", MODELS)
def test_runtimes_agree_on_tokens(summary, play, model):
    given = ("dataset=text", "dataset.path=play.txt", f"model={model}", *MODELS[model], *SHORT)
    looped, batched = (
        summary(*given, "rounds=1", "dtype=float64", f"runtime={runtime}")
        for runtime in ("loop", "vmapped")
    )
    assert looped["train_loss"] == pytest.approx(batched["train_loss"], abs=1e-12)
