"""Files are read and written in UTF-8, whatever the locale of the machine."""

import ast
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = [path for package in ("fedlocal", "partitions") for path in (ROOT / package).rglob("*.py")]
TEXT = {"open", "read_text", "write_text"}


def text_calls(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", None))
        owner = getattr(getattr(node.func, "value", None), "id", None)
        # Our own `read_text` is a plain function; pictures and descriptors have no encoding.
        own = name == "read_text" and isinstance(node.func, ast.Name)
        if name in TEXT and owner not in ("os", "Image", "self") and not own:
            yield node


def test_every_text_file_names_its_encoding():
    for path in FILES:
        for call in text_calls(path):
            mode = "".join(str(a.value) for a in call.args if isinstance(a, ast.Constant))
            binary = mode in ("rb", "wb", "ab", "rb+")
            assert binary or "encoding" in {k.arg for k in call.keywords}, f"{path}:{call.lineno}"


def test_names_of_classes_in_another_locale(tmp_path):
    (tmp_path / "a.csv").write_bytes("a,y\n1,ära\n2,œil\n".encode())
    (tmp_path / "classes.txt").write_bytes("\ufeffœil\nära\n".encode())
    code = "import sys; from fedlocal.data.local import load_local as f; print(f(sys.argv[1])[1])"
    locale = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-c", code, str(tmp_path / "a.csv")]
    given = {"env": locale, "cwd": ROOT, "text": True, "capture_output": True, "check": True}
    assert subprocess.run(command, **given).stdout == "tensor([1, 0])\n"
