"""Speakers of a play in lines `NAME:` after an empty line, as in Tiny Shakespeare."""

import re
from pathlib import Path


def speeches(text: str, path: Path) -> dict[str, str]:
    r"""Return all that each speaker says, in the order in which they first speak.

    A speech begins after an empty line (or at the start) with a line that ends in a colon and
    names the speaker; that line is not part of the words. Paragraphs that begin otherwise continue
    the speech. Mind prose: a paragraph whose first line ends in a colon is taken for a speech.

    Args:
        text: The whole file, lines ended by one newline character.
        path: Of the file, for the message.

    Returns:
        A speaker's speeches one after another, each with a newline at its end; a speaker who has
        a line `NAME:` and says nothing is left out.

    Raises:
        ValueError: The text does not begin with a line `NAME:`.

    >>> speeches("A:\nYes.\n\nB:\nNo.\nNever.\n\nA:\nOh.\n", Path("play.txt"))
    {'A': 'Yes.\nOh.\n', 'B': 'No.\nNever.\n'}
    """
    said: dict[str, str] = {}
    speaker: str | None = None
    for paragraph in re.split(r"\n{2,}", text.strip("\n")):
        first, _, rest = paragraph.partition("\n")
        begins = re.fullmatch(r"\s*(\S.*):\s*", first)
        speaker = begins[1] if begins else speaker
        if speaker is None:
            raise ValueError(
                f"{path}: begins with {first[:40]!r} and not with a speaker's line NAME:; a text"
                " without speakers needs dataset.speakers=false and, for example, partition=iid"
            )
        words = rest if begins else paragraph
        said[speaker] = said.get(speaker, "") + (words + "\n" if words else "")
    return {name: words for name, words in said.items() if words}
