r"""Tables of runs and groups, and their files: CSV, Markdown and LaTeX.

Source: Fear. Publication quality tables in LaTeX. https://ctan.org/pkg/booktabs
"""

from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fedlocal.report.runs import FinishedRun, Group
from fedlocal.report.settings import as_text, override_keys, override_or_default

RESULTS = (
    "round",
    "local_steps",
    "train_loss",
    "test_loss",
    "test_accuracy",
    "uplink_bytes",
    "downlink_bytes",
    "sim_seconds",
    "wall_seconds",
)
DEVIATION = "_std"
# pandas does not escape these. A bracket or a star after the end of a row would be its argument.
LATEX = str.maketrans(
    {"±": r"$\pm$", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"}
    | {sign: f"{{{sign}}}" for sign in "[]*"}
)


def tabulate(runs: list[FinishedRun]) -> pd.DataFrame:
    """Return a row per run: the settings that any run overrides, then its final metrics.

    Cells are None where a quantity is undefined, and nan where the run diverged.
    """
    keys, results = override_keys(runs), results_of(runs)
    rows = [
        {"run": run.label}
        | {key: override_or_default(run, key) for key in keys}
        | {key: result(run, key) for key in results}
        for run in runs
    ]
    return pd.DataFrame(rows, dtype=object)


def tabulate_groups(groups: list[Group]) -> pd.DataFrame:
    """Return a row per group: its settings, its seeds, and each result with its deviation."""
    results = results_of([run for group in groups for run in group.runs])
    rows = [
        {**group.settings, "n": group.size, "seeds": seeds(group)}
        | means({key: [result(run, key) for run in group.runs] for key in results})
        for group in groups
    ]
    return pd.DataFrame(rows, dtype=object)


def results_of(runs: list[FinishedRun]) -> tuple[str, ...]:
    """Return the columns of results, with the clients' loss where no model was evaluated."""
    evaluated = any(result(run, key) is not None for run in runs for key in RESULTS[2:5])
    return RESULTS if evaluated else (*RESULTS[:2], "local_loss", *RESULTS[2:])


def result(run: FinishedRun, key: str) -> Any:
    """Return a run's final metric; None where it is undefined, nan where the run diverged."""
    value = run.summary.get(key)
    defined = any(row.get(key) is not None for row in run.history)
    return nan if value is None and defined else value


def means(columns: dict[str, list[Any]]) -> dict[str, float | None]:
    """Compute mean and sample standard deviation of each column; None where a value is missing.

    >>> means({"loss": [1.0, 4.0], "acc": [0.5, None]})
    {'loss': 2.5, 'loss_std': 2.1213203435596424, 'acc': None, 'acc_std': None}
    """
    row: dict[str, float | None] = {}
    for key, values in columns.items():
        defined = bool(values) and None not in values
        # A seed that diverged has no number, and so the mean has none.
        numbers = np.array(values if defined else [], dtype=float)
        numbers = np.where(np.isfinite(numbers), numbers, nan)
        row[key] = float(numbers.mean()) if defined else None
        several = defined and len(numbers) > 1
        row[key + DEVIATION] = float(numbers.std(ddof=1)) if several else None
    return row


def seeds(group: Group) -> str:
    """Return the seeds of a group's runs, separated by spaces."""
    return " ".join(str(run.summary.get("seed", "")) for run in group.runs).strip()


def for_reading(table: pd.DataFrame) -> pd.DataFrame:
    """Return the nonempty columns as text of four digits, each mean with its deviation."""
    deviations = [key for key in table if key.removesuffix(DEVIATION) in table.columns.drop(key)]
    text = table.drop(columns=deviations).map(short)
    for key in deviations:
        mean = key.removesuffix(DEVIATION)
        text[mean] += table[key].map(lambda value: f" ± {_two_digits(value)}" if value else "")
    return text.loc[:, (text != "").any()]


def short(value: Any) -> str:
    """Return a cell as text of four digits; whole numbers keep all of theirs."""
    if not isinstance(value, float):
        return "" if value is None else str(value)
    # A mean of bytes may have a fraction.
    return f"{value:.0f}" if 1e4 <= abs(value) < 1e15 else f"{value:.4g}"


def is_numeric(column: pd.Series) -> bool:
    """Tell whether all nonempty texts are numbers, perhaps with a deviation."""
    try:
        [float(text.split(" ± ")[0]) for text in column if text]
    except ValueError:
        return False
    return True


def write_table(table: pd.DataFrame, read: pd.DataFrame, stem: Path) -> None:
    """Write a table with full precision as .csv, and its texts as .md and .tex."""
    exact = table.map(lambda value: as_text(value) if isinstance(value, float) else value)
    exact.to_csv(stem.with_suffix(".csv"), index=False)
    stem.with_suffix(".md").write_text(to_markdown(read), encoding="utf-8")
    stem.with_suffix(".tex").write_text(to_latex(read), encoding="utf-8")


def to_markdown(table: pd.DataFrame) -> str:
    """Return a table of texts in Markdown: numbers to the right."""
    plain = table.map(lambda text: text.replace("|", "\\|"))
    places = ["right" if is_numeric(column) else "left" for _, column in table.items()]
    return plain.to_markdown(index=False, disable_numparse=True, colalign=places) + "\n"


def to_latex(table: pd.DataFrame) -> str:
    r"""Return a table of texts as a tabular with booktabs rules: numbers to the right."""
    places = "".join("r" if is_numeric(column) else "l" for _, column in table.items())
    style = table.style.hide(axis="index")
    style.format(lambda text: text.translate(LATEX), escape="latex")
    style.format_index(
        lambda text: text.replace(r"\_", " ").translate(LATEX), axis="columns", escape="latex"
    )
    head = "% \\usepackage{booktabs} goes into the preamble.\n"
    return head + style.to_latex(hrules=True, column_format=places)


def _two_digits(value: float) -> str:
    text = f"{value:.2g}"
    return f"{float(text):.0f}" if value >= 10 else text
