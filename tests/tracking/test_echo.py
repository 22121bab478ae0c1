from fedlocal.report.tracking.stdout import Echo
from fedlocal.rounds.scoring import Evaluate


def row(index: int, loss: float | None) -> dict:
    counted = {"uplink_bytes": 8, "downlink_bytes": 8, "wall_seconds": 1.0}
    losses = {"local_loss": 0.5, "train_loss": loss, "test_loss": None, "test_accuracy": None}
    return {"round": index} | losses | counted


def test_it_prints_what_was_evaluated(tmp_path, capsys):
    echo = Echo(6, Evaluate(every=5))
    echo.start(tmp_path, {"K": 2}, "a run", "a sweep", 3)
    for one in (row(4, None), row(5, 0.25)):
        echo.log(one)
    echo.finish({"round": 5})
    assert capsys.readouterr().out == "round 5/6  loss 0.25  16 bytes  5.0 rounds/s\n"


def test_the_local_loss_stands_for_what_nobody_can_measure(capsys):
    Echo(6, Evaluate()).log(row(5, None))
    assert capsys.readouterr().out == "round 5/6  local loss 0.5  16 bytes  5.0 rounds/s\n"
