"""What a command found of attempts that an earlier core left unfinished, and how it finished them."""

from collections.abc import Sequence

from relup_remote.rollout.rows import Row
from relup_remote.summary.text import wrapped


def recovered(rows: Sequence[Row]) -> str:
    """A sentence an attempt; empty if there was none."""
    return "\n".join(
        wrapped(attempt["message"], first=f"{row['host']}: ")
        for row in rows
        for attempt in row["facts"].get("recovered", ())
    )
