import pytest

from fedlocal.report.tracking import MlflowTracker, TensorBoardTracker, WandbTracker, several

TRACKERS = (WandbTracker(), TensorBoardTracker(), MlflowTracker())


def test_those_that_are_named_each_once_in_their_order():
    wandb, tensorboard, mlflow = TRACKERS
    assert several(["mlflow", "wandb", "mlflow"], *TRACKERS) == [mlflow, wandb]
    assert several(["tensorboard"], *TRACKERS) == [tensorboard]
    assert several([], *TRACKERS) == []


def test_an_unknown_one_is_refused():
    with pytest.raises(ValueError, match=r"names 'csv'; it must be a list of wandb, tensorboard"):
        several(["wandb", "csv"], *TRACKERS)
