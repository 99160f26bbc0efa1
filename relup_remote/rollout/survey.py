"""Looking at all hosts before anything is begun: which are there, what is left to do on each, what the cluster is."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from relup_remote.core.protocol import NOTHING_LEFT
from relup_remote.rollout.feed import Feed
from relup_remote.rollout.ledger import Record
from relup_remote.rollout.rows import CHANGED, Row, succeeded
from relup_remote.rollout.run import AT_ONCE, Job, Runner
from relup_remote.rollout.stop import Stop

PAUSE = 1.0
"""Seconds between two looks at a host on which a core of the same run still works."""


@dataclass(frozen=True)
class Survey:
    """The rows of all hosts, in order. Whoever goes ``back`` needs no node that runs, or that answers."""

    rows: tuple[Row, ...]
    back: bool = False

    @property
    def done(self) -> list[str]:
        """Hosts on which nothing is left to do."""
        return [row["host"] for row in self.rows if is_done(row)]

    @property
    def failed(self) -> list[str]:
        """Hosts that can't be reached, or refuse."""
        return [row["host"] for row in self.rows if self._is_bad(row)]

    @property
    def missing(self) -> list[str]:
        """Hosts that can't be reached, or whose node is down."""
        return [row["host"] for row in self.rows if self._is_bad(row) and _is_missing(row)]

    @property
    def unreached(self) -> list[str]:
        """Hosts that can't be reached at all."""
        return [row["host"] for row in self.rows if not succeeded(row) and row["error"]["stage"] == "connect"]

    def why_missing(self, hosts: Sequence[str]) -> list[str]:
        """What keeps hosts out of the run, in words; what is the same for several of them once."""
        by_reason: dict[str, list[str]] = {}
        for host in hosts:
            by_reason.setdefault(self.row(host)["error"]["message"].rstrip("."), []).append(host)
        return [f"{', '.join(names)}: {reason}" for reason, names in by_reason.items()]

    @property
    def nodes(self) -> list[str]:
        """The nodes that run in the cluster, as far as anyone sees them."""
        return self._nodes("running")

    @property
    def stopped(self) -> list[str]:
        """The nodes of the cluster that are down, where that matters."""
        return [] if self.back else sorted(set(self._nodes("stopped")) - set(self._nodes("running")))

    @property
    def others(self) -> list[str]:
        """The nodes that run in the cluster and are on none of the hosts. The node of a host may be unknown."""
        known = {row["node"] for row in self.rows if row["node"]}
        unknown = sum(not row["node"] for row in self.rows)
        others = [node for node in self.nodes if node not in known]
        return others if len(others) > unknown else []

    def row(self, host: str) -> Row:
        """The row of a host."""
        return next(row for row in self.rows if row["host"] == host)

    def _is_bad(self, row: Row) -> bool:
        if succeeded(row):
            return False
        return (
            not self.back
            or row["error"]["stage"] == "connect"
            # Of a rollback: what it would refuse is known before anybody is asked.
            or row["error"]["stage"] == "rollback"
            or row["error"]["err_type"] in ("malformed_answer", "deadline_exceeded")
        )

    def with_recovered(self, row: Row) -> Row:
        """The row with the attempts that the look at its host has finished in an earlier core's place."""
        seen = next((each for each in self.rows if each["host"] == row["host"]), row)
        return {**row, "facts": {**_recovered(seen), **row["facts"]}}

    def _nodes(self, state: str) -> list[str]:
        seen = [row["facts"].get("cluster") or {} for row in self.rows]
        return sorted({node for cluster in seen for node in cluster.get(state) or ()})


def _recovered(row: Row) -> dict[str, Any]:
    return {name: fact for name, fact in row["facts"].items() if name == "recovered"}


def is_done(row: Row) -> bool:
    """Whether nothing is left to do there."""
    return row["outcome"] in (*CHANGED, "nothing to do")


def confirmed(row: Row, before: Row | None) -> Row:
    """The row of a host that the ledger calls done, ``before`` being the ledger's: that one, if the host agrees."""
    if before is None:
        return row
    problems = [row["error"], *row["problems"]]
    agrees = is_done(row) or any(problem and problem["err_type"] in NOTHING_LEFT for problem in problems)
    return {**before, "facts": {**before["facts"], **row["facts"]}} if agrees else row


def look(
    runner: Runner, jobs: Sequence[Job], feed: Feed, stop: Stop, patience: float = 0, back: bool = False
) -> Survey:
    """Ask all hosts, and tell of it.

    A run that is taken up again may find its earlier core still at work on a host: it is waited for, ``patience``
    seconds at most.
    """

    def begins(job: Job) -> None:
        feed.tell("host", host=job.host.name, phase="survey", status="start")

    feed.tell("phase", phase="survey", hosts=[job.host.name for job in jobs])
    deadline = time.monotonic() + patience
    rows: dict[str, Row] = {}
    waiting = list(jobs)
    while waiting:
        for row in runner.as_done(waiting, AT_ONCE, lambda: not stop, begins):
            rows[row["host"]] = row
            _tell(feed, row)
        waiting = [job for job in jobs if job.host.name not in rows or _at_work(rows[job.host.name], job)]
        if not waiting or time.monotonic() >= deadline or stop.wait(PAUSE):
            break
    looked = [(rows[job.host.name], job) for job in jobs if job.host.name in rows]
    return Survey(tuple(_credited(row, job) for row, job in looked), back)


def surveyed(record: Record) -> list[Row]:
    """The rows of the surveys of a run, the first before the later."""
    return [event["row"] for event in record.events if event.get("phase") == "survey" and "row" in event]


def _tell(feed: Feed, row: Row) -> None:
    feed.tell("host", host=row["host"], phase="survey", status="end", row=row)
    if row["facts"].get("connections") is not None:
        feed.tell("connections", host=row["host"], count=row["facts"]["connections"])


def _at_work(row: Row, job: Job) -> bool:
    """Whether an earlier core of the same run is at work there, or a hop of nobody's in the VM."""
    error: dict[str, Any] = row["error"] or {}
    if error.get("err_type") != "upgrade_in_progress":
        return False
    return error["detail"].get("run") in (None, job.request["run"])


def _credited(row: Row, job: Job) -> Row:
    """The row of a host on which nothing is left to do because an earlier core of this very run has done it."""
    last = next(iter(row["facts"].get("history") or ()), None)
    if not is_done(row) or not last or (last["run"], last["result"]) != (job.request["run"], "success"):
        return row
    why = row["facts"].get("nothing_to_do") or {}
    outcome = "rolled back" if why.get("err_type") == "nothing_to_roll_back" else "upgraded"
    done = {"outcome": outcome, "from": last["from_vsn"]}
    return {
        **row,
        **done,
        "seconds": round(((last["finished_at"] or last["started_at"]) - last["started_at"]) / 1000, 3),
    }


def _is_missing(row: Row) -> bool:
    return row["error"]["stage"] == "connect" or row["error"]["err_type"] in ("node_not_running", "node_unreachable")
