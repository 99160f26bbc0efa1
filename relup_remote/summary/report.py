"""What stands below a table: each host's failure, refusals and warnings in full, and the hop it went through."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any

from relup_remote.core.protocol import ERRORS
from relup_remote.rollout.rows import Row
from relup_remote.summary.tables import table
from relup_remote.summary.text import clean, detail, seconds, shortened, wrapped

CELL = 80
"""Columns of the longest cell of a hop's table; what failed is told in full below it."""


def troubles(rows: Sequence[Row]) -> str:
    """The errors, problems and warnings of all hosts; empty if there are none. What hosts share is told once."""
    return _by_hosts((row["host"], text) for row in rows for text in _of_host(row))


def hops(rows: Sequence[Row]) -> str:
    """The hop of each host that has one, instruction by instruction.

    A hop that only evaluated otherwise on some hosts is told once, with an ellipsis for what differs.
    """
    alike: dict[str, list[Row]] = {}
    for row in rows:
        if row["facts"].get("hop"):
            alike.setdefault(_but_for_text(row["facts"]["hop"]), []).append(row)
    merged = ((same, _hop(_merged([row["facts"]["hop"] for row in same]))) for same in alike.values())
    return _by_hosts((row["host"], text) for same, text in merged for row in same)


def _but_for_text(hop: Mapping[str, Any]) -> str:
    instructions = [{**instruction, "text": None} for instruction in hop.get("instructions", ())]
    return json.dumps({**hop, "instructions": instructions}, sort_keys=True)


def _merged(hops: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    several = zip(*(hop.get("instructions", ()) for hop in hops), strict=True)
    instructions = [{**same[0], "text": common([str(one.get("text") or "") for one in same])} for same in several]
    return {**hops[0], "instructions": instructions}


def common(texts: Sequence[str]) -> str:
    """What texts begin and end with, and an ellipsis between."""
    if len(set(texts)) == 1:
        return texts[0]
    start = _start(texts)
    end = _start([text[len(start) :][::-1] for text in texts])[::-1]
    return f"{start}…{end}"


def _start(texts: Sequence[str]) -> str:
    return "".join(chars[0] for chars in takewhile(lambda chars: len(set(chars)) == 1, zip(*texts, strict=False)))


def _by_hosts(told: Iterable[tuple[str, str]]) -> str:
    hosts: dict[str, list[str]] = {}
    for host, text in told:
        hosts.setdefault(text, []).append(host)
    return "\n\n".join(f"{', '.join(names)}: {clean(text)}" for text, names in hosts.items())


def _of_host(row: Row) -> Iterator[str]:
    errors = [error for error in (row["error"], *row["problems"]) if error]
    # The first of the problems is often the error itself: told once.
    yield from dict.fromkeys(_error(error) for error in errors)
    for warning in row["warnings"]:
        yield _warning(warning)
    for step in row["steps"]:
        if step["status"] == "skipped" and step["detail"].get("waiting_for"):
            yield f"{step['step']} skipped until all nodes are on the target\n" + detail(step["detail"], "  ")
    if row["outcome"] == "skipped" and row["facts"].get("reason"):
        yield f"not contacted, since {row['facts']['reason']}"


def _error(error: Mapping[str, Any]) -> str:
    lines = [f"{error['err_type']} at {error['stage']}", wrapped(error["message"], "  ")]
    facts = _unsaid(error.get("detail") or {}, error["message"])
    if facts:
        lines.append(detail(facts, "    "))
    if error.get("hint"):
        lines.append(wrapped(error["hint"], "  ", "what to do: "))
    return "\n".join(lines)


def _warning(warning: Mapping[str, Any]) -> str:
    """A warning is an error's object as far as it goes: ``message`` or ``err_type``, the rest if there is any."""
    name = warning.get("err_type")
    message = warning.get("message") or (ERRORS[name].meaning if name in ERRORS else "")
    rest = {
        key: value for key, value in warning.items() if key not in ("err_type", "message", "hint", "stage", "detail")
    }
    facts = _unsaid({**rest, **(warning.get("detail") or {})}, message)
    lines = [f"warning{f', {name}' if name else ''}", wrapped(message, "  ") if message else ""]
    if facts:
        lines.append(detail(facts, "    "))
    if warning.get("hint"):
        lines.append(wrapped(warning["hint"], "  ", "what to do: "))
    return "\n".join(line for line in lines if line)


def _unsaid(facts: Mapping[str, Any], message: str) -> dict[str, Any]:
    """The facts that the message does not tell already; empty ones tell nothing."""
    return {key: value for key, value in facts.items() if not _is_said(value, message)}


def _is_said(value: Any, message: str) -> bool:
    if isinstance(value, dict | list):
        return all(_is_said(inner, message) for inner in (value.values() if isinstance(value, dict) else value))
    return value is None or bool(re.search(rf"(?<!\w){re.escape(str(value))}(?!\w)", message))


def _hop(hop: Mapping[str, Any]) -> str:
    headers = ("", "instruction", "what it does", "status", "time")
    lines = [
        [
            instruction.get("n"),
            shortened(instruction.get("text") or "", CELL),
            shortened(instruction.get("does") or "", CELL),
            instruction.get("status"),
            None if instruction.get("seconds") is None else seconds(instruction["seconds"]),
        ]
        for instruction in hop.get("instructions", ())
    ]
    title = f"hop {hop.get('from')} -> {hop.get('target')}, {hop.get('file')}"
    return "\n".join([title, table(headers, lines), *_noticeable(hop)])


def _noticeable(hop: Mapping[str, Any]) -> Iterator[str]:
    """What clients may have noticed of a hop that has run."""
    parts = []
    if hop.get("suspended_ms"):
        parts.append(f"processes stood still for {hop['suspended_ms']:.1f} ms in all")
    if hop.get("swap_ms"):
        parts.append(f"modules were swapped in {hop['swap_ms']:.1f} ms")
    if parts:
        yield ", ".join(parts)
