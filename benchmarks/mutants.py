"""Mutation score: the share of a fixed sample of mutants of the core that the tests notice.

    uv run python benchmarks/mutants.py COPY [--tests TESTS] [--sample 100] [--jobs 1]

A mutant is one operator, comparison, sign or number changed within a function of the core. The
sample are those with the smallest sha256 of "function|old|new|ordinal", so that it stays the same
while lines and files move. COPY is a folder that is made: this checkout's tracked files, its own
environment, and TESTS in place of tests/ where given.

First the whole suite runs in COPY once, with a probe at every mutated expression, and says which
tests evaluate it and what each takes (COPY/0/hits, COPY/0/seconds; kept for the next call). Then
each mutant is held against those tests alone, until one fails: one item of each test function, the
quickest first, then the others, until 40 items or 20 seconds are reached; at least one item. So a
survivor costs no more than that, and means: these items do not notice. A mutant that takes a minute
and ten times what was measured does not end, and counts as noticed. Seconds are those of a CPU, so
that they mean the same on a busy machine.
"""

import argparse
import ast
import copy
import hashlib
import os
import queue
import re
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from resource import RLIM_INFINITY, RLIMIT_CPU, setrlimit
from time import perf_counter
from typing import NamedTuple

HERE = Path(__file__).resolve().parent.parent
ROOMS = ("rounds", "runtime", "slots", "objective", "vectors")
CORE = (*(f"fedlocal/{room}" for room in ROOMS), "strategies", "partitions")
MOST_ITEMS, MOST_SECONDS = 40, 20.0
# CPU seconds that pytest may take to begin.
START = 60
OPERATORS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.Pow: ast.Mult,
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip


class Mutant(NamedTuple):
    """Changed expression of the core."""

    file: str
    function: str
    line: int
    start: int  # in bytes of the file
    end: int
    old: str
    new: str

    def name(self, ordinal: int) -> str:
        return f"{self.function}|{self.old}|{self.new}|{ordinal}"


def changed(node: ast.AST) -> ast.expr | None:
    """Return the expression with one change; None if it is of no kind that is mutated."""
    new = copy.deepcopy(node)
    match new:
        case ast.BinOp() | ast.BoolOp() if type(new.op) in OPERATORS:
            new.op = OPERATORS[type(new.op)]()
        case ast.Compare(ops=[op]):
            new.ops = [OPERATORS[type(op)]()]
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            return new.operand
        case ast.Constant(value=bool()):
            new.value = not new.value
        case ast.Constant(value=int() | float()):
            new.value += 1
        case _:
            return None
    return new


def evaluated(function: ast.FunctionDef) -> Iterator[ast.AST]:
    """Yield the expressions that a call of a function evaluates, outermost first."""
    todo: list[ast.AST] = list(function.body)
    while todo:
        node = todo.pop(0)
        # Positions within an f-string are not those of the file.
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.JoinedStr | ast.match_case):
            continue
        yield node
        todo += (n for key, n in children(node) if key not in ("annotation", "type_comment"))


def children(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    for key, value in ast.iter_fields(node):
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, ast.AST):
                yield key, one


def mutants_of(file: str) -> Iterator[Mutant]:
    text = (HERE / file).read_bytes()
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    for function in ast.walk(ast.parse(text)):
        if not isinstance(function, ast.FunctionDef):
            continue
        for node in evaluated(function):
            new = changed(node)
            if new is not None:
                start = starts[node.lineno - 1] + node.col_offset  # type: ignore[attr-defined]
                end = starts[node.end_lineno - 1] + node.end_col_offset  # type: ignore[attr-defined]
                words = ast.unparse(node), ast.unparse(new)
                yield Mutant(file, function.name, node.lineno, start, end, *words)  # type: ignore[attr-defined]


def tracked(*folders: str) -> list[str]:
    """List the files of this checkout in the index."""
    command = ["git", "ls-files", *folders]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def sample(size: int) -> list[Mutant]:
    """Return the mutants with the smallest hashes; an ordinal tells equal ones apart."""
    files = [file for file in tracked(*CORE) if file.endswith(".py")]
    found, seen = [], dict[str, int]()
    for file in files:
        for mutant in mutants_of(file):
            same = mutant.name(0)
            seen[same] = seen.get(same, -1) + 1
            name = mutant.name(seen[same])
            found.append((hashlib.sha256(name.encode()).hexdigest(), mutant))
    print(f"{size} of {len(found)} mutants of {len(files)} files")
    return [mutant for _, mutant in sorted(found)[:size]]


def make(folder: Path, tests: Path | None) -> None:
    """Copy the checkout and gives it an environment of its own."""
    for file in tracked():
        if not (tests and file.startswith("tests/")):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(HERE / file, folder / file)
    if tests:
        shutil.copytree(tests, folder / "tests")
    if (HERE / "uv.lock").exists():
        shutil.copy2(HERE / "uv.lock", folder)
    environment = os.environ | {"UV_COMPILE_BYTECODE": "1"}
    environment.pop("VIRTUAL_ENV", None)
    subprocess.run(["uv", "sync", "--quiet"], cwd=folder, check=True, env=environment)
    packages = next(folder.glob(".venv/lib/python*/site-packages"))
    shutil.copy2(HERE / "benchmarks/mutant_hits.py", packages)
    (packages / "mutant_hits.pth").write_text("import mutant_hits\n")


