"""CITATION.cff: what version 1.2.0 of the format asks for, and the same as pyproject.toml."""

import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
# Of the schema of version 1.2.0.
REQUIRED = {"cff-version", "message", "title", "authors"}
ALLOWED = REQUIRED | {
    *("abstract", "commit", "contact", "date-released", "doi", "identifiers", "keywords"),
    *("license", "license-url", "preferred-citation", "references", "repository", "type", "url"),
    *("repository-artifact", "repository-code", "version"),
}


def test_it_is_a_citation_file():
    about = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert set(about) >= REQUIRED and set(about) <= ALLOWED
    assert about["cff-version"] == "1.2.0" and about["type"] in ("software", "dataset")
    assert about["authors"] and all(set(one) == {"name"} for one in about["authors"])
    assert all(isinstance(value, str | list) and value for value in about.values())


def test_it_agrees_with_the_package():
    about = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (about["version"], about["license"]) == (project["version"], project["license"])
