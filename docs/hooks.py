"""Hooks of the site: pages from elsewhere in the repository, and the notebook as a page."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
TOP = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}

# Folders of which every page is in the menu, by its title.
LISTED = {"Decisions": "docs/decisions", "Measurements": "benchmarks"}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List whole folders in the menu."""
    for title, folder in LISTED.items():
        pages = [f"{Path(folder).name}/{path.name}" for path in sorted(ROOT.glob(f"{folder}/*.md"))]
        (config.nav or []).append({title: pages})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    for source, page in _pages():
        files.append(File.generated(config, page, content=source))
    return files


def _pages() -> Iterator[tuple[str, str]]:
    for name, page in TOP.items():
        yield _moved((ROOT / name).read_text()), page
    for path in sorted(ROOT.glob("benchmarks/*.md")):
        yield path.read_text(), f"benchmarks/{path.name}"
    yield _page(json.loads((ROOT / "docs/quickstart.ipynb").read_text())), "quickstart.md"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Point links out of docs/ to the pages that were added."""
    return re.sub(r"\]\(\.\./(?=benchmarks/)", "](", _renamed(markdown, "../"))


def _moved(text: str) -> str:
    """Return a file of the repository's top with its links as seen from docs/."""
    return _renamed(text.replace("](docs/", "]("), "")


def _renamed(text: str, before: str) -> str:
    for name, page in TOP.items():
        text = text.replace(f"]({before}{name}", f"]({page}")
    return text


def _page(notebook: dict[str, Any]) -> str:
    return "\n\n".join(part for cell in notebook["cells"] for part in _parts(cell))


def _parts(cell: dict[str, Any]) -> Iterator[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield source
        return
    yield f"```{'bash' if source.startswith('%%') else 'python'}\n{source}\n```"
    for output in cell["outputs"]:
        data = output.get("data", {"text/plain": output.get("text", "")})
        if "image/png" in data:
            yield f"![result](data:image/png;base64,{''.join(data['image/png']).strip()})"
        else:
            yield f"```text\n{''.join(data['text/plain']).rstrip()}\n```"
