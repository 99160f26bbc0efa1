"""A host's row: what a command came to there. The core's result, or what stands in for it, with the host's name.

=============  ====================================================================
outcome        when
=============  ====================================================================
the core's     the core said how it ended
``failed``     no connection, or a connection that broke, or something unforeseen
``refused``    there was nothing to send: no tarball
``skipped``    an earlier host failed, or the operator interrupted the command
=============  ====================================================================
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from relup_remote.core.protocol import NOTHING_LEFT, OUTCOMES, Failure, Result

Row = dict[str, Any]

CHANGING = ("upgraded", "staged", "cleaned", "rolled back", "backed up", "restored")
"""Outcomes of hosts on which something was changed."""


def of_result(host: str, event: dict[str, Any], seconds: float) -> Row:
    """The row for the core's ``result`` event. ``seconds`` is the time it took as seen from here, with connecting.

    Raises `Failure` (``protocol_mismatch``) for one that is not of the form which all others rely on.
    """
    outcome = event.get("outcome")
    if outcome not in OUTCOMES:
        raise Failure("protocol_mismatch", detail={"outcome": outcome})
    said = {**_blank(), **{key: value for key, value in event.items() if key not in ("event", "host")}}
    wrong = [name for name, fits in _FIELDS.items() if not fits(said[name])]
    if wrong or (said["error"] is None) != (OUTCOMES[outcome] == 0):
        raise Failure("protocol_mismatch", detail={"outcome": outcome, "wrong": wrong or ["error"]})
    return {"host": host, **said, "seconds": round(seconds, 3)}


def of_failure(host: str, failure: Failure, outcome: str = "failed", seconds: float = 0.0) -> Row:
    """The row of a host on which the core did not get to say anything. A refusal is its only problem."""
    error = failure.to_json()
    problems = [error] if outcome == "refused" else []
    made = {"outcome": outcome, "error": error, "problems": problems, "seconds": round(seconds, 3)}
    return {"host": host, **_blank(), **made}


def skipped(host: str, reason: str) -> Row:
    """The row of a host whose turn did not come."""
    return {"host": host, **_blank(), "outcome": "skipped", "facts": {"reason": reason}}


def succeeded(row: Row) -> bool:
    """Whether all went well there; a skipped host counts as neither done nor failed, so not."""
    return row["outcome"] != "skipped" and OUTCOMES.get(row["outcome"], 1) == 0


def lets_others_go_on(row: Row) -> bool:
    """Whether the next host may be done: all went well here, or there was nothing left to do."""
    return succeeded(row) or (row["outcome"] == "refused" and row["error"]["err_type"] in NOTHING_LEFT)


def exit_status(rows: Sequence[Row]) -> int:
    """The exit status of a command: 0, 1 or 3, as the contract of the commands has it.

    3 says that nothing was changed anywhere; a refusal beside hosts that were changed is a failure of the whole, unless
    there was nothing left to do.
    """
    codes = {OUTCOMES[row["outcome"]] for row in rows}
    if 1 in codes or 3 not in codes or not any(row["outcome"] in CHANGING for row in rows):
        return 1 if 1 in codes else 3 if 3 in codes else 0
    return 0 if all(lets_others_go_on(row) for row in rows) else 1


def step(row: Row, name: str) -> dict[str, Any] | None:
    """The step of that name, if the host got so far."""
    return next((step for step in row["steps"] if step["step"] == name), None)


def _blank() -> Row:
    blank = Result().to_json()
    del blank["event"]
    return blank


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_text_or_none(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_error(value: Any) -> bool:
    texts = ("err_type", "message", "hint")
    return _is_object(value, stage=_is_text_or_none, detail=_is_mapping, **dict.fromkeys(texts, _is_text))


def _is_step(value: Any) -> bool:
    return _is_object(value, step=_is_text, status=_is_text, seconds=_is_number, detail=_is_mapping)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _is_mapping(value: Any) -> bool:
    return isinstance(value, dict)


def _is_object(value: Any, **fields: Callable[[Any], bool]) -> bool:
    return isinstance(value, dict) and all(name in value and fits(value[name]) for name, fits in fields.items())


def _list_of(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(fits, value))


_FIELDS: Mapping[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("node", "from", "target", "running"), _is_text_or_none),
    "steps": _list_of(_is_step),
    "error": lambda value: value is None or _is_error(value),
    "problems": _list_of(_is_error),
    "warnings": _list_of(lambda value: _is_object(value, message=_is_text)),
    "facts": _is_mapping,
}
"""What a core's result has to be like."""
