"""Payload, shipped to hosts (Python 3.6 and up, standard library only): the history table of EMQX's relup plugin.

The plugin keeps its attempts in a Mnesia table of the node. Where there is one, our attempts are written there too, so
that whoever knows the plugin finds them; it outlives VM and plugin. Rows of ours say so in their last field.

A row is a record ``emqx_relup_log``, its fields in the order of `FIELDS`: times in milliseconds since the epoch, of
which the first is the key; versions as binaries; a map of options; ``'in-progress'`` or ``finished``; ``success`` or a
map with an atom ``err_type`` and a binary ``details``; a map for all else. What is not known yet is ``undefined``.
"""

import json
from typing import Any, Dict, List, Optional

from .erlang.link import Link, plain
from .erlang.term import Atom
from .protocol import ERRORS

TABLE = Atom("emqx_relup_log")
FIELDS = (
    "started_at",
    "finished_at",
    "from_vsn",
    "target_vsn",
    "upgrade_opts",
    "status",
    "result",
    "extra",
)
_YEAR_9999 = 253370764800000
OURS = "relup_remote"
"""What the rows that we write say to be their ``source`` in their last field."""


class PluginLog:
    """The table in the VM of `link`. Every method raises `Failure` (`CallFailed` where the VM says no).

    `state` is ``ready``; ``absent`` where there is no such table, no copy of it on this node, or no Mnesia running;
    or ``other`` where a table of that name is not the plugin's. Only a ready one is ever read or written.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self.state = _state(link)

    def rows(self) -> List[Dict[str, Any]]:
        """The attempts in the table, oldest first, as the journal has them, but with the source ``plugin``."""
        return [_row(record) for record in self._records()]

    def write(self, row: Dict[str, Any]) -> None:
        """Writes an attempt of the journal: over the row written of it before, else at the next free moment."""
        if self.state != "ready":
            return
        records = {record[1]: record for record in self._records()}
        key = next((key for key, record in records.items() if run_of_ours(_row(record)) == row["run"]), None)
        if key is None:
            key = row["started_at"]
            while key in records:
                key += 1
        self._link.call("mnesia", "dirty_write", [TABLE, _record(key, row)])
        # Else a machine that loses its power loses the row as well.
        self._link.attempt("mnesia", "sync_log", [])

    def clear(self) -> int:
        """Removes all rows but those under way; returns how many."""
        keys = [row["started_at"] for row in self.rows() if row["status"] == "finished"]
        for key in keys:
            self._link.call("mnesia", "dirty_delete", [TABLE, key])
        if keys:
            self._link.attempt("mnesia", "sync_log", [])
        return len(keys)

    def _records(self) -> List[Any]:
        if self.state != "ready":
            return []
        everything: List[Any] = [(Atom("_"), [], [Atom("$_")])]
        found = self._link.call("mnesia", "dirty_select", [TABLE, everything])
        # A key that is no moment is none that the plugin or we have written.
        return sorted((record for record in found if _is_moment(record[1])), key=lambda record: int(record[1]))


def run_of_ours(row: Dict[str, Any]) -> Optional[str]:
    """The run that a row of the table belongs to, where we have written it; None for the plugin's own."""
    return row["run"] if row["extra"].get("source") == OURS else None


def _words(value: Any) -> Optional[str]:
    """What is text in a row of ours: another may have put anything there."""
    return value if value is None or isinstance(value, str) else json.dumps(value)


def _is_moment(value: Any) -> bool:
    return isinstance(value, int) and 0 <= value < _YEAR_9999


def _state(link: Link) -> str:
    # Fails where there is no such table, and where Mnesia is stopped or unknown.
    found = link.attempt("mnesia", "table_info", [TABLE, Atom("all")])
    if not isinstance(found, list):
        return "absent"
    facts = {pair[0]: pair[1] for pair in found if type(pair) is tuple and len(pair) == 2}
    if facts.get("storage_type") == "unknown":
        return "absent"
    is_the_plugins = (
        facts.get("attributes") == list(FIELDS)
        and facts.get("record_name") == TABLE
        and facts.get("local_content") == "true"
    )
    return "ready" if is_the_plugins else "other"


def _record(key: int, row: Dict[str, Any]) -> Any:
    """The record of an attempt of the journal."""
    options = {"tarball": _binary(row["options"].get("tarball")), "force": bool(row["options"].get("force"))}
    if row["options"].get("rollback"):
        options["rollback"] = True
    extra = {"source": OURS, "run": row["run"], "operator": row["operator"], "stage": row["stage"]}
    return (
        TABLE,
        key,
        row["finished_at"],
        _binary(row["from_vsn"]),
        None if row["target_vsn"] is None else _binary(row["target_vsn"]),
        {Atom(name): value for name, value in options.items()},
        Atom(row["status"]),
        _result(row),
        {Atom(name): _binary(value) for name, value in extra.items() if value is not None},
    )


def _result(row: Dict[str, Any]) -> Any:
    result = row["result"]
    if result in (None, "success"):
        return None if result is None else Atom(result)
    # An atom stays in the VM for good: only words of our own become one.
    err_type = Atom(result if result in ERRORS else "internal_error")
    return {Atom("err_type"): err_type, Atom("details"): _binary(row["details"])}


def _binary(text: Optional[str]) -> bytes:
    return (text or "").encode("utf-8")


def _row(record: Any) -> Dict[str, Any]:
    """An attempt as the journal would have it; of what a VM may hold there, anything is taken."""
    row = dict(zip(FIELDS, (plain(value, texts=True) for value in record[1:])))
    extra = row["extra"] if isinstance(row["extra"], dict) else {"extra": row["extra"]}
    options = row.pop("upgrade_opts")
    result = row["result"]
    failure = result if isinstance(result, dict) else {"err_type": result}
    words = {name: _words(row[name]) for name in ("from_vsn", "target_vsn", "status")}
    return dict(
        row,
        **words,
        finished_at=row["finished_at"] if _is_moment(row["finished_at"]) else None,
        options=options if isinstance(options, dict) else {"upgrade_opts": options},
        result=_words(failure.get("err_type")),
        details=failure.get("details"),
        stage=extra.get("stage"),
        run=None if extra.get("run") is None else str(extra["run"]),
        operator=_words(extra.get("operator")),
        extra=extra,
        source="plugin",
    )
