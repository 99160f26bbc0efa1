"""Tables and text on narrow terminals: nothing is wider than there is room, and no word is broken."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relup_remote.rollout.rows import skipped
from relup_remote.summary.backups import kept_table
from relup_remote.summary.layout import folded, table
from relup_remote.summary.runs import runs_table
from relup_remote.summary.tables import history_table, status_table
from relup_remote.summary.text import within, wrap

WIDTHS = [40, 60, 80, 100, 120]
LOCK = {"operator": "alice@desk", "since": 1_795_000_000_000, "run": "2026-11-24T08-15-03-k3f9", "why": "disks of n2"}
STATE = "running 5.10.5; the next restart boots it from its own tree"
ROW = {
    **skipped("n1", ""),
    "node": "emqx@node-1.cluster.example.com",
    "running": "5.10.5",
    "facts": {"state_text": STATE, "marker": "5.10.5", "connections": 1_000_000, "cluster_lock": LOCK, "nodes": ["a"]},
}
RUN = {
    "run": LOCK["run"],
    "started_at": LOCK["since"],
    "command": "upgrade",
    "target": "5.10.5",
    "operator": "alice@desk",
    "hosts": 3,
    "done": 1,
    "seconds": 68.1,
    "resumed": 1,
    "seconds_between": 11.3,
    "outcome": "stopped",
    "reason": "The gate connections after wave 1 is closed: n1: 80 of 100 connections are left, 90 % are required",
}
BACKUP = {"name": "b-1", "at": 1, "node": "emqx@a", "version": "5.10.4", "bytes": 5, "whole": False, "why": "cut short"}
ATTEMPT = {"started_at": 1, "finished_at": 2, "host": "n1", "result": "success", "run": LOCK["run"], "source": "plugin"}
TABLES = {
    "status": lambda: status_table([ROW, {**ROW, "host": "n2"}]),
    "runs": lambda: runs_table([RUN] * 3),
    "backups": lambda: kept_table([{**ROW, "facts": {"backups": [BACKUP] * 2}}]),
    "history": lambda: history_table([ATTEMPT] * 2),
}


def words(text: str) -> list[str]:
    """The words of a table, but for its lines."""
    return sorted(set(re.findall(r"[^\s,]+", re.sub(r"-{3,}", "", text))))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", TABLES)
def test_a_table_fits_into_the_terminal_and_breaks_no_word(name: str, width: int) -> None:
    whole = TABLES[name]()
    with within(width):
        shown = TABLES[name]()
    assert max(map(len, shown.splitlines())) <= width
    names = {"host", "run", "n1", "n2"}
    assert set(words(shown)) - names <= set(words(whole)), "a word is broken"
    if max(map(len, whole.splitlines())) <= width:
        assert shown == whole


def test_a_number_stays_with_its_unit_and_a_command_on_one_line() -> None:
    lines = wrap("suspended for 0.6 to 12.5 ms of 1,204 MB, 90 % of it; see `inv report last` for 3 h more", 13)
    for together in ("12.5 ms", "1,204 MB", "90 %", "`inv report last`", "3 h"):
        assert any(together in line for line in lines), lines


def test_a_table_that_would_be_all_towers_is_told_in_blocks() -> None:
    with within(40):
        assert table(["wave", "host", "why"], [[1, "n1", "a word " * 30]]).splitlines()[:2] == ["host n1", "  wave  1"]
    assert (
        table(["wave"], [[1]]) == "  wave\n------\n     1" or table(["wave"], [[1]]).splitlines()[0].strip() == "wave"
    )


def test_a_column_without_a_name_can_be_wrapped_too() -> None:
    with within(40):
        shown = table(["", "what it does"], [[1, "a word " * 8], ["2-3", "another"]])
    assert max(map(len, shown.splitlines())) <= 40
    assert shown.splitlines()[0].strip() == "what it does"


def test_in_a_file_lines_are_as_long_as_they_are() -> None:
    assert max(map(len, TABLES["runs"]().splitlines())) > 150
    assert folded("a word " * 30, None) == "a word " * 30


@given(st.text(alphabet="ab ,\n", max_size=300), st.integers(20, 90))
def test_folding_loses_nothing(text: str, width: int) -> None:
    shown = folded(text, width)
    assert re.sub(r"\s", "", shown) == re.sub(r"\s", "", text)
    longest = max((len(word) for word in re.split(r"\s|(?<=,)", text)), default=0)
    assert max(map(len, shown.split("\n"))) <= max(width, longest + width)


def test_what_is_folded_keeps_its_indent() -> None:
    assert folded("  what to do: look at the node", 20).splitlines() == ["  what to do: look", "    at the node"]
