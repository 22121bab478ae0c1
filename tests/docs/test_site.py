"""The site, built as a reader gets it: no warning, no dead link, nothing fetched elsewhere."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.strategies_in_conf import CONF, NAMES

ROOT = Path(__file__).parents[2]
# What a browser fetches by itself.
FETCHED = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src"}


class Page(HTMLParser):
    """Ids, targets of links, and what is fetched."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = {name: value or "" for name, value in attrs}
        self.ids |= {given[key] for key in ("id", "name") if key in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag in FETCHED and FETCHED[tag] in given:
            self.fetched.append(given[FETCHED[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = ["-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    # Without it the theme advertises on stderr.
    env = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=env, capture_output=True, text=True, timeout=300
    )
    assert (built.returncode, built.stdout, built.stderr) == (0, "", "")
    return folder


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, Page]:
    return {path: Page(path.read_text()) for path in site.rglob("*.html")}


@pytest.mark.parametrize(
    ("page", "anchor"),
    [
        ("index.html", "sweep"),
        ("quickstart.html", "two-methods"),
        ("command-line.html", "completion"),
        ("how-to-choose.html", None),
        ("extending.html", "where-things-are"),
        ("conventions.html", None),
        ("differences.html", "averaging"),
        ("deployment.html", "one-port"),
        ("deployment/compose.supernode.yaml", None),
        ("decisions/0001-slots.html", None),
        ("benchmarks/vrl_mnist_2cores_2026-11-20.html", None),
        ("contributing.html", None),
        ("changelog.html", "unreleased"),
        ("reference/simulate.html", "fedlocal.api.simulate"),
        ("reference/simulate.html", "fedlocal.rounds.result.Result"),
        ("reference/strategy.html", "fedlocal.slots.strategy.Strategy"),
        ("reference/pieces.html", "fedlocal.slots.Correction.end"),
        ("reference/steps.html", "fedlocal.slots.outer.sgd.OuterSGD"),
        ("reference/compress.html", "fedlocal.slots.compress.TopK"),
        ("reference/mixing.html", "fedlocal.slots.mixing.spectral_gap"),
        ("reference/period.html", "fedlocal.slots.period.AdaComm"),
        ("reference/rates.html", "fedlocal.slots.inner.lr_schedules.CosineRate"),
        ("reference/clock.html", "fedlocal.rounds.clock.Pareto"),
        ("reference/data.html", "fedlocal.data.digits"),
        ("reference/models.html", "fedlocal.models.mlp"),
        ("reference/folders.html", "fedlocal.report.runs.read_runs"),
    ],
)
def test_page(site, pages, page, anchor):
    assert (site / page).is_file()
    assert anchor is None or anchor in pages[site / page].ids


def test_every_strategy_and_partition_is_in_the_reference(site, pages):
    strategies = pages[site / "reference/strategies.html"].ids
    assert {f"strategies.{name}.{name}" for name in NAMES} <= strategies
    # A user's own is in a file of his.
    schemes = {path.stem for path in (CONF / "partition").glob("*.yaml")} - {"own"}
    partitions = pages[site / "reference/partitions.html"].ids
    assert schemes and {f"partitions.{name}.{name}" for name in schemes} <= partitions


def test_examples_of_docstrings_are_code(site):
    page, prompt = (site / "reference/partitions.html").read_text(), "&gt;&gt;&gt;"
    assert page.count(f'class="gp">{prompt}') == page.count(prompt) > 10
    assert not re.search(r"<blockquote>\s*<blockquote>", page)


def test_papers_of_strategies_are_links(site, pages):
    page = pages[site / "reference/strategies.html"]
    assert "https://arxiv.org/abs/1912.12844" in page.links


def test_links_lead_somewhere(site, pages):
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or path.name == "404.html":
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            assert target.is_file() and target.is_relative_to(site.resolve()), (path, link)
            if parts.fragment and target in pages:
                assert unquote(parts.fragment) in pages[target].ids, (path, link)


def test_nothing_is_fetched_from_elsewhere(pages):
    fetched = [(path.name, one) for path, page in pages.items() for one in page.fetched]
    assert fetched
    for name, one in fetched:
        assert one.startswith("data:image/") or not (
            urlsplit(one).scheme or urlsplit(one).netloc
        ), name


def test_style_sheets_fetch_nothing_from_elsewhere(site):
    sheets = list(site.rglob("*.css"))
    assert sheets
    for path in sheets:
        text = path.read_text()
        assert "url(http" not in text and "url(//" not in text and "@import" not in text, path
