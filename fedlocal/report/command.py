"""Command `fedlocal-report DIR...`: tables, curves and a page of finished runs."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fedlocal.report.runs import FinishedRun, read_runs
from fedlocal.report.units import bytes_per_second, seconds

# Option, key of the clock, parser, help.
CLOCK: tuple[tuple[str, str, Callable[[str], Any], str], ...] = (
    ("--latency", "latency_seconds", seconds, "each way: 50ms; us, ms or s"),
    (
        "--bandwidth",
        "bandwidth_bytes",
        bytes_per_second,
        "of a client's link, each way: 100Mbit is 100 million bits a second, 12.5MB the same in"
        " bytes; bit, kbit, Mbit, Gbit or B, kB, MB, GB, all decimal",
    ),
    ("--seconds-per-step", "seconds_per_step", seconds, "mean of a local step: 10ms; us, ms or s"),
)


def main(arguments: list[str] | None = None) -> None:
    """Write the report; exits with 2 if there is no finished run or an option does not fit."""
    options = _parser().parse_args(arguments)
    # These take a second to import, which --help need not wait for.
    from fedlocal.report.report import ReportOptions, report_on
    from fedlocal.report.show import show
    from fedlocal.report.write import write_report

    try:
        clock = {
            key: read(given)
            for option, key, read, _ in CLOCK
            if (given := getattr(options, option.strip("-").replace("-", "_"))) is not None
        }
        if options.html:
            from fedlocal.report.page import check_plotly

            check_plotly()
        runs = read_runs(options.folders)
        into = _place(options.out, options.folders[0], runs, bool(clock))
        chosen = ReportOptions(options.heat, options.metric, options.target, clock)
        report = report_on(runs, chosen)
        write_report(report, into, options.html)
    except (ValueError, OSError) as error:
        print(f"fedlocal-report: {error}", file=sys.stderr)
        sys.exit(2)
    for note in report.notes:
        print(f"fedlocal-report: {note}", file=sys.stderr)
    show(report.run_table.to_dict("records"), into)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fedlocal-report",
        description="Draw and tabulate the finished runs in or below the given folders. Runs that"
        " differ in their seed alone are averaged.",
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR")
    parser.add_argument(
        "--out",
        type=Path,
        help="where the files go (the first DIR; DIR-replayed with another clock)",
    )
    parser.add_argument(
        "--html", action="store_true", help="write report.html too, one interactive file"
    )
    parser.add_argument(
        "--heat", metavar="KEY,KEY", help="rows and columns of the heat map (K,H if both vary)"
    )
    parser.add_argument(
        "--metric", help="of the heat map, at the end of a run (test_accuracy, or train_loss)"
    )
    parser.add_argument(
        "--target",
        type=float,
        metavar="ACCURACY",
        help="test accuracy to which time is measured, 0.9 (the best that half of the settings"
        " reach)",
    )
    clock = parser.add_argument_group(
        "another clock",
        "Seconds as they would have been; the rest of each run's clock stays as it was. Several"
        " values between commas go to the clients in turn.",
    )
    for option, _, _, about in CLOCK:
        clock.add_argument(option, metavar="VALUE", help=about)
    return parser


def _place(out: Path | None, first: Path, runs: list[FinishedRun], clock: bool) -> Path:
    """Return the folder to write into: with another clock never a run's own."""
    if not clock:
        return out or first
    here = first.resolve()
    into = out or here.with_name(f"{here.name}-replayed")
    if into.resolve() in {run.folder for run in runs}:
        raise ValueError(
            f"--out {into} is a run's folder, which keeps the seconds of its own clock"
        )
    return into
