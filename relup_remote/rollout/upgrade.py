"""The order of an upgrade: hosts one after the other, then what had to wait for the last of them."""

from collections.abc import Sequence
from dataclasses import replace

from relup_remote.inventory import HostSettings
from relup_remote.rollout.request import Order, request
from relup_remote.rollout.rows import Row, lets_others_go_on, step, succeeded
from relup_remote.rollout.run import Job, Runner
from relup_remote.rollout.tarball import Tarball


def upgrade(runner: Runner, hosts: Sequence[HostSettings], order: Order, tarball: Tarball) -> list[Row]:
    """Upgrade ``hosts`` in turn, then clean up where that had to wait for the later hosts."""
    rows = runner.in_turn([Job(host, request(order, host), tarball.path) for host in hosts])
    if not _cluster_is_whole(rows):
        return rows
    cleaning = replace(order, command="cleanup", hops=(), helpers=())
    jobs = [
        Job(host, request(cleaning, host)) for host, row in zip(hosts, rows, strict=True) if _may_hold_a_tarball(row)
    ]
    cleaned = {row["host"]: row for row in runner.at_once(jobs)}
    return [_with_cleanup(row, cleaned[row["host"]]) if row["host"] in cleaned else row for row in rows]


def _cluster_is_whole(rows: Sequence[Row]) -> bool:
    """Whether the earlier hosts can clean up now: as the last one saw it, all nodes are on the target."""
    upgraded = [row for row in rows if succeeded(row)]
    return bool(upgraded) and all(lets_others_go_on(row) for row in rows) and not _has_waiting_cleanup(upgraded[-1])


def _may_hold_a_tarball(row: Row) -> bool:
    """Whether its cleanup had to wait, in this run, or in the earlier one that has left nothing to do."""
    return _has_waiting_cleanup(row) or not succeeded(row)


def _has_waiting_cleanup(row: Row) -> bool:
    cleanup = step(row, "cleanup")
    return cleanup is not None and cleanup["status"] == "skipped"


def _with_cleanup(row: Row, cleaned: Row) -> Row:
    """The row of an upgrade with the cleanup that followed it. A cleanup that failed is the row's failure."""
    if cleaned["outcome"] == "refused":
        return {**row, "warnings": [*row["warnings"], *cleaned["warnings"]]}
    late = step(cleaned, "cleanup")
    steps = [was for was in row["steps"] if was["step"] != "cleanup"] + ([late] if late else [])
    merged = {
        **row,
        "steps": steps,
        "seconds": round(row["seconds"] + cleaned["seconds"], 3),
        "warnings": [*row["warnings"], *cleaned["warnings"]],
    }
    if succeeded(cleaned):
        return merged
    return {**merged, "outcome": "failed", "error": {**cleaned["error"], "stage": "cleanup"}}
