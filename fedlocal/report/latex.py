r"""Tables as LaTeX, with the rules of the booktabs package.

Source: Fear. Publication quality tables in LaTeX. https://ctan.org/pkg/booktabs
"""

from typing import Any

from fedlocal.report.table import short

ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    # At the start of a row these would be an argument of the end of the row before.
    **{sign: f"{{{sign}}}" for sign in "[]*"},
}


def latex(table: list[dict[str, Any]]) -> str:
    r"""A tabular of the table: text to the left, numbers to the right, four digits."""
    columns = list(table[0])
    places = "".join("r" if is_numeric(table, column) else "l" for column in columns)
    rows = [_row([short(row[column]) for column in columns]) for row in table]
    return "\n".join(
        [
            r"% \usepackage{booktabs} goes into the preamble.",
            rf"\begin{{tabular}}{{{places}}}",
            r"\toprule",
            _row([column.replace("_", " ") for column in columns]),
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def escaped(text: str) -> str:
    r"""The text as LaTeX shows it.

    >>> escaped("local_sgd & 50%")
    'local\\_sgd \\& 50\\%'
    """
    return "".join(ESCAPES.get(sign, sign) for sign in text)


def _row(cells: list[str]) -> str:
    return " & ".join(escaped(cell) for cell in cells) + r" \\"


def is_numeric(table: list[dict[str, Any]], column: str) -> bool:
    """Whether what stands in the column are numbers, perhaps with a deviation."""
    texts = [short(row[column]) for row in table]
    return all(_is_number(text.split(" ± ")[0]) for text in texts if text)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