def pytest(
    folder: Path, *arguments: str, limit: int = RLIM_INFINITY, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run pytest; `limit` are the CPU seconds after which it is killed."""
    command = [".venv/bin/python", "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(
        command, cwd=folder, env=os.environ | {"OMP_NUM_THREADS": "1"} | variables,
        preexec_fn=lambda: setrlimit(RLIMIT_CPU, (limit, limit)), capture_output=True, text=True,
    )  # fmt: skip


def find_tests(mutants: list[Mutant], folder: Path) -> None:
    """Run the suite with a probe at every mutant, then takes the probes out again."""
    points = dict[str, list[tuple[int, bytes]]]()
    for number, mutant in enumerate(mutants):
        points.setdefault(mutant.file, []).extend(
            [(mutant.start, b"(mutant_hit(%d) or " % number), (mutant.end, b")")]
        )
    for file, inserts in points.items():
        text = (HERE / file).read_bytes()
        # From the back. Where one expression ends and the next begins, the end comes first.
        inserts.sort(key=lambda one: (one[0], one[1] != b")"), reverse=True)
        for place, insert in inserts:
            text = text[:place] + insert + text[place:]
        (folder / file).write_bytes(text)
    began = perf_counter()
    files = {"MUTANT_HITS": str(folder / "hits"), "MUTANT_SECONDS": str(folder / "seconds")}
    done = pytest(folder, "-p", "mutant_hits", **files)
    (folder / "suite").write_text(f"{perf_counter() - began:.0f} s\n{done.stdout}")
    for file in points:
        shutil.copy2(HERE / file, folder / file)


def found_tests(folder: Path, count: int) -> tuple[list[set[str]], dict[str, float]]:
    """Return the items that reach each mutant, and the seconds of each item."""
    seconds = dict[str, float]()
    for line in (folder / "seconds").read_text().splitlines():
        taken, _, item = line.partition("\t")
        seconds[item] = float(taken)
    reaching = [set[str]() for _ in range(count)]
    for line in (folder / "hits").read_text().splitlines():
        number, _, item = line.partition("\t")
        if item in seconds:
            reaching[int(number)].add(item)
    return reaching, seconds


def chosen(reaching: list[str], seconds: dict[str, float]) -> list[str]:
    """Return the items that run against a mutant, in order."""
    functions = set[str]()
    first, others = list[str](), list[str]()
    for item in sorted(reaching, key=lambda item: seconds[item]):
        function = item.partition("[")[0]
        (others if function in functions else first).append(item)
        functions.add(function)
    most = MOST_SECONDS
    taken = list[str]()
    for item in (first + others)[:MOST_ITEMS]:
        most -= seconds[item]
        if taken and most < 0:
            break
        taken.append(item)
    return taken


def noticed_by(mutant: Mutant, items: list[str], seconds: float, folder: Path) -> str | None:
    """Return the first test that fails under a mutant; None if all pass."""
    path = folder / mutant.file
    text = (HERE / mutant.file).read_bytes()
    path.write_bytes(text[: mutant.start] + f"({mutant.new})".encode() + text[mutant.end :])
    try:
        limit = START + int(10 * seconds)
        done = pytest(folder, "-n", "0", "-x", "-m", "", *items, limit=limit)
    finally:
        path.write_bytes(text)
    if done.returncode == 0:
        return None
    if done.returncode < 0:
        return "does not end"
    if done.returncode > 2:
        raise RuntimeError(done.stdout + done.stderr)
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    return failed[1] if failed else f"exit status {done.returncode}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("copy", type=Path)
    parser.add_argument("--tests", type=Path)
    parser.add_argument("--sample", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    mutants = sample(given.sample)
    copies = [given.copy.resolve() / str(job) for job in range(given.jobs)]
    for folder in copies:
        if not (folder / ".venv").exists():
            make(folder, given.tests)
    if not (copies[0] / "suite").exists():
        find_tests(mutants, copies[0])
    print((copies[0] / "suite").read_text().splitlines()[0], "for the suite with probes")
    reaching, seconds = found_tests(copies[0], len(mutants))
    free = queue.Queue[Path]()
    for folder in copies:
        free.put(folder)

    def row(number: int) -> str:
        mutant, folder = mutants[number], free.get()
        items = chosen(sorted(reaching[number]), seconds)
        expected = sum(seconds[item] for item in items)
        found = noticed_by(mutant, items, expected, folder) if items else None
        free.put(folder)
        cells = (
            f"{mutant.file}:{mutant.line}", mutant.function, f"`{mutant.old}`", f"`{mutant.new}`",
            f"{len(items)} of {len(reaching[number])}", found or "**survived**",
        )  # fmt: skip
        shown = (cell.replace("|", "\\|").replace("\n", " ") for cell in cells)
        line = f"| {' | '.join(shown)} |"
        print(line, flush=True)
        return line

    print("| where | function | old | new | items | noticed by |\n|---|---|---|---|---|---|")
    with ThreadPoolExecutor(len(copies)) as pool:
        lines = list(pool.map(row, range(len(mutants))))
    survived = sum("**survived**" in line for line in lines)
    print(f"\n{len(lines) - survived} of {len(lines)} noticed")


if __name__ == "__main__":
    main()
