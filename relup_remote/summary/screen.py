"""What people see of a command while it runs: a live table on a terminal, plain lines elsewhere, or nothing."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

from relup_remote.rollout.feed import Event
from relup_remote.summary.progress import Lines

DUMB = ("", "dumb", "unknown")
"""Values of TERM that stand for a terminal which can't move its cursor."""


class Display(Protocol):
    """Listens to a feed, and shows what it tells. Events come one at a time, from several threads."""

    def __call__(self, event: Event) -> None:
        """Show that ``event`` has happened."""

    def pause(self) -> None:
        """Leave the terminal to others until the next event: before a question is asked."""


class Silent:
    """Shows nothing."""

    def __call__(self, event: Event) -> None:
        """Take no notice of ``event``."""

    def pause(self) -> None:
        """There is nothing to clear."""


@contextmanager
def listener(out: TextIO, *, quiet: bool = False, live: bool = True) -> Iterator[Display]:
    """A display on ``out``, which is stderr; when the context ends, the terminal is as it was, for a summary to follow.

    ``live`` as False: plain lines also on a terminal, for a command that writes its events there. For commands that are
    no rollouts, `Feed(display).watch` is their `Watch`.
    """
    if quiet:
        yield Silent()
    elif live and is_capable(out):
        # Slow to import, and of no use elsewhere.
        from relup_remote.summary.live import live_table  # noqa: PLC0415

        with live_table(out) as table:
            yield table
    else:
        yield Lines(out)


def is_capable(out: TextIO) -> bool:
    """Whether ``out`` is a terminal on which a table can be redrawn."""
    return out.isatty() and os.environ.get("TERM", "") not in DUMB
