"""The page in a browser: what was really drawn."""

import re
import shutil
import subprocess
import sys

import pytest

from fedlocal.report.command import main as report
from partitions import Partition
from tests.report.folders import run_folder

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync"
    " --disable-background-networking --disable-component-update --virtual-time-budget=10000"
).split()


@pytest.fixture
def opened(tmp_path):
    """The document of a page after its scripts have run."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip(f"needs a browser, one of {', '.join(BROWSERS)}: apt-get install chromium")

    def dump(page, script: str = "") -> str:
        page.write_text(page.read_text().replace("</body>", f"<script>{script}</script></body>"))
        command = [browser, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
        done = subprocess.run([*command, page.as_uri()], capture_output=True, timeout=100)
        text = done.stdout.decode()
        root = re.search(r"<html[^>]*>", text)
        assert root and 'data-drawn="yes"' in root[0] and "data-error" not in root[0], root
        return text

    return dump


def page_of(*arguments):
    report([str(argument) for argument in arguments] + ["--html"])
    folder = arguments[0] if "--out" not in arguments else arguments[-1]
    return folder / "report.html"


def section(text: str, name: str) -> str:
    return text.split(f'<section id="{name}"')[1].split("</section>")[0]


def hidden(text: str, name: str) -> bool:
    return "hidden" in section(text, name).split(">")[0]


def points_of_lines(part: str) -> list[int]:
    """Number of points of each line that is drawn; a legend's are drawn by steps, h and v."""
    lines = re.findall(r'class="js-line"[^>]* d="([^"]*)"', part)
    return [len(re.findall("[MLHV]", path)) for path in lines if "h" not in path]


def test_a_sweep_has_everything_in_it(tmp_path, opened):
    grid = [(k, h, s) for k in (2, 3) for h in (5, 10) for s in (0, 1)]
    for number, (clients, steps, seed) in enumerate(grid):
        run_folder(
            tmp_path / str(number), f"K={clients}", f"H={steps}", f"seed={seed}",
            accuracies=(0.1, 0.33, 0.4, 0.8 + clients / 100 + seed / 50, 0.3),
            partition=Partition([[c, c + 1] for c in range(clients)]), labels=[0, 1, 0, 1],
            config={"strategy": {"_target_": "strategies.d_pasgd", "graph": "ring"}},
        )  # fmt: skip
    text = opened(page_of(tmp_path))
    # A line and two edges of a band for each of four settings, in two panels, in five rounds.
    assert points_of_lines(section(text, "curves")) == [5] * 24
    assert "8 runs, 4 settings" in text and "one standard deviation" in section(text, "curves")
    bars = section(text, "target")
    assert len(re.findall(r'<g class="point">', bars)) == 4
    assert "test accuracy of 0.83" in bars
    cells = re.findall(r'class="heatmap-label"', section(text, "heat"))
    assert len(cells) == 4
    for name in ("partitions", "graphs"):
        assert "main-svg" in section(text, name)
    assert "share of the row's" in section(text, "partitions")
    assert "spectral gap" in section(text, "graphs")
    assert len(re.findall("<tr>", section(text, "groups"))) == 1 + 4
    assert len(re.findall("<tr>", section(text, "runs"))) == 1 + 8


def test_a_single_run_without_an_accuracy_has_what_there_is(tmp_path, opened):
    run = run_folder(tmp_path / "0", accuracies=(None, None))
    metrics = run / "metrics.csv"
    metrics.write_text(metrics.read_text().replace(",,,", ",0.5,,"))
    text = opened(page_of(run))
    assert points_of_lines(section(text, "curves")) == [2]
    empty = ("target", "heat", "partitions", "graphs")
    assert [hidden(text, name) for name in empty] == [True] * 4
    assert not hidden(text, "curves") and not hidden(text, "runs")


