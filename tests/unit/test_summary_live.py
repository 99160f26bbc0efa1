"""The table of a run as a terminal shows it: rendered by rich, and looked at through a terminal's eyes by pyte."""

import io
import threading
from collections.abc import Iterable

import pyte
import pytest
from rich.console import Console, ConsoleDimensions, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from relup_remote.summary.live import LiveTable, chosen, frame
from relup_remote.summary.state import HostState, State
from tests.unit.feeds import Story

FLEET = [f"n{number}" for number in range(1, 65)]


def rendered(state: State, now: int, width: int = 120, height: int = 40) -> list[str]:
    """The lines of a frame."""
    console = Console(width=width, height=height, file=io.StringIO(), record=True)
    console.print(frame(state, now, width, height))
    return [line.rstrip() for line in console.export_text().splitlines()]


def under_way(hosts: list[str]) -> tuple[State, Story]:
    """A run in its second wave: the first host done, the second in its hop, the third staging."""
    state = State()
    story = Story(state.take)
    story.begin(hosts)
    story.tell("wave", wave=1, waves=3, status="start", hosts=hosts[:1])
    story.host(hosts[0], "apply", "upgraded", milliseconds=4200)
    story.tell("wave", wave=1, waves=3, status="done", hosts=hosts[:1])
    story.tell("wave", wave=2, waves=3, status="start", hosts=hosts[1:3])
    for host in hosts[1:3]:
        story.tell("host", host=host, phase="apply", status="start")
    for done in (10_000_000, 20_000_000, 30_000_000):
        story.later(1000).tell("progress", host=hosts[2], step="stage", done=done, total=71_000_000, unit="bytes")
    text = "3 {load_module,emqx_stats}: loaded"
    story.tell("progress", host=hosts[1], step="apply", done=3, total=12, unit="instructions", text=text)
    return state, story


def test_a_line_a_host_says_all_that_is_known() -> None:
    state, story = under_way(["n1", "n2", "n3", "n4"])
    lines = rendered(state, story.at + 2000)
    assert lines[0] == "upgrade to 1.1, wave 2 of 3: n2, n3 (1 of 4 hosts finished)"
    assert lines[1].split() == ["host", "node", "wave", "step", "outcome", "time"]
    assert lines[2].split() == ["n1", "emqx_n1@127.0.0.1", "1", "upgraded", "4.2", "s"]
    assert "2  apply" in lines[3]
    assert "3 of 12: {load_module,emqx_stats}: loaded" in lines[3]
    assert lines[3].endswith("5 s")
    assert "━" in lines[4]
    assert "30 MB of 71 MB, 10 MB/s" in lines[4]
    assert lines[5].split() == ["n4", "emqx_n4@127.0.0.1", "waiting"]
    assert len(lines) == 6


def test_what_is_waited_for_and_an_interruption_stand_on_top() -> None:
    state, story = under_way(["n1", "n2", "n3"])
    story.tell("gate", wave=2, gate="connections", status="start")
    story.later(7000).tell("gate", wave=2, gate="connections", status="wait", seconds=7, message="n2 has 80 of 100")
    story.tell("interrupt", count=1)
    lines = rendered(state, story.at)
    assert lines[1] == "gate connections, 7 s: n2 has 80 of 100"
    # As far as the terminal is wide.
    assert lines[2].startswith("interrupted: hosts in hand are finished, no more start; Ctrl-C again: leave now")
    story.tell("interrupt", count=2)
    assert rendered(state, story.at)[2].startswith("interrupted again: leaving now")


