"""What stands below a table: each host's failure, refusals and warnings in full, and the hop it went through."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from relup_remote.core.protocol import ERRORS
from relup_remote.rollout.rows import Row
from relup_remote.summary.tables import table
from relup_remote.summary.text import clean, detail, seconds, wrapped


def troubles(rows: Sequence[Row]) -> str:
    """The errors, problems and warnings of all hosts; empty if there are none. What hosts share is told once."""
    return _by_hosts((row["host"], text) for row in rows for text in _of_host(row))


def hops(rows: Sequence[Row]) -> str:
    """The hop of each host that has one, instruction by instruction."""
    return _by_hosts((row["host"], _hop(row["facts"]["hop"])) for row in rows if row["facts"].get("hop"))


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
    if row["outcome"] == "skipped" and row["facts"].get("reason"):
        yield f"not contacted, since {row['facts']['reason']}"


def _error(error: Mapping[str, Any]) -> str:
    lines = [f"{error['err_type']} at {error['stage']}", wrapped(error["message"], "  ")]
    if error.get("detail"):
        lines.append(detail(error["detail"], "    "))
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
    facts = {**rest, **(warning.get("detail") or {})}
    lines = [f"warning{f', {name}' if name else ''}", wrapped(message, "  ") if message else ""]
    if facts:
        lines.append(detail(facts, "    "))
    if warning.get("hint"):
        lines.append(wrapped(warning["hint"], "  ", "what to do: "))
    return "\n".join(line for line in lines if line)


def _hop(hop: Mapping[str, Any]) -> str:
    headers = ("", "instruction", "what it does", "status", "time")
    lines = [
        [
            instruction.get("n"),
            instruction.get("text"),
            instruction.get("does"),
            instruction.get("status"),
            None if instruction.get("seconds") is None else seconds(instruction["seconds"]),
        ]
        for instruction in hop.get("instructions", ())
    ]
    title = f"hop {hop.get('from')} -> {hop.get('target')}, {hop.get('file')}"
    return "\n".join([title, table(headers, lines), *_noticeable(hop)])


def _noticeable(hop: Mapping[str, Any]) -> Iterator[str]:
    """What clients may have noticed of a hop that has run."""
    if hop.get("suspended_ms") is not None:
        stood, swapped = hop["suspended_ms"], hop["swap_ms"]
        yield f"processes stood still for {stood:.1f} ms in all, modules were swapped in {swapped:.1f} ms"
