"""A run before it begins, for the operator who is asked whether it may."""

from collections.abc import Iterator, Sequence

from relup_remote.rollout.plan import Member, Plan
from relup_remote.rollout.rows import Row, succeeded
from relup_remote.rollout.survey import Survey, is_done
from relup_remote.summary.layout import table
from relup_remote.summary.text import many, size


def intention(plan: Plan, survey: Survey, said: Sequence[str] = ()) -> str:
    """What a run is going to do, in plain words; ``said`` is what only its command knows of it."""
    to = f" to {plan.target}" if plan.target else ""
    lines = [f"{plan.command}{to}: {many(len(plan.hosts), 'host')}", "", _hosts(plan, survey), ""]
    return "\n".join([*lines, *(f"  {line}" for line in (*said, *_course(plan, survey), *_beside(plan, survey)))])


def _hosts(plan: Plan, survey: Survey) -> str:
    headers = ["wave", "host", "node", "role", "from", "connections", "to send", "backup", "now"]
    waves = {host: number for number, wave in enumerate(plan.waves, 1) for host in wave}
    found = {row["host"]: row for row in survey.rows}
    lines = []
    for member in plan.hosts:
        row = found.get(member.host)
        backup = (row["facts"].get("backup") or {}).get("name") if row else None
        state = "nothing to do" if row is None or is_done(row) else _state(row)
        sent = None if member.bytes is None or state == "nothing to do" else size(member.bytes)
        # A host that another run has finished was on another version when this run was planned.
        led_from = row["from"] if row and is_done(row) and row["from"] else member.from_vsn
        wave = "-" if state == "nothing to do" else waves.get(member.host, "-")
        lines.append([wave, member.host, member.node, member.role, led_from, member.connections, sent, backup, state])
    in_order = sorted(lines, key=lambda line: line[0] if isinstance(line[0], int) else 0)
    return table(headers, in_order, spare=("node", "backup"))


def _state(row: Row) -> str:
    if not succeeded(row):
        return str(row["error"]["err_type"])
    return "prepared" if row["facts"].get("prepared") else "ready"


def _course(plan: Plan, survey: Survey) -> Iterator[str]:
    at_once = "one by one" if plan.parallel == 1 else f"{plan.parallel} at once"
    to_do = [row for row in survey.rows if succeeded(row) and not is_done(row)]
    if plan.tarball is not None and to_do:
        who = "all hosts" if len(to_do) == len(plan.hosts) else _names([row["host"] for row in to_do])
        if all(row["facts"].get("prepared") for row in to_do):
            are = "is" if len(to_do) == 1 < len(plan.hosts) else "are"
            yield f"{who} {are} prepared; before the first wave that will be checked again"
        else:
            at_most = f"at most {plan.prepare_parallel} at once"
            yield f"before the first wave {who} will be prepared, {at_most}; that changes no node"
        if unknown := [row["host"] for row in survey.rows if not succeeded(row)]:
            yield f"it is not known whether {_names(unknown)} {'is' if len(unknown) == 1 else 'are'} prepared"
    if plan.waves:
        yield f"waves: {' | '.join(_wave(plan, wave) for wave in plan.waves)}; {at_once} within a wave"
        yield f"after each wave: {', '.join(_gates(plan)) or 'no gates'}"
    most, fail = plan.max_failures, "fails" if plan.max_failures == 1 else "fail"
    failures = f"more than {many(most, 'host')} {fail}" if most else "a host fails"
    yield f"the run stops if a gate stays closed for {plan.gates.timeout} s, or if {failures}"
    if plan.allow_missing:
        yield "hosts that can't be reached will be left out, and nodes may be down (--allow-missing)"


def _wave(plan: Plan, wave: Sequence[str]) -> str:
    members: list[Member] = [plan.member(host) for host in wave]
    return _names([member.host for member in members])


def _names(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 8 else f"{', '.join(names[:6])} … {names[-1]} ({len(names)} hosts)"


def _gates(plan: Plan) -> Iterator[str]:
    gates = plan.gates
    if gates.verify:
        yield "verify"
    if gates.cluster:
        yield _seen(len(plan.nodes))
    if gates.connections is not None:
        yield f"at least {gates.connections} % of the connections are left"
    if gates.postcheck:
        yield "post-checks"
    if gates.soak:
        yield f"{gates.soak} s without a problem"
    if gates.command:
        yield f"`{gates.command}` exits with 0"


def _seen(nodes: int) -> str:
    known = {0: "each node sees the whole cluster", 1: "the node sees itself"}
    return known.get(nodes, f"each node sees all {nodes} nodes of the cluster")


def _beside(plan: Plan, survey: Survey) -> Iterator[str]:
    if survey.others:
        yield f"nodes of the cluster that are not part of this run: {', '.join(survey.others)}"
    if survey.stopped:
        yield f"nodes of the cluster that are down: {', '.join(survey.stopped)}"
