"""Extension of the site: escape what Markdown would misread in docstrings.

An example (`>>>`) is code and not a quotation; the papers of a strategy, which are set in, are a
quotation and not code.
"""

import re
from typing import Any

import griffe

EXAMPLE = re.compile(r"^( *)>>> .*(?:\n\1\S.*)*", re.MULTILINE)
PAPERS = re.compile(r"^    \S.*(?:\n    \S.*)*", re.MULTILINE)


class Docstrings(griffe.Extension):
    """Rewrites them as Markdown."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite one."""
        if obj.docstring:
            text = EXAMPLE.sub(_fenced, obj.docstring.value)
            obj.docstring.value = PAPERS.sub(_quoted, text) if obj.is_module else text


def _fenced(example: re.Match[str]) -> str:
    indent = example[1]
    return f"{indent}```pycon\n{example[0]}\n{indent}```"


def _quoted(papers: re.Match[str]) -> str:
    lines = [f"> {line.strip()}" for line in papers[0].splitlines()]
    # Two spaces end a line: the next one is of another paper.
    return "\n".join(re.sub(r"(https://\S+)$", r"\1  ", line) for line in lines)
