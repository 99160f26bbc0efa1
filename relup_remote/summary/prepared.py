"""What is said of hosts that are prepared, and not upgraded."""

from collections.abc import Sequence

from relup_remote.rollout.endings import Ending
from relup_remote.rollout.rows import Row, is_partly_prepared
from relup_remote.summary.text import many


def after_preparation(rows: Sequence[Row]) -> str:
    """What a preparation has come to."""
    ready = [row["host"] for row in rows if row["outcome"] == "prepared"]
    partly = [row["host"] for row in rows if is_partly_prepared(row)]
    return " ".join(["No node was changed.", *_told(f"{many(len(ready), 'host')} prepared.", ready, partly)])


def after_run(ending: Ending) -> str:
    """What a run leaves on hosts that it has prepared, and on those where that failed; empty if it leaves nothing."""
    ready, partly = ending.detail.get("prepared", ()), ending.detail.get("partly_prepared", ())
    then = "Resume the run, or start a new one."
    return " ".join(_told(f"Prepared, not upgraded: {', '.join(ready)}.", ready, partly, then))


def _told(said: str, ready: Sequence[str], partly: Sequence[str], then: str = "") -> list[str]:
    if not (ready or partly):
        return []
    # A host does not know that a node ahead of it is meant to stay ahead, so it would refuse without --anyway.
    remove = f"`inv cleanup --anyway --host {','.join([*ready, *partly])}` removes the tarball and the tree there."
    told = [said if ready else "", f"Prepared in part: {', '.join(partly)}." if partly else "", then, remove]
    return [sentence for sentence in told if sentence]
