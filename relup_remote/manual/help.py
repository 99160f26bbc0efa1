"""The help on one command, as a terminal gets it."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from invoke.tasks import Task

from relup_remote.commands.options import LOCAL
from relup_remote.manual.entries import entry, statuses
from relup_remote.manual.synopsis import line, synopsis
from relup_remote.summary.text import columns, filled

WIDTH = 100
"""Columns that help takes at most."""

INDENT, GAP = "  ", 3
"""What is before a name, and columns between the longest name and what is said of it."""

NARROWEST = 20
"""Columns that what is said of a name has at least beside it."""


def help_text(program: str, name: str, task: "Task[Any]") -> tuple[str, str]:
    """What stands before the options of a command, and what after them."""
    about = entry(name)
    usage = line(program, synopsis(name, task), INDENT, _width())
    paragraphs = [task.__doc__ or "", *about.about.split("\n\n")]
    before = [f"Usage:\n{usage}", *(_filled(each) for each in paragraphs if each)]
    after = [statuses_text(statuses(name, is_local=task.name in LOCAL))]
    if about.examples:
        after.append("\n".join(["Examples:", *_examples(program, about.examples)]))
    if about.see:
        after.append(f"See also: {', '.join(about.see)}")
    return "\n\n".join(before), "\n\n".join(after)


def lab_help(called: str, about: str, flags: Sequence[tuple[str, str]]) -> str:
    """The help on a command of the lab: how it is ``called``, what it does, and its options as Invoke has them."""
    parts = [f"Usage:\n{INDENT}{called}{' [options]' if flags else ''}", _filled(" ".join(about.split()))]
    if flags:
        parts.append(f"Options:\n{two_columns(flags)}")
    return "\n\n".join(parts) + "\n"


def running(text: str) -> str:
    """``text`` within the terminal."""
    return "\n".join(filled(text, _width()))


def statuses_text(meanings: Mapping[int, str]) -> str:
    """What each exit status means."""
    lines = (_filled(said, f"{INDENT}{status}  ") for status, said in sorted(meanings.items()))
    return "\n".join(["Exit status:", *lines])


def two_columns(pairs: Sequence[tuple[str, str | None]] | Sequence[tuple[str, str]]) -> str:
    """Names, and beside each what is said of it; below it where there is no room beside it."""
    width, named = _width(), max(len(name) for name, _ in pairs)
    beside = width - named - len(INDENT) - GAP
    lines: list[str] = []
    for name, said in pairs:
        first = f"{INDENT}{name:<{named}}{' ' * GAP}"
        if beside < NARROWEST:
            lines.append(f"{INDENT}{name}")
            first = f"{INDENT}    "
        lines += filled(said or "", width, first, " " * len(first)) or [first.rstrip()]
    return "\n".join(lines)


def _filled(text: str, first: str = INDENT) -> str:
    """``text`` as a paragraph that begins with ``first``, and is indented by as much."""
    return "\n".join(filled(text, _width(), first, " " * len(first)))


def _width() -> int:
    return min(WIDTH, columns(sys.stdout) or WIDTH)


def _examples(program: str, examples: Mapping[str, str]) -> Iterator[str]:
    for words, said in examples.items():
        yield from filled(f"{program} {words}", _width(), INDENT, INDENT * 2)
        yield from filled(said, _width(), INDENT * 3, INDENT * 3)
