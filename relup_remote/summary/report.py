"""What stands below a table: each host's failure, refusals and warnings in full."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from relup_remote.core.protocol import ERRORS
from relup_remote.rollout.rows import Row
from relup_remote.summary.text import by_hosts, clean, detail, moment, wrapped

MOMENTS = ("since",)
"""Facts that are milliseconds since the epoch."""

_TYPED = {"backup-verify": "backup.verify", "backups": "backup.list"}
"""The commands of a host's program that are typed otherwise."""


def troubles(rows: Sequence[Row], said: str = "") -> str:
    """The errors, problems and warnings of all hosts; empty if there are none. What hosts share is told once.

    A hint that is ``said`` elsewhere is not told.
    """
    rest = by_hosts((row["host"], text) for row in rows for text in _of_host(row))
    return "\n\n".join(part for part in (*_errors(rows, said), rest) if part)


def _errors(rows: Sequence[Row], said_hint: str) -> Iterator[str]:
    """A part for each kind of error; what hosts have in common is told once, what differs for each."""
    kinds: dict[tuple[str, ...], dict[tuple[str, str], list[str]]] = {}
    for row in rows:
        for error in (row["error"], *row["problems"]):
            if error:
                kind = kinds.setdefault((error["err_type"], error["stage"], error.get("hint") or ""), {})
                hosts = kind.setdefault(_said(error), [])
                # The first of the problems is often the error itself: told once.
                if row["host"] not in hosts:
                    hosts.append(row["host"])
    for (err_type, stage, hint), said in kinds.items():
        names = list(dict.fromkeys(host for hosts in said.values() for host in hosts))
        lines = [clean(f"{', '.join(names)}: {err_type} at {_TYPED.get(stage, stage)}")]
        for (message, facts), hosts in said.items():
            lines.append(wrapped(message, "  ", "" if hosts == names else f"{clean(', '.join(hosts))}: "))
            lines += [facts] if facts else []
        yield "\n".join([*lines, wrapped(hint, "  ", "what to do: ")] if hint not in ("", said_hint) else lines)


def _said(error: Mapping[str, Any]) -> tuple[str, str]:
    """An error's message, and the facts that this does not tell, as lines."""
    facts = _unsaid(error.get("detail") or {}, error["message"])
    return error["message"], detail(facts, "    ") if facts else ""


def _of_host(row: Row) -> Iterator[str]:
    for warning in row["warnings"]:
        yield _warning(warning)
    for step in row["steps"]:
        if step["status"] == "skipped" and step["detail"].get("waiting_for"):
            yield f"{step['step']} was skipped: not all nodes of the cluster were on the target"
    if row["outcome"] == "nothing to do":
        yield f"nothing to do: {row['facts']['nothing_to_do']['message']}"
    if row["outcome"] == "skipped" and row["facts"].get("reason"):
        yield f"skipped: {row['facts']['reason']}"


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
    if facts.get("by_hand"):
        # Of such a lock the message names the command. Its run is nothing that an operator could look for.
        facts = {key: value for key, value in facts.items() if key not in ("by_hand", "run")}
    readable = {key: _readable(key, value) for key, value in facts.items()}
    return {key: value for key, value in readable.items() if not _is_said(value, message)}


def _readable(key: str, value: Any) -> Any:
    return f"{moment(value)} UTC" if key in MOMENTS and isinstance(value, int) else value


def _is_said(value: Any, message: str) -> bool:
    if isinstance(value, dict | list):
        return all(_is_said(inner, message) for inner in (value.values() if isinstance(value, dict) else value))
    return value is None or bool(re.search(rf"(?<!\w){re.escape(str(value))}(?!\w)", message))
