"""Python blocks of the README and of docs/ run as they stand, each by itself in an empty folder."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Its three blocks belong together; tests/test_extending.py runs them.
ELSEWHERE = {"docs/extending.md"}
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)

BLOCKS = [
    pytest.param(path, match[1], id=f"{path.relative_to(ROOT)}-{number}")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    if str(path.relative_to(ROOT)) not in ELSEWHERE
    for number, match in enumerate(BLOCK.finditer(path.read_text()))
]


@pytest.mark.parametrize(("path", "block"), BLOCKS)
def test_block(path, block, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(compile(block, str(path), "exec"), {"__name__": "__main__"})
    printed = [line for line in block.splitlines() if line.startswith("print(")]
    assert capsys.readouterr().out or not printed


def test_there_are_some():
    assert len(BLOCKS) >= 2
