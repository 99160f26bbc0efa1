"""Small pieces of text for people."""

import re
import shutil
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from itertools import takewhile
from typing import Any, TextIO

from relup_remote.program import typed

WIDTH = 110
"""Columns that running text is wrapped to."""


LONGEST = 160
"""Columns of the longest line of running text where it goes to no terminal."""

_columns: ContextVar[int | None] = ContextVar("columns", default=None)


@contextmanager
def within(columns: int | None) -> Iterator[None]:
    """Have tables and text fit into so many columns; with None tables are as wide as they like, as in a file."""
    token = _columns.set(columns)
    try:
        yield
    finally:
        _columns.reset(token)


def room() -> int | None:
    """The columns that tables have; None if they may be as wide as they like."""
    return _columns.get()


class _Filler(textwrap.TextWrapper):
    """Breaks lines at spaces only."""

    def __init__(self, width: int, first: str, following: str) -> None:
        super().__init__(
            max(width, 1),
            initial_indent=first,
            subsequent_indent=following,
            replace_whitespace=False,
            break_on_hyphens=False,
            break_long_words=False,
        )


class _Wrapper(_Filler):
    """Breaks lines after commas too: a term of Erlang may have no space at all."""

    wordsep_simple_re = re.compile(r"(\s+|(?<=,)(?=\S))")


_TOGETHER = re.compile(r"`[^`\n]+`|(?<![\w.])\d[\d.,]* (?:ms|s|min|h|bytes|kB|MB|GB|%)(?!\w)")
"""What stays on one line: a command in backticks, which is there to be copied, and a number with its unit."""

_HELD = str.maketrans({" ": "\0", ",": "\1"})
_FREE = str.maketrans({"\0": " ", "\1": ","})


def wrap(text: str, width: int, first: str = "", following: str = "") -> list[str]:
    """``text`` in lines of at most ``width``, broken between words only: a longer word has its own line."""
    return _together(_Wrapper(width, first, following), text)


def filled(text: str, width: int, first: str = "", following: str = "") -> list[str]:
    """As `wrap`, for running text: a value such as ``1,100%`` is one word."""
    return _together(_Filler(width, first, following), text)


def _together(wrapper: textwrap.TextWrapper, text: str) -> list[str]:
    held = _TOGETHER.sub(lambda found: found[0].translate(_HELD), text)
    return [line.translate(_FREE) for line in wrapper.wrap(held)]


def columns(out: TextIO) -> int | None:
    """How many columns ``out``, stdout, has; None if it is no terminal: then lines may be as long as they like."""
    return shutil.get_terminal_size().columns if out.isatty() else None


def seconds(value: float) -> str:
    """A duration: ``4 ms``, ``0.9 s``, ``215 s``."""
    if value < 0.1:
        return f"{value * 1000:.0f} ms"
    return f"{value:.1f} s" if value < 100 else f"{value:.0f} s"


def duration(value: float | None) -> str:
    """Seconds as ``0.4 ms``, ``25 ms``, ``0.9 s``, ``12 min 5 s``, ``2 h 10 min``; a dash for None."""
    if value is None:
        return "–"
    if 0 < value < 0.01:
        return f"{value * 1000:.1f} ms"
    if value < 100:
        return seconds(value)
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def worked(value: float, resumed: int, between: float) -> str:
    """The time of a run, ``value`` seconds; of one that was ``resumed`` so often also how long nobody worked on it."""
    if not resumed:
        return duration(value)
    again = "resumed after " if resumed == 1 else f"resumed {resumed} times, after "
    return f"{duration(value)} ({again}{duration(between)}{' in all' if resumed > 1 else ''})"


def size(count: int) -> str:
    """A number of bytes: ``71 MB``."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= factor:
            return f"{count / factor:.{1 if count < 10 * factor else 0}f} {unit}"
    return f"{count} bytes"


def moment(milliseconds: int | None) -> str:
    """A moment in UTC from milliseconds since the epoch; empty for None."""
    if milliseconds is None:
        return ""
    return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%d %H:%M:%S}"


def clean(value: object) -> str:
    """``value`` as text that a terminal can't take for commands: hosts and VMs say what they like."""
    text = str(value)
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char == "\n" else "?" for char in text)


def by_hosts(told: Iterable[tuple[str, str]]) -> str:
    """What is told of hosts, given as (host, text): what several share once, after all their names."""
    hosts: dict[str, list[str]] = {}
    for host, text in told:
        hosts.setdefault(text, []).append(host)
    return "\n\n".join(f"{', '.join(names)}: {clean(text)}" for text, names in hosts.items())


def common(texts: Sequence[str]) -> str:
    """What texts begin and end with, and an ellipsis between."""
    if len(set(texts)) == 1:
        return texts[0]
    start = _start(texts)
    end = _start([text[len(start) :][::-1] for text in texts])[::-1]
    return f"{start}…{end}"


def _start(texts: Sequence[str]) -> str:
    return "".join(chars[0] for chars in takewhile(lambda chars: len(set(chars)) == 1, zip(*texts, strict=False)))


def wrapped(text: object, indent: str = "", first: str = "") -> str:
    """``text`` in lines of at most `WIDTH`, its own line breaks kept; ``first`` is put before the first line.

    Commands in it are as they are typed here.
    """
    width = min(WIDTH, room() or WIDTH)
    lines = clean(typed(str(text))).splitlines() or [""]
    parts = []
    for number, line in enumerate(lines):
        following = indent + " " * len(first)
        parts += wrap(line, width, indent + first if number == 0 else following, following) or [""]
    return "\n".join(parts)


def many(number: int, what: str) -> str:
    """So many of something: ``1 host``, ``3 hosts``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def shortened(text: object, width: int) -> str:
    """``text`` on one line of at most ``width`` characters; what is left out is told by an ellipsis."""
    line = " ".join(str(text).split())
    return line if len(line) <= width else f"{line[: width - 1]}…"


def detail(value: Any, indent: str = "  ") -> str:
    """Facts given as JSON, readable: a line for each, nested ones indented."""
    return "\n".join(_lines(value, indent))


def _lines(value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(inner, dict | list) and inner and not _is_short(inner):
                yield f"{indent}{clean(key)}:"
                yield from _lines(inner, indent + "  ")
            else:
                yield wrapped(_plain(inner), indent, f"{clean(key)}: ")
    elif isinstance(value, list):
        for inner in value:
            yield from _item(inner, indent)
    else:
        yield wrapped(_plain(value), indent)


def _item(value: Any, indent: str) -> Iterator[str]:
    lines = list(_lines(value, indent + "  "))
    yield f"{indent}- {lines[0].lstrip()}" if lines else f"{indent}-"
    yield from lines[1:]


def _is_short(value: Any) -> bool:
    """Whether a list can stand on one line."""
    return (
        isinstance(value, list)
        and not any(isinstance(inner, dict | list) for inner in value)
        and sum(len(str(inner)) + 2 for inner in value) < WIDTH / 2
    )


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_plain(inner) for inner in value) or "none"
    if isinstance(value, dict):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)
