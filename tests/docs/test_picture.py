"""The README's picture can be drawn again."""

import json
import runpy
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "docs/pictures/vrl_digits.py"
ROWS = "train_loss,uplink_bytes,sim_seconds\n2.0,1000,0.5\n,2000,1.0\n1.0,3000,1.5\n"


def finished(folder: Path, strategy: str, steps: int) -> None:
    folder.mkdir()
    (folder / "metrics.csv").write_text(ROWS)
    summary = {"choices": {"strategy": strategy}, "config": {"H": steps}}
    (folder / "summary.json").write_text(json.dumps(summary))


def test_it_draws_the_sweep(tmp_path):
    for number, (strategy, steps) in enumerate([("local_sgd", 1), ("vrl_sgd", 1), ("vrl_sgd", 50)]):
        finished(tmp_path / str(number), strategy, steps)
    runpy.run_path(str(SCRIPT))["main"](tmp_path, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    assert SCRIPT.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
