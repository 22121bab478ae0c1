from pathlib import Path

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from fedlocal.report.tracking import TensorBoardTracker

CONFIG = {"K": 2, "partition": {"alpha": 0.1, "sizes": [1, 2]}, "period": None, "dtype": "float32"}


def row(index: int, **values: float | None) -> dict:
    return {"round": index, "train_loss": 1 / index, **values}


def track(folder: Path, *rows: dict, resumed: int = 0, summary: dict | None = None) -> None:
    tracker = TensorBoardTracker()
    tracker.start(folder, CONFIG, "a run", None, resumed)
    for one in rows:
        tracker.log(one)
    tracker.finish(summary)


def read(folder: Path) -> EventAccumulator:
    # As many as there are, and not a sample of them.
    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    return events.Reload()


def scalars(folder: Path, key: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in read(folder).Scalars(key)]


def test_rounds_and_configuration(tmp_path):
    track(tmp_path, row(1, test_loss=None), row(2, test_loss=float("nan")), row(3), summary={})
    assert scalars(tmp_path, "train_loss") == [(i, float(np.float32(1 / i))) for i in (1, 2, 3)]
    ((step, diverged),) = scalars(tmp_path, "test_loss")
    assert step == 2 and np.isnan(diverged)
    events = read(tmp_path)
    assert sorted(events.Tags()["scalars"]) == ["test_loss", "train_loss"]
    (text,) = events.Tensors("config/text_summary")
    assert b'        "alpha": 0.1,' in text.tensor_proto.string_val[0]
    told = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    settings = HParamsPluginData.FromString(told).session_start_info.hparams
    assert settings["partition.alpha"].number_value == 0.1
    assert settings["partition.sizes"].string_value == "[1, 2]"
    assert settings["period"].string_value == "None"


def test_what_was_logged_before_a_crash_is_on_the_disk(tmp_path):
    tracker = TensorBoardTracker()
    tracker.start(tmp_path, CONFIG, "a run", None, 0)
    tracker.log(row(1))
    assert [step for step, _ in scalars(tmp_path, "train_loss")] == [1]
    tracker.finish(None)


def test_a_resumed_run_draws_no_round_twice(tmp_path):
    track(tmp_path, *(row(i) for i in range(1, 6)))
    track(tmp_path, *(row(i) for i in range(4, 8)), resumed=3)
    assert [step for step, _ in scalars(tmp_path, "train_loss")] == [1, 2, 3, 4, 5, 6, 7]
    assert len(read(tmp_path).Tensors("config/text_summary")) == 1


def test_a_new_run_in_an_old_folder_hides_the_old_one(tmp_path):
    track(tmp_path, row(1), row(2), row(3))
    track(tmp_path, row(1))
    assert [step for step, _ in scalars(tmp_path, "train_loss")] == [1]
