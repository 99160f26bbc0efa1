"""What hosts met: errors, warnings, attempts that an earlier core had left unfinished, how the next start was proven.

All of it is pure.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from relup_remote.core.protocol import ERRORS
from relup_remote.report.model import Host, Trouble
from relup_remote.report.plain import mapping, mappings, text

KINDS = ("error", "warning", "note")
"""From what stops a host to what is only good to know."""

_FIELDS = ("err_type", "message", "hint", "stage", "detail")


def troubles(met: Sequence[tuple[Host, Sequence[Mapping[str, Any]]]]) -> tuple[Trouble, ...]:
    """What hosts with these rows met, the gravest first; what several of them met is told once."""
    told: dict[str, tuple[str, dict[str, Any], dict[str, Host]]] = {}
    for host, rows in met:
        for kind, said in (each for row in rows for each in _said(row)):
            key = json.dumps([kind, said], sort_keys=True)
            told.setdefault(key, (kind, said, {}))[2][host.host] = host
    found = [_trouble(kind, said, list(hosts.values())) for kind, said, hosts in told.values()]
    return tuple(sorted(found, key=lambda trouble: KINDS.index(trouble.kind)))


def _said(row: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for error in (mapping(row.get("error")), *mappings(row.get("problems"))):
        if error:
            yield "error", error
    yield from (("warning", warning) for warning in mappings(row.get("warnings")))
    facts = mapping(row.get("facts"))
    yield from (("note", attempt) for attempt in mappings(facts.get("recovered")))
    told = mapping(facts.get("boot")).get("said")
    yield from (("note", {"message": text(each)}) for each in (told if isinstance(told, list) else ()))


def _trouble(kind: str, said: Mapping[str, Any], hosts: Sequence[Host]) -> Trouble:
    err_type = text(said.get("err_type"))
    known = ERRORS.get(err_type)
    # A warning is an error as far as it goes; what else it says are facts.
    rest = {key: value for key, value in said.items() if key not in _FIELDS} if kind == "warning" else {}
    return Trouble(
        kind=kind,
        err_type=err_type,
        stage=text(said.get("stage")),
        message=text(said.get("message")) or (known.meaning if known else ""),
        hint=text(said.get("hint")),
        detail={**rest, **mapping(said.get("detail"))},
        hosts=tuple(host.host for host in hosts),
        overcome=kind == "error" and all(host.state in ("done", "nothing_left") for host in hosts),
    )
