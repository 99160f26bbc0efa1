"""The hops that hosts went through, or would: instruction by instruction, what hosts share told once."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from relup_remote.rollout.rows import Row
from relup_remote.summary.layout import table
from relup_remote.summary.suspended import did, was_any
from relup_remote.summary.text import by_hosts, common, seconds, shortened

CELL = 72
"""Columns of the longest cell; what failed is told in full below the table."""

FOLDED = 3
"""Modules from which on those that are loaded in one swap share a line."""

_SWAP = re.compile(r"(.+), in one swap with (\d+) others?")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")

Instruction = Mapping[str, Any]


def hop_tables(rows: Sequence[Row], *, full: bool = False) -> str:
    """The hop of each host that has one; ``full`` gives every module a line.

    A hop that only evaluated otherwise on some hosts, or took them another time, is told once: with an ellipsis for
    what differs in an instruction, the range of a number in what it did, and the longest time.
    """
    alike: dict[str, list[Row]] = {}
    for row in rows:
        if row["facts"].get("hop"):
            alike.setdefault(_course(row["facts"]["hop"]), []).append(row)
    told: list[tuple[str, str]] = []
    for same in alike.values():
        text = _table(_merged([row["facts"]["hop"] for row in same]), full)
        told += [(row["host"], text) for row in same]
    return by_hosts(told)


def _course(hop: Mapping[str, Any]) -> str:
    """What a hop must have in common with another to be told with it: file, and what each instruction came to."""
    course = [
        [each.get("n"), each.get("status"), _but_for_numbers(each.get("does") or "")]
        for each in hop.get("instructions", ())
    ]
    return json.dumps([hop.get("file"), hop.get("from"), hop.get("target"), course])


def _but_for_numbers(text: str) -> str:
    return _NUMBER.sub("0", text).replace("processes", "process")


def _merged(hops: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    several = zip(*(hop.get("instructions", ()) for hop in hops), strict=True)
    longest = {
        key: max(values)
        for key in ("suspended_ms", "swap_ms")
        if (values := [hop[key] for hop in hops if hop.get(key) is not None])
    }
    return {
        **hops[0],
        **longest,
        "instructions": [_one(same) for same in several],
        "hosts": len(hops),
        "values": list(dict.fromkeys(str(hop["sha256"]) for hop in hops if hop.get("sha256"))),
    }


def _one(same: Sequence[Instruction]) -> dict[str, Any]:
    """An instruction that several hosts went through."""
    times = [each["seconds"] for each in same if each.get("seconds") is not None]
    return {
        **same[0],
        "text": common([str(each.get("text") or "") for each in same]),
        "does": _ranged([str(each.get("does") or "") for each in same]),
        "seconds": max(times, default=None),
    }


def _ranged(texts: Sequence[str]) -> str:
    """Texts that differ in their numbers only: ``0 to 10 processes``."""
    if len(set(texts)) == 1:
        return texts[0]
    numbers = zip(*(_NUMBER.findall(text) for text in texts), strict=True)
    ranges = (sorted(set(found), key=float) for found in numbers)
    filled = iter([f"{found[0]} to {found[-1]}" if len(found) > 1 else found[0] for found in ranges])
    # The longest has its words in the plural.
    return _NUMBER.sub(lambda _match: next(filled), max(texts, key=len))


def _table(hop: Mapping[str, Any], full: bool) -> str:
    instructions = hop.get("instructions", ())
    has_run = any(each.get("status") not in (None, "planned") for each in instructions)
    what = "what it did" if has_run else "what it will do"
    headers = ("", "instruction", what, "status", "longest" if hop["hosts"] > 1 else "time")
    lines = [_line(each) for each in (instructions if full else _folded(instructions))]
    title = f"hop {hop.get('from')} -> {hop.get('target')}, {hop.get('file')}"
    return "\n".join([title, table(headers, lines), *_noticeable(hop), *_values(hop["values"])])


def _values(values: Sequence[str]) -> Iterator[str]:
    """What the hop's file evaluated to, by its digest: it is this that is run."""
    if len(values) == 1:
        yield f"value of the hop: SHA-256 {values[0]}"
    elif values:
        found = ", ".join(f"{value[:16]}…" for value in values)
        yield f"the hop's file reads values of each host, so its SHA-256 differs: {found}"


def _line(instruction: Instruction) -> list[object]:
    return [
        instruction.get("n"),
        shortened(instruction.get("text") or "", CELL),
        shortened(did(instruction.get("does") or ""), CELL),
        instruction.get("status"),
        None if instruction.get("seconds") is None else seconds(instruction["seconds"]),
    ]


def _folded(instructions: Iterable[Instruction]) -> Iterator[Instruction]:
    """The instructions, runs of loads that are one swap made one."""
    for swap, run in groupby(instructions, key=_swap):
        loads = list(run)
        if swap is None or len(loads) < FOLDED:
            yield from loads
        else:
            yield _fold(loads)


def _swap(instruction: Instruction) -> tuple[str, str] | None:
    """What loads of the same swap have in common; None for what is no load, or one by itself."""
    found = _SWAP.fullmatch(instruction.get("does") or "")
    return (found[2], str(instruction.get("status"))) if found else None


def _fold(loads: Sequence[Instruction]) -> Instruction:
    names = [str(each.get("text") or "").removeprefix("{load_module,").removesuffix("}") for each in loads]
    kinds = Counter(_SWAP.sub(r"\1", each["does"]) for each in loads)
    done = ", ".join(f"{count} {kind}" if len(kinds) > 1 else kind for kind, count in kinds.items())
    return {
        **loads[0],
        "n": f"{loads[0].get('n')}-{loads[-1].get('n')}",
        "text": f"{len(loads)} modules: {', '.join(names)}",
        "does": f"{done}, in one swap",
    }


def _noticeable(hop: Mapping[str, Any]) -> Iterator[str]:
    """What clients may have noticed of a hop that has run."""
    most = "at most " if hop["hosts"] > 1 else ""
    parts = []
    if hop.get("suspended_ms") and was_any([str(each.get("does") or "") for each in hop.get("instructions", ())]):
        parts.append(f"processes stood still for {most}{hop['suspended_ms']:.1f} ms in all")
    if hop.get("swap_ms"):
        parts.append(f"modules were swapped in {most}{hop['swap_ms']:.1f} ms")
    if parts:
        yield ", ".join(parts)
