"""`fedlocal-cite`, and the BibTeX that it prints against what the strategies' files say."""

import ast
import re
import sys
import unicodedata
from importlib.metadata import version
from pathlib import Path

import bibtexparser
import pytest
import yaml
from pylatexenc.latex2text import LatexNodes2Text

from fedlocal.cli.cite import cite, main, targets
from tests.strategies_in_conf import NAMES

ROOT = Path(__file__).parents[2]
REFERENCES = bibtexparser.parse_file(str(ROOT / "strategies/references.bib"))
REQUIRED = {"inproceedings": {"booktitle"}, "article": {"journal"}, "misc": {"howpublished"}}


def plain(text: str) -> str:
    """Without LaTeX, accents and line breaks."""
    unaccented = unicodedata.normalize("NFKD", LatexNodes2Text().latex_to_text(text))
    return " ".join("".join(c for c in unaccented if not unicodedata.combining(c)).split())


def parsed(*names: str) -> list:
    library = bibtexparser.parse_string("\n".join(cite(list(names))))
    assert not library.failed_blocks
    return library.entries


def sources(name: str) -> str:
    """The lines of a strategy's file that name its papers: those set in."""
    text = (ROOT / f"{targets()[name].replace('.', '/')}.py").read_text()
    lines = (ast.get_docstring(ast.parse(text)) or "").splitlines()
    return plain("\n".join(line for line in lines if line.startswith("    ")))


def test_the_file_is_bibtex_with_keys_of_its_own():
    # Blocks that cannot be read, keys given twice, fields given twice.
    assert not REFERENCES.failed_blocks
    for entry in REFERENCES.entries:
        fields = set(entry.fields_dict)
        assert {"strategies", "author", "title", "year"} | REQUIRED[entry.entry_type] <= fields
        first = plain(entry["author"].split(",")[0]).split()[0].lower()
        assert re.fullmatch(rf"{first}{entry['year']}[a-z]+", entry.key), entry.key


def test_every_entry_belongs_to_strategies_that_there_are():
    for entry in REFERENCES.entries:
        assert set(entry["strategies"].split(", ")) <= set(NAMES), entry.key


@pytest.mark.parametrize("name", NAMES)
def test_entries_say_what_the_strategy_says(name):
    said, entries = sources(name), parsed(name)
    assert {e["url"] for e in entries if "url" in e} == set(
        re.findall(r"https://\S+[^\s,.)]", said)
    )
    for entry in entries:
        assert "strategies" not in entry
        assert entry["year"] in said
        title = plain(entry["title"])
        # A strategy may name a paper in short.
        assert title.split(":")[0] in said or " ".join(title.split()[:3]) in said
        surnames = [plain(author.split(",")[0]) for author in entry["author"].split(" and ")]
        assert all(surname in said for surname in surnames) or f"{surnames[0]} et al" in said


def test_each_entry_once_in_the_order_of_the_names():
    keys = [entry.key for entry in parsed("async_local_sgd", "vrl_sgd", "local_sgd")]
    assert keys == ["stich2019local", "liang2019vrlsgd", "yu2019parallel"]


def test_the_project_itself(capsys):
    main(["fedlocal"])
    (entry,) = bibtexparser.parse_string(capsys.readouterr().out).entries
    about = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert entry["title"].replace("{", "").replace("}", "") == about["title"]
    assert entry["author"] == f"{{{about['authors'][0]['name']}}}"
    assert entry["note"] == f"Version {version('fedlocal')}" == f"Version {about['version']}"


def test_without_a_name_it_lists(capsys):
    main([])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [name for name, *_ in lines] == NAMES
    assert ["choco_sgd", "koloskova2019choco", "koloskova2020decentralized"] in lines


def test_an_unknown_name_is_refused_with_the_nearest(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["vrlsgd"])
    assert stopped.value.code == 2
    assert capsys.readouterr().err == (
        "fedlocal-cite: there is no strategy 'vrlsgd' (did you mean vrl_sgd?); fedlocal-cite"
        " without a name lists all\n"
    )


def test_a_strategy_without_an_entry_is_listed_and_refused(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/__init__.py").write_text("raise AssertionError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("fedlocal.cli.cite.targets", lambda: {"own": "mine.own"})
    main([])
    assert capsys.readouterr().out == "own  no entry\n"
    with pytest.raises(ValueError, match=r"own has no entry in mine/references\.bib; add one"):
        cite(["own"])


def test_it_is_installed_and_does_not_wait_for_torch(shell):
    told = shell("vrl_sgd", command="fedlocal-cite")
    assert (told.code, told.err) == (0, "") and told.out.startswith("@misc{liang2019vrlsgd,")
    source = (
        "import sys; from fedlocal.cli.cite import main; main(['vrl_sgd']); assert 'torch' not in"
    )
    assert shell("-c", f"{source} sys.modules", command=Path(sys.executable).name).code == 0
