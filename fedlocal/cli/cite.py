"""`fedlocal-cite STRATEGY...`: BibTeX entries of the papers behind strategies.

The entries are in `references.bib` of the package that holds a strategy's `_target_`, each with the
names of its strategies. Packages are located and not imported, so torch is not loaded.
"""

import argparse
import os
import re
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from fedlocal.utils.suggest import did_you_mean

PROJECT = """\
@misc{{fedlocal,
  author = {{{{fedlocal contributors}}}},
  title = {{fedlocal: local {{SGD}} and its whole family, simulated and compared}},
  note = {{Version {version}}},
  year = {{2026}},
}}"""


def main(arguments: list[str] | None = None) -> None:
    """Run the command; exit with code 2 for an unknown name."""
    parser = argparse.ArgumentParser(
        prog="fedlocal-cite",
        description="Print BibTeX for strategies, or for fedlocal itself; without a name, list"
        " the strategies with their citation keys.",
    )
    parser.add_argument("names", nargs="*", metavar="STRATEGY")
    names = parser.parse_args(arguments).names
    try:
        print("\n\n".join(cite(names)) if names else "\n".join(_listed()), flush=True)
    except BrokenPipeError:
        # The reader closed the pipe, as `head` does; nothing may be flushed at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except ValueError as error:
        print(f"fedlocal-cite: {error}", file=sys.stderr)
        sys.exit(2)


def cite(names: list[str]) -> list[str]:
    """Return the entries of the strategies, each once, in the order of the names.

    Raises:
        ValueError: Unknown strategy, or a strategy without an entry.
    """
    found = [entry for name in names for entry in _entries_of(name)]
    return list(dict.fromkeys(found))


def targets() -> dict[str, str]:
    """Return the `_target_` of each strategy in conf, by its name."""
    texts = {
        path.stem: path.read_text(encoding="utf-8")
        for path in _folder("conf").glob("strategy/*.yaml")
    }
    found = {name: re.search(r"^_target_: (\S+)", text, re.M) for name, text in texts.items()}
    return {name: target[1] for name, target in sorted(found.items()) if target}


def _entries_of(name: str) -> list[str]:
    if name == "fedlocal":
        return [PROJECT.format(version=version("fedlocal"))]
    known = targets()
    if name not in known:
        raise ValueError(
            f"there is no strategy {name!r}{did_you_mean(name, known)}; fedlocal-cite without a"
            " name lists all"
        )
    found = _entries_for(known[name])
    if not found:
        package, _, function = known[name].partition(".")
        raise ValueError(
            f"{name} has no entry in {package}/references.bib; add one with the line"
            f" strategies = {{{function}}}, or see the first lines of its file"
        )
    return found


def _entries_for(target: str) -> list[str]:
    words = target.split(".")
    return [text for strategies, text in _read(words[0]) if words[-1] in strategies]


@cache
def _read(package: str) -> tuple[tuple[frozenset[str], str], ...]:
    """Read the entries of a package, each with the names of its strategies."""
    path = _folder(package) / "references.bib"
    return tuple(_entries(path.read_text(encoding="utf-8"))) if path.exists() else ()


def _entries(text: str) -> Iterator[tuple[frozenset[str], str]]:
    for entry in re.findall(r"^@\w+\{.*?^\}", text, re.M | re.S):
        mark = re.search(r"^ *strategies = \{(.*)\},\n", entry, re.M)
        if mark is not None:
            yield frozenset(mark[1].split(", ")), entry.replace(mark[0], "")


def _folder(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(f"there is no package {package}; install fedlocal as its README says")
    return Path(next(iter(spec.submodule_search_locations)))


def _listed() -> list[str]:
    known = targets()
    width = max(map(len, known))
    return [f"{name:{width}}  {_keys(target)}" for name, target in known.items()]


def _keys(target: str) -> str:
    return " ".join(re.split(r"[{,]", entry)[1] for entry in _entries_for(target)) or "no entry"
