"""A host's row: what a command came to there. The core's result, or what stands in for it, with the host's name.

=================  ====================================================================
outcome            when
=================  ====================================================================
the core's         the core said how it ended
``nothing to do``  the core refused only because the host is where it should be
``failed``         no connection, or a connection that broke, or something unforeseen
``refused``        there was nothing to send: no tarball
``skipped``        an earlier host failed, or the operator interrupted the command
=================  ====================================================================

A step is as the core says; ``unknown`` is one of which the core was not heard to the end.
"""

from collections.abc import Sequence
from typing import Any

from relup_remote.core.protocol import NOTHING_LEFT, Failure, Result
from relup_remote.core.protocol import OUTCOMES as OUTCOMES_OF_CORE

Row = dict[str, Any]
Step = dict[str, Any]

UNKNOWN = "unknown"
"""Status of a step that had begun when its host was lost. It may have ended since, well or not."""

OUTCOMES = {**OUTCOMES_OF_CORE, "nothing to do": 0}
"""How a command can end on a host, with the exit status each stands for."""

UNHEARD = ("connection_lost", "ssh_timeout", "core_failed", "malformed_answer", "deadline_exceeded")
"""Errors of a host that may have done what it was asked all the same."""

CHANGED = ("upgraded", "staged", "prepared", "cleaned", "rolled back", "backed up", "restored")
"""Outcomes of hosts on which something was changed."""


def of_result(host: str, event: dict[str, Any], seconds: float) -> Row:
    """The row for the core's ``result`` event. ``seconds`` is the time it took as seen from here, with connecting."""
    said = {key: value for key, value in event.items() if key not in ("event", "host")}
    return settled({"host": host, **said, "seconds": round(seconds, 3)})


def settled(row: Row) -> Row:
    """The row, in which a refusal of a host that is where it should be becomes ``nothing to do``, with its reason."""
    error = row["error"]
    if row["outcome"] != "refused" or error["err_type"] not in NOTHING_LEFT:
        return row
    reason = {"err_type": error["err_type"], "message": error["message"]}
    facts = {**row["facts"], "nothing_to_do": reason}
    return {**row, "outcome": "nothing to do", "error": None, "problems": [], "facts": facts}


def of_failure(
    host: str, failure: Failure, outcome: str = "failed", seconds: float = 0.0, steps: Sequence[Step] = ()
) -> Row:
    """The row of a host on which the core did not get to say what it came to. A refusal is its only problem.

    ``steps`` are those that it told of.
    """
    error = failure.to_json()
    problems = [error] if outcome == "refused" else []
    made = {
        "outcome": outcome,
        "error": error,
        "problems": problems,
        "seconds": round(seconds, 3),
        "steps": list(steps),
    }
    return {"host": host, **_blank(), **made}


def skipped(host: str, reason: str) -> Row:
    """The row of a host whose turn did not come."""
    return {"host": host, **_blank(), "outcome": "skipped", "facts": {"reason": reason}}


def none_on(rows: Sequence[Row], what: str) -> str:
    """That no host has something: ``no attempts``. Only those that answered are said to have none."""
    answered = [row["host"] for row in rows if succeeded(row)]
    if len(answered) == len(rows):
        return f"no {what}"
    return f"no {what} on {', '.join(answered)}" if answered else ""


def succeeded(row: Row) -> bool:
    """Whether all went well there; a skipped host counts as neither done nor failed, so not."""
    return row["outcome"] != "skipped" and OUTCOMES.get(row["outcome"], 1) == 0


def exit_status(rows: Sequence[Row]) -> int:
    """The exit status of a command: 0, 1 or 3, as the contract of the commands has it.

    3 says that nothing was changed anywhere; a refusal beside hosts that were changed is a failure of the whole. So are
    hosts whose turn did not come, where nothing else failed.
    """
    codes = {OUTCOMES[row["outcome"]] for row in rows}
    if codes == {0} and any(row["outcome"] == "skipped" for row in rows):
        return 1
    if 1 in codes or 3 not in codes or not any(map(_has_change, rows)):
        return 1 if 1 in codes else 3 if 3 in codes else 0
    return 1


def is_unheard(row: Row) -> bool:
    """Whether the host may have done what it was asked, though it did not say so."""
    return row["error"] is not None and row["error"]["err_type"] in UNHEARD


def step(row: Row, name: str) -> dict[str, Any] | None:
    """The step of that name, if the host got so far."""
    return next((step for step in row["steps"] if step["step"] == name), None)


def is_partly_prepared(row: Row) -> bool:
    """Whether a host on which a preparation has failed may keep the tarball, or a part of it, and a tree."""
    return not succeeded(row) and step(row, "stage") is not None and step(row, "apply") is None


def _has_change(row: Row) -> bool:
    """Whether something was changed there, also by a host that then refused."""
    return row["outcome"] in CHANGED or any(
        each["step"] in ("stage", "extract") and each["status"] == "ok" for each in row["steps"]
    )


def _blank() -> Row:
    blank = Result().to_json()
    del blank["event"]
    return blank
