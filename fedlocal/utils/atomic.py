"""Files that are replaced in one step."""

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any


def write_atomically(
    path: Path, content: bytes | str | Callable[[Path], Any], mode: int | None = None
) -> None:
    """Replace a file in one step: a crash leaves the old one or the new one, whole.

    Args:
        path: The file; its folder exists.
        content: Bytes, text (written as UTF-8), or a function that writes to a path of the same
            suffix.
        mode: Permissions of the file; None for those of any new file. The content is never
            readable by others before they are set.

    >>> folder = getfixture("tmp_path")
    >>> write_atomically(folder / "a.txt", "one")
    >>> [(file.name, file.read_text()) for file in folder.iterdir()]
    [('a.txt', 'one')]
    """
    # The folder is this user's alone, and in the same file system, where a rename is one step.
    with TemporaryDirectory(dir=path.parent, prefix=".") as folder:
        draft = Path(folder, "draft").with_suffix(path.suffix)
        if isinstance(content, bytes):
            draft.write_bytes(content)
        elif isinstance(content, str):
            draft.write_text(content, encoding="utf-8")
        else:
            content(draft)
        if mode is not None:
            draft.chmod(mode)
        # Otherwise a system that fails may have the new name and not yet the content.
        with draft.open("rb+") as file:
            os.fsync(file.fileno())
        draft.replace(path)
