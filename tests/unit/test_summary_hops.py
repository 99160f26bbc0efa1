"""The tables of hops: what hosts share is told once, and modules that are swapped together in one line."""

from collections.abc import Sequence
from typing import Any

import pytest

from relup_remote.rollout import rows
from relup_remote.rollout.rows import Row
from relup_remote.summary.hop_tables import hop_tables
from relup_remote.summary.text import within
from tests.unit.fake_host import result


def row(host: str, **facts: Any) -> Row:
    return rows.of_result(host, result("upgraded", **facts), 4.0)


def hop(instructions: Sequence[dict[str, Any]], **facts: Any) -> dict[str, Any]:
    numbered = [{"n": number, **each} for number, each in enumerate(instructions, 1)]
    return {"file": "a.relup", "from": "1.0", "target": "1.1", "instructions": numbered, **facts}


def loads(count: int, does: str = "loaded", **facts: Any) -> list[dict[str, Any]]:
    """Modules that are loaded in one swap."""
    others = f"{count - 1} other{'s' if count > 2 else ''}"
    texts = [f"{{load_module,emqx_{letter}}}" for letter in "abcdefghij"[:count]]
    return [{"text": text, "does": f"{does}, in one swap with {others}", **facts} for text in texts]


def cells(shown: str) -> list[list[str]]:
    """The lines of the first table, below its column names; cells parted by two spaces."""
    lines = shown.split("\n\n", maxsplit=1)[0].splitlines()[3:]
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines]


def test_a_hop_is_told_instruction_by_instruction() -> None:
    instructions: list[dict[str, Any]] = [
        {"text": "{load_module,emqx}", "does": "load 1 module", "seconds": 0.01, "status": "done"},
        {"text": "{apply,m,f,[]}", "does": "call m:f/0", "seconds": None, "status": "planned"},
    ]
    made = hop(instructions, suspended_ms=3, swap_ms=0.25)
    shown = hop_tables([row("n1", hop=made), row("n3")])
    lines = shown.splitlines()
    assert lines[0] == "n1: hop 1.0 -> 1.1, a.relup"
    assert lines[1].split() == ["instruction", "what", "it", "did", "status", "time"]
    assert cells(shown)[0] == ["1", "{load_module,emqx}", "load 1 module", "done", "10 ms"]
    assert cells(shown)[1] == ["2", "{apply,m,f,[]}", "call m:f/0", "planned"]
    assert lines[-1] == "processes stood still for 3.0 ms in all, modules were swapped in 0.2 ms"
    only_callbacks = hop_tables([row("n1", hop={**made, "suspended_ms": 0.0, "swap_ms": 0.0})])
    assert only_callbacks.splitlines() == lines[:-1]


def test_the_value_of_a_hop_is_told_by_its_digest() -> None:
    instructions = [{"text": "{apply,m,f,[]}", "does": "call m:f/0"}]
    one, other = "a" * 64, "b" * 64
    made = [row(f"n{n}", hop=hop(instructions, sha256=value)) for n, value in enumerate((one, one, other), 1)]
    assert hop_tables(made[:2]).splitlines()[-1] == f"value of the hop: SHA-256 {one}"
    assert hop_tables(made).splitlines()[-1] == (
        f"the hop's file reads values of each host, so its SHA-256 differs: {'a' * 16}…, {'b' * 16}…"
    )


def test_a_hop_that_evaluated_otherwise_on_another_host_is_told_once() -> None:
    def evaluated(node: str, since: int, does: str = "calls it") -> dict[str, Any]:
        texts = [f"{{update,m,#{{since => {since}}}}}", f"{{apply,m,f,['{node}']}}"]
        return hop([{"text": text, "does": does} for text in texts])

    made = [row(f"n{n}", hop=evaluated(f"x{n}@h", since)) for n, since in ((1, 178), (2, 179))]
    made.append(row("n3", hop=evaluated("x3@h", 1, "other")))
    alike, other = hop_tables(made).split("\n\n")
    assert alike.startswith("n1, n2: hop 1.0 -> 1.1")
    assert "{update,m,#{since => 17…}}" in alike
    assert "{apply,m,f,['x…@h']}" in alike
    assert other.startswith("n3: hop 1.0 -> 1.1")
    assert "{apply,m,f,['x3@h']}" in other


