from io import StringIO

import pytest
from rich.console import Console

from fedlocal.report.progress import ProgressBar

ROW = {
    "round": 1,
    "train_loss": 0.51234,
    "test_accuracy": 0.875,
    "uplink_bytes": 1_000_000,
    "downlink_bytes": 500_000,
    "wall_seconds": 0.5,
}


def shown(terminal: bool, width: int = 100, **changes) -> str:
    """All that a bar of two rounds writes while one of them ends."""
    screen = StringIO()
    console = Console(file=screen, force_terminal=terminal, width=width, color_system=None)
    with ProgressBar("K=4,strategy=vrl_sgd,partition.alpha=0.1", rounds=2, console=console) as bar:
        bar.log(ROW | changes)
    return screen.getvalue()


@pytest.mark.parametrize("width", [80, 100, 200])
def test_a_terminal_sees_loss_accuracy_bytes_and_rate(width):
    text = shown(terminal=True, width=width)
    for part in ("K=4", "1/2", "loss 0.5123", "acc 0.875", "1.5 MB", "2.0 rounds/s"):
        assert part in text


def test_what_was_not_evaluated_is_left_out():
    text = shown(terminal=True, train_loss=None, test_accuracy=None)
    assert "loss" not in text and "acc" not in text and "1.5 MB" in text


def test_a_pipe_sees_nothing():
    assert shown(terminal=False) == ""


def test_help_is_short_and_shows_groups_and_examples(cli):
    outcome = cli("--help")
    assert outcome.code == 0
    for part in ("strategy: ", "partition: ", "fedlocal -m ", "K=8", "fedlocal-report"):
        assert part in outcome.out
    assert len(outcome.out.splitlines()) < 50 and "_target_" not in outcome.out
