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

from collections.abc import Sequence
from typing import Any

from relup_remote.core.protocol import NOTHING_LEFT, OUTCOMES, Failure, Result

Row = dict[str, Any]

CHANGING = ("upgraded", "staged", "cleaned", "rolled back", "backed up", "restored")
"""Outcomes of hosts on which something was changed."""


def of_result(host: str, event: dict[str, Any], seconds: float) -> Row:
    """The row for the core's ``result`` event. ``seconds`` is the time it took as seen from here, with connecting."""
    said = {key: value for key, value in event.items() if key not in ("event", "host")}
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