def test_another_axis_another_metric_and_a_sorted_table(tmp_path, opened):
    for number, clients in enumerate((2, 3)):
        run_folder(tmp_path / str(number), f"K={clients}", accuracies=(0.5, None, 0.9, 0.8))
    script = """
      const choose = (id, value) => { const one = document.getElementById(id); one.value = value;
        one.dispatchEvent(new Event("change", { bubbles: true })); };
      choose("curves-axis", "seconds");
      choose("curves-left", "test_loss");
      choose("curves-right", "");
      const heading = document.querySelector("#groups-table th");
      heading.click(); heading.click();
    """
    text = opened(page_of(tmp_path), script)
    part = section(text, "curves")
    assert points_of_lines(part) == [3, 3]
    assert 'class="xtitle"' in part and "simulated seconds</text>" in part
    assert 'ytitle"' in part and "test loss</text>" in part
    first, second = re.findall(r"<tr><td[^>]*>([^<]*)", section(text, "groups"))
    assert (first, second) == ("3", "2")


def test_labels_are_text_and_not_markup(tmp_path, opened):
    for number, note in enumerate(("<b>a</b>", "</script><img src=x>")):
        run_folder(tmp_path / str(number), f"note={note}")
    text = opened(page_of(tmp_path))
    assert "<img" not in text.replace("<image", "")
    assert "note=&lt;b&gt;a&lt;/b&gt;" in section(text, "curves")


def test_another_clock_is_said_on_the_page(tmp_path, opened):
    run_folder(tmp_path / "runs/a", "K=2")
    run_folder(tmp_path / "runs/b", "K=3", clock_decided="a deadline decided")
    text = opened(
        page_of(tmp_path / "runs", "--latency", "1s", "--out", tmp_path / "out"),
        'document.getElementById("curves-axis").value = "seconds";'
        'document.getElementById("curves").dispatchEvent(new Event("change"));',
    )
    assert "not of the runs' own" in text and "a deadline decided (in b)" in text
    assert points_of_lines(section(text, "curves")) == [3, 3]
    assert "simulated seconds</text>" in section(text, "curves")


def test_the_page_fetches_nothing(tmp_path):
    run_folder(tmp_path / "0")
    page = page_of(tmp_path).read_text()
    own = re.sub(r"<script>\s*/\*\*\s*\* plotly\.js.*?</script>", "", page, flags=re.DOTALL)
    assert len(own) < 100_000 < len(page)
    assert not re.search(r"""(src|href|url|import)\s*[=(]\s*["']?(https?:)?//""", own)
    # And the browser sees to it.
    assert "default-src 'none'; script-src 'unsafe-inline';" in own


def test_without_plotly_the_extra_is_named(tmp_path, monkeypatch, capsys):
    run_folder(tmp_path / "0")
    monkeypatch.setitem(sys.modules, "plotly", None)
    with pytest.raises(SystemExit) as stop:
        report([str(tmp_path), "--html"])
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert err == "fedlocal-report: --html needs plotly: pip install 'fedlocal[report]'\n"
    report([str(tmp_path)])


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--target", "90", "--target must be a share in (0, 1], got 90; 0.9 is 90 %"),
        ("--heat", "K,H", "they are none"),
        ("--metric", "accuracy", "--metric must be one of round, local_steps, train_loss"),
        ("--latency", "5", "'5' is not a time"),
    ],
)
def test_an_option_that_does_not_fit_is_refused_in_a_line(tmp_path, capsys, option, value, said):
    run_folder(tmp_path / "0")
    before = {path.name for path in tmp_path.iterdir()}
    with pytest.raises(SystemExit) as stop:
        report([str(tmp_path), option, value])
    out, err = capsys.readouterr()
    assert (stop.value.code, out, err.count("\n")) == (2, "", 1) and said in err
    assert {path.name for path in tmp_path.iterdir()} == before


def test_a_target_needs_a_test_accuracy(tmp_path, capsys):
    run_folder(tmp_path / "0", accuracies=(None,))
    with pytest.raises(SystemExit):
        report([str(tmp_path), "--target", "0.9"])
    assert "--target needs a test accuracy" in capsys.readouterr().err
