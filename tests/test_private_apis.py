"""Undocumented parts of other libraries: each has its row in decision 0012, and is still there."""

import ast
import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.private_apis import CHECKS
from tests.undocumented import OURS, uses

ROOT = Path(__file__).parents[1]
DECISION = ROOT / "docs/decisions/0012-private-apis.md"


def files():
    for package in OURS:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text())


def rows():
    """API, files and range of each row of the first table."""
    table = DECISION.read_text().split("**Replaced")[0]
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if len(cells) == 5 and "`" in cells[1]:
            yield cells[0], cells[1].strip("`"), cells[4].strip(" |")


ROWS = list(rows())


def test_every_use_has_its_row():
    for file, tree in files():
        listed = " ".join(api for api, where, _ in ROWS if where == file)
        for use in uses(tree):
            assert use in listed, (
                f"{file} uses {use}, which its library does not document: take a public way, or"
                f" give it a row in {DECISION.name}"
            )


@pytest.mark.parametrize(
    "text",
    [
        "import torch._C",
        "from torch._inductor import compile_fx",
        "from torch.fx.experimental.proxy_tensor import make_fx",
        "from hydra._internal.utils import run",
        "from omegaconf.base import _internal",
        "from flwr.supercore import log",
        "module._apply(f)",
        "make_fx(f, _internal=True)",
        "getattr(operation, '_schema')",
        "message.metadata.__dict__['_message_id'] = 1",
        "import uvicorn\nuvicorn.Config.load = f",
        "from flwr.app import Message\nsetattr(Message, 'content', 1)",
        "import_module('flwr.supernode.loop')",
    ],
)
def test_the_scan_finds(text):
    assert list(uses(ast.parse(text)))


def test_the_scan_leaves_the_public_alone():
    text = (
        "from torch import nn\nfrom flwr.app import Message\nfrom hydra.utils import instantiate\n"
        "class A:\n    def _own(self): self._x = 1\na._own()\na._x\na._replace(b=1)\n"
        "instantiate(a, _convert_='all')\n"
    )
    assert not list(uses(ast.parse(text)))


def words_of(api):
    """The names or texts of a row."""
    return re.findall(r"`([^`]+)`", api)


# What a row says of where its API is found.
ELSEWHERE = ("time", "node", "flwr", "torch.nn.functional")


@pytest.mark.parametrize(("api", "file", "_range"), ROWS)
def test_no_row_is_left_over(api, file, _range):
    text = (ROOT / file).read_text()
    for word in words_of(api):
        if word in ELSEWHERE:
            continue
        name = word if " " in word or "/" in word else re.findall(r"\w+", word)[-1]
        assert name in text, f"{file} uses {word} no more: take it out of {DECISION.name}"


@pytest.mark.parametrize(("api", "file", "_range"), ROWS)
def test_it_has_not_moved(api, file, _range):
    try:
        CHECKS[words_of(api)[0]]()
    except Exception as error:
        raise AssertionError(f"{api} is not what {file} counts on ({DECISION.name})") from error


def test_installed_versions_are_in_the_range_of_their_rows():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = {r.name: r for r in map(Requirement, project["dependencies"])}
    for _, _, given in ROWS:
        bound = Requirement(given)
        if bound.name == "Python":
            continue
        specifier = required[bound.name].specifier
        assert str(bound.specifier) in str(specifier), f"{given} stands not in pyproject.toml"
        assert specifier.contains(version(bound.name).split("+")[0]), (
            f"{bound.name} {version(bound.name)} is not {specifier}; install one that is, or raise"
            f" the bound where the checks of {DECISION.name} pass"
        )
