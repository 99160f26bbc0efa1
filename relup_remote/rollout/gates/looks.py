"""The gates that ask the nodes: ``verify``, ``cluster``, ``connections``, ``postcheck``.

The first three judge by what a look at each host has told, all of them by the same one: `verify` tells all that they
want to know, `status` what the latter two do.
"""

from collections.abc import Iterable, Sequence

from relup_remote.rollout.gates.case import Case, Verdict
from relup_remote.rollout.rows import Row, succeeded


def verify(_case: Case, rows: Sequence[Row]) -> Verdict:
    """Every node of the wave is what it should be."""
    return _all_well(rows, "verified")


def postcheck(case: Case) -> Verdict:
    """The checks from outside pass on every node of the wave."""
    # pytest and testinfra are a second to import.
    from relup_remote.postchecks.run import run  # noqa: PLC0415

    target = case.plan.target if case.plan.command == "upgrade" else None
    try:
        return _all_well(run(case.hosts, target, case.feed.watch, case.runner.deadline), "post-checks passed")
    except RuntimeError as error:
        return Verdict(False, str(error))


def cluster(case: Case, rows: Sequence[Row]) -> Verdict:
    """Every node of the wave sees all nodes that ran in the cluster when the run began."""
    blind = {}
    for row in rows:
        seen = row["facts"].get("nodes")
        if not succeeded(row):
            blind[row["host"]] = _why(row)
        elif seen is None and case.plan.nodes:
            blind[row["host"]] = "does not say which nodes it sees"
        elif missing := sorted(set(case.plan.nodes) - set(seen or ())):
            blind[row["host"]] = f"does not see {', '.join(missing)}"
    if blind:
        return Verdict(False, _listed(blind.items()), {"hosts": blind})
    known = {0: "no cluster is known", 1: "the one node is seen"}
    return Verdict(True, known.get(len(case.plan.nodes), f"all {len(case.plan.nodes)} nodes are seen"))


def connections(case: Case, rows: Sequence[Row]) -> Verdict:
    """No node of the wave has lost more than its share of connections."""
    share = case.plan.gates.connections or 0
    short, counts = {}, {}
    for row in rows:
        host, now, before = row["host"], row["facts"].get("connections"), case.before.get(row["host"])
        if now is not None:
            counts[host] = {"before": before, "now": now}
            case.feed.tell("connections", host=host, count=now)
        if not succeeded(row):
            short[host] = _why(row)
        elif now is None and before:
            short[host] = f"its number of connections is no longer known; it had {before}"
        elif now is not None and before and now * 100 < before * share:
            short[host] = f"{now} of {before} connections are left, {share} % are required"
    if short:
        return Verdict(False, _listed(short.items()), {"connections": counts})
    return Verdict(True, _told(counts, share), {"connections": counts})


def _told(counts: dict[str, dict[str, int | None]], share: int) -> str:
    known = [count for count in counts.values() if count["before"] is not None]
    if not known:
        return "the number of connections is not known"
    now, before = (sum(count[when] or 0 for count in known) for when in ("now", "before"))
    if not before:
        return f"no connections before, {now or 'none'} now"
    return f"{now} of {before} connections are left, {share} % are required"


def _all_well(rows: Iterable[Row], message: str) -> Verdict:
    bad = {row["host"]: _why(row) for row in rows if not succeeded(row)}
    return Verdict(False, _listed(bad.items()), {"hosts": bad}) if bad else Verdict(True, message)


def _why(row: Row) -> str:
    error = row["error"]
    return f"{error['message']} ({error['err_type']})" if error else str(row["outcome"])


def _listed(items: Iterable[tuple[str, str]]) -> str:
    return "; ".join(f"{host}: {why}" for host, why in items)
