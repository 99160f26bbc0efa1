"""The help on one command, as a terminal gets it."""

import sys
import textwrap
from collections.abc import Iterable
from typing import Any

from invoke.tasks import Task

from relup_remote.manual.entries import STATUSES, entry
from relup_remote.manual.synopsis import line, synopsis
from relup_remote.summary.layout import folded
from relup_remote.summary.text import columns

WIDTH = 100
"""Columns that help takes at most."""


def help_text(program: str, name: str, task: "Task[Any]") -> tuple[str, str]:
    """What stands before the options of a command, and what after them."""
    about = entry(name)
    usage = line(program, synopsis(name, task), "  ", _width())
    paragraphs = [task.__doc__ or "", *about.about.split("\n\n")]
    before = [f"Usage:\n{usage}", *(_filled(each) for each in paragraphs if each)]
    statuses = {**STATUSES, **about.statuses}
    after = [
        "\n".join(["Exit status:", *(_filled(said, f"  {status}  ") for status, said in sorted(statuses.items()))])
    ]
    if about.examples:
        shown = (f"{program} {words}\n      {said}" for words, said in about.examples.items())
        after.append(_listed("Examples:", shown))
    if about.see:
        after.append(f"See also: {', '.join(about.see)}")
    return "\n\n".join(before), "\n\n".join(after)


def _filled(text: str, first: str = "  ") -> str:
    """``text`` as a paragraph that begins with ``first``, and is indented by as much."""
    indent = " " * len(first)
    return textwrap.fill(text, _width(), initial_indent=first, subsequent_indent=indent, break_on_hyphens=False)


def _width() -> int:
    return min(WIDTH, columns(sys.stdout) or WIDTH)


def _listed(title: str, lines: Iterable[str]) -> str:
    return folded("\n".join([title, *(f"  {each}" for each in lines)]), _width())
