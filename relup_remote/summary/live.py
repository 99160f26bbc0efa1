"""A table of all hosts that is redrawn as a run goes on, by *rich*: never taller than the terminal, gone at the end.

What has happened (waves, gates, hosts, notes) scrolls by above it, so that it can be read there afterwards.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from relup_remote.rollout.feed import Event, now
from relup_remote.summary.progress import INTERRUPTED, LEAVING, is_story, sentence
from relup_remote.summary.progress import hosts as named
from relup_remote.summary.state import HostState, State, Work
from relup_remote.summary.text import clean, seconds, size

PER_SECOND = 4
BAR = 12
WITH_BAR = 72
WITH_NODE = 100
"""Columns of a terminal from which on the bar, and the node, have room."""

STYLES = {"failed": "red", "refused": "yellow", "skipped": "dim", "waiting": "dim"}


@contextmanager
def live_table(out: TextIO) -> Iterator["LiveTable"]:
    """The table, on a terminal; it is cleared away at the end."""
    table = LiveTable(Console(file=out, highlight=False, markup=False, emoji=False))
    try:
        yield table
    finally:
        table.pause()


class LiveTable:
    """A listener that keeps a table on ``console``; ``clock`` tells the time in ms.

    One thread at a time draws. rich's own thread may draw after a line of the story was prepared, with what clears the
    table away for it, and before it is written. If the table was shorter by then, the line above it was lost. Once the
    table is there, an event that is not a line of the story never waits for the terminal.
    """

    def __init__(self, console: Console, clock: Callable[[], int] = now) -> None:
        self._console = console
        self._clock = clock
        self._state = State()
        self._lock = threading.Lock()
        self._drawing = threading.Lock()
        self._live: Live | None = None

    def __call__(self, event: Event) -> None:
        """Have the table show that ``event`` has happened."""
        with self._lock:
            self._state.take(event)
        if self._live is None or is_story(event):
            with self._drawing:
                if self._live is None:
                    self._live = self._begun()
                if is_story(event):
                    self._console.print(Text(clean(sentence(event))))

    def pause(self) -> None:
        """Clear the table away, until the next event."""
        with self._drawing:
            if self._live is not None:
                self._live.stop()
                self._live = None

    def _begun(self) -> Live:
        live = Live(
            console=self._console,
            get_renderable=self._frame,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            vertical_overflow="crop",
        )
        live.start()
        # Who is killed can't bring back a cursor that was hidden.
        self._console.show_cursor(True)
        threading.Thread(target=self._paint, args=(live,), daemon=True).start()
        return live

    def _paint(self, live: Live) -> None:
        """Draw the table until it is cleared away."""
        while True:
            time.sleep(1 / PER_SECOND)
            with self._drawing:
                if self._live is not live:
                    return
                live.refresh()

    def _frame(self) -> RenderableType:
        with self._lock:
            return frame(self._state, self._clock(), *self._console.size)


def frame(state: State, now: int, width: int, height: int) -> RenderableType:
    """The table for a terminal of so many columns and lines, ``now`` in ms; it takes at most ``height`` - 1 lines."""
    top = list(_top(state, now))
    hosts = list(state.hosts.values())
    # The line with the column names, and the one on which the cursor stands.
    room = max(1, height - len(top) - 2)
    shown = chosen(hosts, room)
    parts: list[RenderableType] = [*top, _table(shown, now, width)]
    hidden = [host for host in hosts if host not in shown]
    if hidden and room > 1:
        parts.append(_line(f"and {len(hidden)} more: {_counts(hidden)}", "dim"))
    return Group(*parts)


def chosen(hosts: Sequence[HostState], room: int) -> list[HostState]:
    """The hosts that are shown if there is room for so many lines: those in hand first, then those that failed.

    They stay in their order. Where not all are shown, a line is left for the count of the others, if there is one.
    """
    if len(hosts) <= room:
        return list(hosts)
    ranked = sorted(range(len(hosts)), key=lambda n: _rank(hosts[n]))
    return [hosts[n] for n in sorted(ranked[: max(1, room - 1)])]


def _rank(host: HostState) -> int:
    return 0 if host.is_in_hand else 1 if host.has_failed else 2 if host.is_waiting else 3


def _counts(hosts: Sequence[HostState]) -> str:
    counts = Counter("in hand" if host.is_in_hand else _standing(host) for host in hosts)
    return ", ".join(f"{count} {word}" for word, count in counts.items())


def _top(state: State, now: int) -> Iterator[Text]:
    """What the run is at, the gate that it waits for, and that it was interrupted."""
    doing = f"{state.command}{f' to {state.target}' if state.target else ''}"
    wave = (
        f"wave {state.wave} of {state.waves}: {named(state.in_wave)}" if state.phase == "waves" and state.wave else ""
    )
    line = ", ".join(part for part in (doing, wave or state.phase) if part)
    if state.members:
        line += f" ({state.ended} of {len(state.members)} hosts finished)"
    if line:
        yield _line(line, "bold")
    if state.gate:
        why = f": {state.gate.message}" if state.gate.message else ""
        yield _line(f"gate {state.gate.name}, {_lasting((now - state.gate.since) / 1000)}{why}", "cyan")
    if state.interrupts:
        yield _line(INTERRUPTED if state.interrupts == 1 else LEAVING, "yellow")


def _line(text: str, style: str) -> Text:
    return Text(clean(text), style=style, no_wrap=True, overflow="ellipsis")


def _table(hosts: Sequence[HostState], now: int, width: int) -> Table:
    table = Table(box=None, expand=True, pad_edge=False, header_style="dim")
    table.add_column("host", no_wrap=True, max_width=24)
    has_node = width >= WITH_NODE and any(host.node for host in hosts)
    has_wave = any(host.wave for host in hosts)
    has_bar = width >= WITH_BAR and any(host.work for host in hosts)
    if has_node:
        table.add_column("node", no_wrap=True, max_width=32)
    if has_wave:
        table.add_column("wave", no_wrap=True, justify="right")
    table.add_column("step", no_wrap=True, min_width=8)
    if has_bar:
        table.add_column("", width=BAR, no_wrap=True)
    table.add_column("", ratio=1, no_wrap=True)
    table.add_column("outcome", no_wrap=True, min_width=10)
    table.add_column("time", no_wrap=True, justify="right", min_width=6)
    for host in hosts:
        cells: list[RenderableType] = [Text(clean(host.name))]
        if has_node:
            cells.append(Text(clean(host.node)))
        if has_wave:
            cells.append(str(host.wave or ""))
        cells.append(Text(clean(host.step or host.phase if host.is_in_hand else "")))
        if has_bar:
            cells.append(ProgressBar(host.work.total or 1, host.work.done, width=BAR) if host.work else "")
        cells += [Text(clean(_words(host.work) if host.work else "")), _outcome(host), _time(host, now)]
        table.add_row(*cells)
    return table


def _words(work: Work) -> str:
    """``35 MB of 71 MB, 12 MB/s``; ``3 of 12: {load_module,emqx}: loaded``."""
    if work.unit == "bytes":
        rate = f", {size(round(work.rate))}/s" if work.rate else ""
        return f"{size(work.done)} of {size(work.total)}{rate}"
    text = work.text.removeprefix(f"{work.done} ")
    return f"{work.done} of {work.total}{f': {text}' if text else f' {work.unit}'}"


def _outcome(host: HostState) -> Text:
    if host.is_in_hand:
        return Text("")
    said = _standing(host)
    return Text(said, style=STYLES.get(said, "green"))


def _standing(host: HostState) -> str:
    return "waiting" if host.is_waiting else host.outcome


def _time(host: HostState, now: int) -> str:
    spent = host.seconds(now)
    return "" if spent is None or host.is_waiting else _lasting(spent) if host.is_in_hand else seconds(spent)


def _lasting(value: float) -> str:
    """A duration that goes on: whole seconds, for what changes at each look can't be read."""
    return f"{value:.0f} s"
