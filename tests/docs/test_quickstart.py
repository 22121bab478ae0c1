"""The quickstart notebook, run as it stands; the outputs that it keeps are those that come out.

WRITE_GOLDEN=1 writes them anew.
"""

import os
import re
import sys
from pathlib import Path

import nbformat
import psutil
import pytest
from nbclient import NotebookClient

PLACE = Path(__file__).parents[2] / "docs/quickstart.ipynb"
NUMBER = re.compile(r"\d+(?:\.\d+)?")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The notebook after it ran in an empty folder, with a home of its own."""
    folder = tmp_path_factory.mktemp("quickstart")
    commands = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HOME", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
            patch.setenv(name, str(folder / name))
        patch.setenv("PATH", commands)
        patch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
        (folder / "here").mkdir()
        notebook = nbformat.read(PLACE, as_version=4)
        client = NotebookClient(
            notebook,
            timeout=300,
            record_timing=False,
            coalesce_streams=True,
            resources={"metadata": {"path": str(folder / "here")}},
        )
        client.execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.execution_count = None
        for output in cell.get("outputs", ()):
            output.pop("execution_count", None)
            if output.output_type == "execute_result":
                output.execution_count = None
    notebook.metadata.language_info = {"name": "python"}
    if os.environ.get("WRITE_GOLDEN"):
        nbformat.write(notebook, PLACE)
    return notebook


def texts(notebook) -> list[str]:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return [output.get("text") or output["data"]["text/plain"] for output in outputs]


def test_it_says_what_comes_out(done):
    kept, found = texts(nbformat.read(PLACE, as_version=4)), texts(done)
    assert [NUMBER.sub("#", text) for text in found] == [NUMBER.sub("#", text) for text in kept]
    for one, other in zip(found, kept, strict=True):
        numbers = [[float(number) for number in NUMBER.findall(text)] for text in (one, other)]
        # Losses of another torch build may differ a little; bytes and seconds do not.
        assert numbers[0] == pytest.approx(numbers[1], rel=0.05)


def test_it_keeps_no_errors_warnings_or_places(done):
    for cell in done.cells:
        for output in cell.get("outputs", ()):
            assert output.output_type != "error" and output.get("name") != "stderr"
    kept = PLACE.read_text()
    assert not re.search(r"/(home|tmp|root|work|Users)/", kept) and len(kept) < 100_000


def test_its_one_picture_is_a_picture(done):
    pictures = [
        output["data"]["image/png"]
        for cell in done.cells
        for output in cell.get("outputs", ())
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == 1 and pictures[0].startswith("iVBOR")


def test_its_kernel_is_gone(done):
    children = psutil.Process().children(recursive=True)
    assert not [child for child in children if "ipykernel" in " ".join(child.cmdline())]
