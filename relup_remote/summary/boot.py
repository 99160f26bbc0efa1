"""What is known of the hosts' next start: what was set for it, and whether a wrapper has read its configuration."""

from collections.abc import Sequence

from relup_remote.rollout.rows import Row
from relup_remote.summary.text import by_hosts


def boot(rows: Sequence[Row]) -> str:
    """A sentence a fact, hosts that share it together; empty if there is none."""
    return by_hosts(
        (row["host"], sentence) for row in rows for sentence in (row["facts"].get("boot") or {}).get("said", ())
    )
