"""`fedlocal-report DIR...`: tables and curves over finished runs."""

import argparse
import sys
from pathlib import Path

from fedlocal.report.show import show
from fedlocal.report.write import write_report


def main(arguments: list[str] | None = None) -> None:
    """Entry point; exit code 2 if there is nothing to report."""
    parser = argparse.ArgumentParser(
        prog="fedlocal-report",
        description="Draw and tabulate the finished runs in or below the given folders.",
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR")
    parser.add_argument(
        "--out", type=Path, help="where summary.csv, summary.md and curves.png go (first DIR)"
    )
    options = parser.parse_args(arguments)
    into = options.out or options.folders[0]
    try:
        show(write_report(options.folders, into), into)
    except (ValueError, OSError) as error:
        print(f"fedlocal-report: {error}", file=sys.stderr)
        sys.exit(2)
