"""Text in columns, as Docker's lists are laid out."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_LEAST = 10  # columns are at least so wide, the gap included
_GAP = 3


def align(text: str) -> str:
    """Return ``text`` with its tabs turned into columns.

    A cell ends with a tab; the last one of a line is no part of a column. A column is as wide as its widest
    cell in neighbouring lines that have the cell (the elastic tabs of Go's text/tabwriter).
    """
    lines = [line.split("\t") for line in text.split("\n")]
    rows = lines[:-1] if lines[-1] == [""] else lines
    if len({len(row) for row in rows}) == 1:
        return _lay_out(list(zip(*rows, strict=True))) + "\n" * (rows is not lines)
    out: list[list[str]] = [[] for _ in lines]
    _align_block(lines, 0, len(lines), 0, out)
    return "\n".join("".join(cells) for cells in out)


def align_columns(columns: "Sequence[Sequence[str]]") -> str:
    """Return the lines of a table that is given by its columns, laid out as ``align`` does."""
    if any("\t" in text or "\n" in text for text in map("".join, columns)):
        return align("".join(["\t".join(row) + "\n" for row in zip(*columns, strict=True)]))
    return _lay_out(columns) + "\n"


def _lay_out(columns: "Sequence[Sequence[str]]") -> str:
    """Return lines of cells that hold neither tab nor line's end; the last one has no line's end."""
    shape, padded = "", []
    for column in columns[:-1]:
        narrow = "".join(column).replace("…", "").isascii()  # each letter takes one column of the terminal
        size = max(_LEAST, max(map(len if narrow else width, column)) + _GAP)
        shape += f"%-{size}s" if narrow else "%s"
        padded.append(column if narrow else [_pad(cell, size) for cell in column])
    shape += "%s"
    return "\n".join([shape % row for row in zip(*padded, columns[-1], strict=True)])


def _align_block(lines: list[list[str]], first: int, end: int, column: int, out: list[list[str]]) -> None:
    """Lay out ``column`` and those behind it for ``lines[first:end]``, which have all columns before it."""
    at = first
    while at < end:
        if column >= len(lines[at]) - 1:
            out[at].append(lines[at][column])
            at += 1
            continue
        start = at
        while at < end and column < len(lines[at]) - 1:
            at += 1
        size = max(_LEAST, max(width(lines[line][column]) for line in range(start, at)) + _GAP)
        for line in range(start, at):
            out[line].append(_pad(lines[line][column], size))
        _align_block(lines, start, at, column + 1, out)


def _pad(text: str, size: int) -> str:
    return text + " " * (size - width(text))


def width(text: str) -> int:
    """Return how many columns of a terminal ``text`` takes."""
    if text.isascii():
        return len(text)
    from unicodedata import category, east_asian_width

    return sum(
        2 if east_asian_width(letter) in {"W", "F"} else 0 if category(letter) in {"Mn", "Me", "Cf"} else 1
        for letter in text
    )


def ellipsis(text: str, size: int) -> str:
    """Return ``text`` cut to ``size`` columns, with … for what is left out."""
    if size <= 0:
        return ""
    if size == 1:
        return text[:1]
    if text.isascii():
        return text if len(text) <= size else text[: size - 1] + "…"
    if width(text) <= size:
        return text
    taken = 0
    for at, letter in enumerate(text):
        taken += width(letter)
        if taken > size - 1:
            return text[:at] + "…"
    return text