@pytest.mark.parametrize("width", [40, 71, 72, 80, 99, 100, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    state, story = under_way(FLEET)
    story.tell("gate", wave=2, gate="command", status="wait", seconds=7, message="x" * 300)
    lines = rendered(state, story.at, width=width, height=70)
    assert max(len(line) for line in lines) <= width
    assert ("emqx_n1@127.0.0.1" in "".join(lines)) == (width >= 100)
    assert ("━" in "".join(lines)) == (width >= 72)


@pytest.mark.parametrize("height", [4, 10, 24, 67, 68, 100])
def test_it_is_never_taller_than_the_terminal_and_the_others_are_counted(height: int) -> None:
    state, story = under_way(FLEET)
    lines = rendered(state, story.at, height=height)
    assert len(lines) <= height - 1
    shown = [line for line in lines if line.startswith("n")]
    assert [line.split()[0] for line in shown if "3 of 12" in line or "MB/s" in line] == ["n2", "n3"][: len(shown)]
    if height == 4:
        assert len(lines) == 3
    elif height < 67:
        assert lines[-1].startswith(f"and {64 - len(shown)} more: ")
    else:
        assert len(shown) == 64


def test_those_in_hand_are_shown_first_then_failures_then_those_to_come() -> None:
    hosts = [HostState(f"n{number}", outcome="upgraded") for number in range(10)]
    hosts[7].is_in_hand, hosts[9].outcome, hosts[4].is_waiting = True, "failed", True
    assert [host.name for host in chosen(hosts, 4)] == ["n4", "n7", "n9"]
    assert [host.name for host in chosen(hosts, 2)] == ["n7"]
    assert chosen(hosts, 10) == hosts


class Terminal(io.StringIO):
    """A terminal: what is written to it can be looked at as people would see it."""

    def __init__(self, columns: int, lines: int) -> None:
        super().__init__()
        self.screen = pyte.HistoryScreen(columns, lines, history=1000)
        self._stream = pyte.Stream(self.screen)
        self._written = threading.Condition()
        self.told = threading.Event()
        self.console = Console(file=self, force_terminal=True, width=columns, height=lines)

    def write(self, text: str) -> int:
        with self._written:
            # The driver of a terminal makes two characters of a line's end.
            self._stream.feed(text.replace("\n", "\r\n"))
            self._written.notify_all()
        self.told.set()
        return len(text)

    def resize(self, columns: int, lines: int) -> None:
        """Have another size from now on."""
        with self._written:
            self.screen.resize(lines, columns)
            self.console.size = ConsoleDimensions(columns, lines)

    @property
    def lines(self) -> list[str]:
        """What is to be seen, without empty lines at the end."""
        with self._written:
            return [line.rstrip() for line in "\n".join(self.screen.display).rstrip().splitlines()]

    @property
    def scrolled(self) -> list[str]:
        """What has left it at the top."""
        rows = [[row[column].data for column in range(self.screen.columns)] for row in self.screen.history.top]
        return ["".join(row).rstrip() for row in rows]

    def awaits(self, text: str) -> bool:
        """Wait until ``text`` is to be seen; whether that came to pass."""
        with self._written:
            return self._written.wait_for(lambda: text in "\n".join(self.screen.display), timeout=120)


def played(terminal: Terminal) -> tuple[LiveTable, Story]:
    """A table on a terminal, and the story that it tells; its clock is the story's."""
    table = LiveTable(terminal.console, clock=lambda: story.at)
    story = Story(table)
    return table, story


def test_the_table_goes_and_the_story_stays() -> None:
    terminal = Terminal(80, 20)
    table, story = played(terminal)
    story.begin(["n1", "n2", "n3"])
    assert terminal.awaits("waiting")
    story.tell("note", host="n1", message="the clock is off\x1b[2J")
    story.host("n1", "apply", "failed", error={"err_type": "code_change_failed"})
    story.tell("gate", wave=1, gate="verify", status="closed", seconds=2, message="n1 is not verified")
    kept = [
        "run r1: upgrade to 1.1",
        "survey: n1, n2, n3",
        "prepare: n1, n2, n3",
        "n1 the clock is off?[2J",
        "n1 failed, code_change_failed 1.0 s",
        "gate verify closed 2.0 s: n1 is not verified",
    ]
    assert terminal.awaits("verify, 0 s: n1 is not verified")
    assert terminal.lines[: len(kept) + 1] == [*kept, "upgrade to 1.1, waves (1 of 3 hosts finished)"]
    assert not terminal.screen.cursor.hidden
    table.pause()
    assert terminal.lines == kept
    assert (terminal.screen.cursor.y, terminal.screen.cursor.x) == (len(kept), 0)


def test_a_fleet_on_a_small_terminal_leaves_it_clean_too() -> None:
    terminal = Terminal(80, 12)
    table, story = played(terminal)
    story.begin(FLEET)
    for host in FLEET[:30]:
        story.tell("note", host=host, message="restarts")
        story.host(host, "apply", "upgraded")
    assert terminal.awaits("30 upgraded")
    table.pause()
    story_of_hosts = [line for line in (*terminal.scrolled, *terminal.lines) if line.startswith("n")]
    assert story_of_hosts == [said for host in FLEET[:30] for said in (f"{host} restarts", f"{host} upgraded 1.0 s")]


class Slow(Console):
    """A console that is slow with one line: it waits whether another thread draws before the line is written."""

    slow_line = "gate verify open"
    drawn = threading.Event()

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        if isinstance(renderable, Text) and renderable.plain.startswith(self.slow_line):
            self.drawn.clear()
            self.drawn.wait(2)
        return super().render(renderable, options)


def test_a_table_that_is_drawn_while_a_line_is_written_takes_no_line_away() -> None:
    terminal = Terminal(80, 20)
    terminal.console = Slow(file=terminal, force_terminal=True, width=80, height=20)
    terminal.told = Slow.drawn
    table, story = played(terminal)
    story.begin(["n1", "n2"])
    story.tell("note", host="n1", message="restarts")
    story.tell("gate", wave=1, gate="verify", status="closed", seconds=2, message="not yet")
    assert terminal.awaits("verify, 0 s: not yet")
    # The table is a line shorter from here on.
    story.tell("gate", wave=1, gate="verify", status="open", seconds=3)
    table.pause()
    assert terminal.lines[-3:-1] == ["n1 restarts", "gate verify closed 2.0 s: not yet"]
    assert terminal.lines[-1].startswith("gate verify open")


def test_after_a_pause_the_next_event_brings_it_back() -> None:
    terminal = Terminal(80, 12)
    table, story = played(terminal)
    story.tell("phase", phase="survey", hosts=["n1"])
    table.pause()
    table.pause()
    assert terminal.lines == ["survey: n1"]
    story.tell("note", host="n1", message="on it goes")
    assert terminal.awaits("outcome")
    table.pause()
    assert terminal.lines == ["survey: n1", "n1 on it goes"]


def test_a_terminal_that_is_made_smaller_gets_a_table_that_fits() -> None:
    terminal = Terminal(100, 30)
    table, story = played(terminal)
    story.begin(FLEET)
    assert terminal.awaits("and 38 more")
    terminal.resize(50, 12)
    assert terminal.awaits("and 56 more")
    assert all(len(line) <= 50 for line in terminal.lines)
    table.pause()
    assert not any("waiting" in line or "more" in line for line in terminal.lines)
