"""How many wrong programs the tests notice: a fixed sample of mutants of the core.

    uv run python benchmarks/mutants.py COPY [--tests TESTS] [--sample 100] [--jobs 1]

A mutant is one operator, comparison, sign or number changed within a function of the core. The
sample are those with the smallest sha256 of "function|old|new|ordinal", so that it stays nearly
the same while lines move. COPY is a folder that is made: this checkout's tracked files, its own
environment, and TESTS in place of tests/ where given.

First the whole suite runs in COPY once, with a probe at every mutated expression, and says which
tests evaluate it and how long each takes (COPY/hits, COPY/seconds; kept for the next call). Then
each mutant is held against those tests alone: one item of each test function, the quickest first,
then the others, until 40 items or 20 seconds (as measured without the mutant) are reached; at least
one item. So a survivor costs no more than that, and means: these items do not notice. A run of more
than a minute and ten times as long as measured counts as noticed: the mutant does not end.
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
from time import perf_counter
from typing import NamedTuple

HERE = Path(__file__).resolve().parent.parent
CORE = "fedlocal/rounds fedlocal/runtime fedlocal/slots fedlocal/objective fedlocal/vectors strategies partitions"
MOST_ITEMS, MOST_SECONDS = 40, 20.0
OPERATORS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.Pow: ast.Mult,
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip


class Mutant(NamedTuple):
    """One expression of the core and what takes its place."""

    file: str
    function: str
    line: int
    start: int  # in bytes of the file
    end: int
    old: str
    new: str

    def name(self, ordinal: int) -> str:
        return f"{self.file}:{self.function}|{self.old}|{self.new}|{ordinal}"


def changed(node: ast.AST) -> ast.expr | None:
    """The expression with one thing about it changed; None if it is not of a kind that is."""
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
    """What a call of a function evaluates, outermost first; not what is read or typed only."""
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


def sample(size: int) -> list[Mutant]:
    """The mutants with the smallest hashes. The ordinal tells equal ones of a function apart."""
    listed = subprocess.run(
        ["git", "ls-files", *CORE.split()], cwd=HERE, capture_output=True, text=True
    )
    found, seen = [], dict[str, int]()
    for file in listed.stdout.split():
        for mutant in mutants_of(file) if file.endswith(".py") else ():
            same = mutant.name(0)
            seen[same] = seen.get(same, -1) + 1
            name = mutant.name(seen[same])
            found.append((hashlib.sha256(name.encode()).hexdigest(), mutant))
    print(f"{len(found)} mutants of {len(listed.stdout.split())} files")
    return [mutant for _, mutant in sorted(found)[:size]]


def make(folder: Path, tests: Path | None) -> None:
    """Copies the checkout and gives it an environment of its own."""
    listed = subprocess.run(["git", "ls-files"], cwd=HERE, capture_output=True, text=True).stdout
    for file in listed.split("\n"):
        if file and not (tests and file.startswith("tests/")):
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


def pytest(folder: Path, *arguments: str, limit: float | None = None, **variables: str):
    command = [".venv/bin/python", "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | variables
    return subprocess.run(
        command, cwd=folder, env=environment, timeout=limit, capture_output=True, text=True
    )


def probed(mutants: list[Mutant], folder: Path) -> None:
    """Runs the suite with a probe at every mutant, then takes the probes out again."""
    points = dict[str, list[tuple[int, bytes]]]()
    for number, mutant in enumerate(mutants):
        points.setdefault(mutant.file, []).extend(
            [(mutant.start, b"(mutant_hit(%d) or " % number), (mutant.end, b")")]
        )
    for file, inserts in points.items():
        text = (HERE / file).read_bytes()
        # Where one ends and the next begins, the end comes first.
        for place, insert in sorted(
            inserts, key=lambda one: (one[0], one[1] != b")"), reverse=True
        ):
            text = text[:place] + insert + text[place:]
        (folder / file).write_bytes(text)
    began = perf_counter()
    files = {"MUTANT_HITS": str(folder / "hits"), "MUTANT_SECONDS": str(folder / "seconds")}
    done = pytest(folder, "-p", "mutant_hits", **files)
    (folder / "suite").write_text(f"{perf_counter() - began:.0f} s\n{done.stdout}")
    for file in points:
        shutil.copy2(HERE / file, folder / file)


def chosen(reaching: list[str], seconds: dict[str, float]) -> list[str]:
    """The items a mutant is held against, in the order they run."""
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
    """The test that fails under a mutant, if any of the items does."""
    path = folder / mutant.file
    text = (HERE / mutant.file).read_bytes()
    path.write_bytes(text[: mutant.start] + f"({mutant.new})".encode() + text[mutant.end :])
    try:
        done = pytest(folder, "-n", "0", "-x", "-m", "", *items, limit=60 + 10 * seconds)
    except subprocess.TimeoutExpired:
        return "does not end"
    finally:
        path.write_bytes(text)
    if done.returncode == 0:
        return None
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
        probed(mutants, copies[0])
    print((copies[0] / "suite").read_text().splitlines()[0], "for the suite with probes")
    seconds = dict[str, float]()
    for line in (copies[0] / "seconds").read_text().splitlines():
        taken, _, item = line.partition("\t")
        seconds[item] = float(taken)
    reaching = {number: set[str]() for number in range(len(mutants))}
    for line in (copies[0] / "hits").read_text().splitlines():
        number, _, item = line.partition("\t")
        if item in seconds:
            reaching[int(number)].add(item)
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
        line = (
            "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
        )
        print(line, flush=True)
        return line

    print("| where | function | old | new | items | noticed by |\n|---|---|---|---|---|---|")
    with ThreadPoolExecutor(len(copies)) as pool:
        lines = list(pool.map(row, range(len(mutants))))
    survived = sum("**survived**" in line for line in lines)
    print(f"\n{len(lines) - survived} of {len(lines)} noticed")


if __name__ == "__main__":
    main()