def test_hosts_on_which_a_hop_took_other_times_and_met_other_numbers_are_told_together() -> None:
    def took(seconds: float, does: str, **facts: Any) -> dict[str, Any]:
        return hop([{"text": "{update,m}", "does": does, "seconds": seconds, "status": "done"}], **facts)

    made = [
        row("n1", hop=took(0.003, "10 processes, suspended for 0.5 ms", suspended_ms=0.5)),
        row("n2", hop=took(0.005, "1 process, suspended for 0.7 ms", suspended_ms=0.7)),
        row("n3", hop=took(0.004, "9 processes, suspended for 0.5 ms")),
    ]
    shown = hop_tables(made)
    assert shown.startswith("n1, n2, n3: hop 1.0 -> 1.1, a.relup\n")
    assert shown.splitlines()[1].split()[-1] == "longest"
    [line] = cells(shown)[:1]
    assert line == ["1", "{update,m}", "1 to 10 processes, suspended for 0.5 to 0.7 ms", "done", "5 ms"]
    assert shown.endswith("processes stood still for at most 0.7 ms in all")


def test_where_no_process_was_suspended_that_is_said() -> None:
    def took(does: str, suspended_ms: float = 0.3) -> dict[str, Any]:
        return hop([{"text": "{update,m}", "does": does, "status": "done"}], suspended_ms=suspended_ms)

    nobody = row("n1", hop=took("0 processes, suspended for 0.3 ms"))
    shown = hop_tables([nobody])
    assert cells(shown)[0] == ["1", "{update,m}", "no process was suspended", "done"]
    assert "stood still" not in shown
    # Another host may have had some.
    none_at_all = hop_tables([nobody, row("n2", hop=took("0 processes, suspended for 31.6 ms"))])
    assert cells(none_at_all)[0][2] == "no process was suspended"
    assert "stood still" not in none_at_all
    both = hop_tables([nobody, row("n2", hop=took("10 processes, suspended for 0.5 ms", 0.5))])
    assert cells(both)[0][2] == "0 to 10 processes, suspended for 0.3 to 0.5 ms"
    assert both.endswith("processes stood still for at most 0.5 ms in all")


def test_a_plan_says_what_the_hop_will_do() -> None:
    update = {"text": "{update,m}", "does": "replaced; the state of 0 processes changes"}
    planned = hop_tables([row("n1", hop=hop([update]))])
    assert "what it will do" in planned
    assert cells(planned)[0][2] == "replaced; no process has a state to change"
    assert "what it did" in hop_tables([row("n1", hop=hop([{**update, "status": "done"}]))])


def test_hosts_on_which_it_ended_otherwise_are_told_apart() -> None:
    made = [row(f"n{n}", hop=hop([{"text": "x", "does": "y", "status": status}])) for n, status in ((1, "a"), (2, "b"))]
    assert [part[:3] for part in hop_tables(made).split("\n\n")] == ["n1:", "n2:"]


def test_modules_that_are_loaded_in_one_swap_share_a_line_unless_all_are_asked_for() -> None:
    made = hop(
        [
            *loads(2, "new", status="planned"),
            {"text": "{update,m}", "does": "replaced", "status": "planned"},
            *loads(1, "new", status="planned"),
            *loads(4, "replaced", seconds=0.002, status="planned"),
        ]
    )
    made["instructions"][3]["does"] = "new, in one swap with 4 others"
    for each in made["instructions"][4:]:
        each["does"] = "replaced, in one swap with 4 others"
    shown = cells(hop_tables([row("n1", hop=made)]))
    assert [line[0] for line in shown] == ["1", "2", "3", "4-8"]
    assert shown[3][1:] == [
        "5 modules: emqx_a, emqx_a, emqx_b, emqx_c, emqx_d",
        "1 new, 4 replaced, in one swap",
        "planned",
    ]
    full = cells(hop_tables([row("n1", hop=made)], full=True))
    assert [line[0] for line in full] == [str(number) for number in range(1, 9)]


def test_a_line_of_many_modules_is_no_longer_than_others() -> None:
    shown = hop_tables([row("n1", hop=hop(loads(10) * 10))])
    assert cells(shown)[0][0] == "1-100"
    assert cells(shown)[0][1].startswith("100 modules: emqx_a, emqx_b, ")
    assert max(len(line) for line in shown.splitlines()) < 120


@pytest.mark.parametrize("width", [80, 110, 140])
def test_a_table_fits_into_the_terminal(width: int) -> None:
    made = hop([*loads(10, "replaced" * 20, seconds=0.5, status="planned"), {"text": "x" * 200, "does": "y " * 200}])
    with within(width):
        shown = hop_tables([row("n1", hop=made), row("n2", hop=made)])
    assert max(len(line) for line in shown.splitlines()) <= width


def test_a_table_is_not_wider_for_what_went_wrong() -> None:
    failed = {"text": "{apply,m,f,[]}", "does": "{error,\n" + "x" * 500, "seconds": 0.01, "status": "failed"}
    shown = hop_tables([row("n1", hop=hop([failed]))])
    assert max(len(line) for line in shown.splitlines()) < 120
    assert "{error, xxx" in shown
    assert "x…  failed" in shown
