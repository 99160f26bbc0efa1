"""Tables and text within the columns that there are: no word is ever broken.

A table that is too wide has its cells wrapped; where that is not enough, or would make towers of words, each of its
lines becomes a block of its own.
"""

from collections.abc import Iterable, Iterator, Sequence

from tabulate import tabulate

from relup_remote.summary.text import clean, room, wrap

GAP = 2
"""Columns between two cells; a name of a column has as many after it in its own."""

TALLEST = 6
"""Lines of the tallest cell of a table; with more it is easier to read as a block."""


def table(
    headers: Sequence[str], lines: Iterable[Sequence[object]], keep: Iterable[str] = (), spare: Sequence[str] = ()
) -> str:
    """A table, without the columns in which no line says anything; those of ``keep`` stay all the same.

    Those of ``spare`` are left out, one after the other, where all of them have no room.
    """
    texts = [["" if cell is None else clean(cell) for cell in line] for line in lines]
    kept = [column for column, header in enumerate(headers) if header in keep or any(line[column] for line in texts)]
    columns = room()
    for left_out in range(len(spare) + 1):
        shown = [column for column in kept if headers[column] not in spare[:left_out]]
        names, cells = _chosen(headers, texts, shown)
        if columns is None or _width(_natural(names, cells)) <= columns:
            return tabulate(cells, names, disable_numparse=True)
    assert columns is not None
    # In blocks there is room for all.
    return _wrapped_table(names, cells, columns) or _blocks(*_chosen(headers, texts, kept), columns)


def _chosen(
    headers: Sequence[str], texts: Sequence[Sequence[str]], columns: Sequence[int]
) -> tuple[list[str], list[list[str]]]:
    return [headers[column] for column in columns], [[line[column] for column in columns] for line in texts]


def _wrapped_table(names: Sequence[str], cells: Sequence[Sequence[str]], columns: int) -> str | None:
    """A table with wrapped cells; None where that has no room, or would be hard to read."""
    widths = _widths(names, cells, columns)
    heads = [_wrapped(name, width - GAP) for name, width in zip(names, widths, strict=True)]
    bodies = [[_wrapped(cell, width) for cell, width in zip(line, widths, strict=True)] for line in cells]
    if _width(widths) > columns or _tallest([heads, *bodies]) > TALLEST:
        return None
    return tabulate(bodies, heads, disable_numparse=True)


def folded(text: str, columns: int | None) -> str:
    """``text`` with its lines broken between words where they are wider than the terminal."""
    if columns is None:
        return text
    return "\n".join(part for line in text.split("\n") for part in _folded(line, columns))


def _folded(line: str, columns: int) -> list[str]:
    if len(line) <= columns:
        return [line]
    indent = line[: len(line) - len(line.lstrip())]
    # An indent within the text would be dropped before a word that is too long.
    return wrap(line.lstrip(), columns, first=indent, following=f"{indent}  ")


def _wrapped(cell: str, width: int) -> str:
    return "\n".join(part for line in cell.split("\n") for part in wrap(line, width) or [""])


def _tallest(lines: Sequence[Sequence[str]]) -> int:
    return max((cell.count("\n") + 1 for line in lines for cell in line), default=0)


def _width(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def _natural(names: Sequence[str], cells: Sequence[Sequence[str]]) -> list[int]:
    bodies = _bodies(names, cells)
    return [_widest([name], body.split("\n")) for name, body in zip(names, bodies, strict=True)]


def _bodies(names: Sequence[str], cells: Sequence[Sequence[str]]) -> list[str]:
    return ["\n".join(column) for column in zip(*cells, strict=True)] or [""] * len(names)


def _widths(names: Sequence[str], cells: Sequence[Sequence[str]], columns: int) -> list[int]:
    """The widths of the columns, none narrower than its longest word."""
    widths = _natural(names, cells)
    least = [_widest(wrap(name, 1), wrap(body, 1)) for name, body in zip(names, _bodies(names, cells), strict=True)]
    while _width(widths) > columns and widths != least:
        wide = max(range(len(widths)), key=lambda column: (widths[column] > least[column], widths[column]))
        widths[wide] -= 1
    return widths


def _widest(head: Sequence[str], body: Sequence[str]) -> int:
    return max([*(len(part) + GAP for part in head), *map(len, body)], default=0)


def _blocks(names: Sequence[str], cells: Sequence[Sequence[str]], room: int) -> str:
    """A block for each line: its host, or its first cell, and below it what the others say."""
    title = names.index("host") if "host" in names else 0
    label = max((len(name) for column, name in enumerate(names) if column != title), default=0)
    return "\n\n".join("\n".join(_block(names, line, title, label, room)) for line in cells)


def _block(names: Sequence[str], line: Sequence[str], title: int, label: int, room: int) -> Iterator[str]:
    yield f"{names[title]} {line[title]}".strip()
    for column, (name, cell) in enumerate(zip(names, line, strict=True)):
        if column != title and cell:
            text, first, following = " ".join(cell.split("\n")), f"  {name:<{label}}  ", " " * (label + 4)
            if max(map(len, wrap(text, 1))) > room - len(first):
                # A path, or a term: below its name there is most room.
                yield first.rstrip()
                first = following = "    "
            yield from wrap(text, room, first=first, following=following)
