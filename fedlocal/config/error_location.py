"""Place in a user's own code at which an error was raised."""

import sysconfig
import traceback
from pathlib import Path

ROOT = Path(__file__).parents[2]
OURS = tuple(f"{ROOT / name}/" for name in ("fedlocal", "strategies", "partitions"))
LIBRARIES = (*{sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")}, "<frozen")


def own_failure(error: BaseException) -> str | None:
    """Return file, line and error in a line if user code raised it, None if fedlocal did.

    What a library raises is raised by its caller.
    """
    frames = traceback.extract_tb(error.__traceback__)
    # Where fedlocal is installed it lies among the libraries.
    callers = [
        frame
        for frame in frames
        if frame.filename.startswith(OURS) or not frame.filename.startswith(LIBRARIES)
    ]
    if not callers or callers[-1].filename.startswith(OURS):
        return None
    reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
    return f"{Path(callers[-1].filename).name}, line {callers[-1].lineno}: {reason}"
