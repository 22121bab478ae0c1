"""Probes of `mutants.py`: they record which tests reach a mutant, and the seconds of each test.

Every Python of that environment loads it (a .pth file), so that processes which a test starts count
as well; pytest loads it as a plugin. Writes lines "probe, test" and "CPU seconds, test" to the
files that $MUTANT_HITS and $MUTANT_SECONDS name.

PYTEST_DONT_REWRITE, since pytest finds it imported already.
"""

import builtins
import os

_seen = set[tuple[int, str]]()
_before = 0.0


def hit(probe: int) -> bool:
    """Note the running test beside a probe. Returns False: the probe stands before an `or`."""
    # As pytest writes it: "tests/test_a.py::test_b[c] (call)".
    key = probe, os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
    if key not in _seen and "MUTANT_HITS" in os.environ:
        _seen.add(key)
        with open(os.environ["MUTANT_HITS"], "a") as file:
            file.write(f"{probe}\t{key[1]}\n")
    return False


def pytest_runtest_logstart() -> None:
    """Note what the process has spent so far."""
    global _before
    _before = sum(os.times()[:4])


def pytest_runtest_logfinish(nodeid: str) -> None:
    """Write a test's CPU seconds, with its fixtures and the processes that it waited for."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        with open(os.environ["MUTANT_SECONDS"], "a") as file:
            file.write(f"{sum(os.times()[:4]) - _before:.2f}\t{nodeid}\n")


builtins.mutant_hit = hit  # type: ignore[attr-defined]
