"""From a run's ledger to what is told of it. Pure but for the look whether a controller still works on the run."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from relup_remote.core.protocol import OPTIONS
from relup_remote.program import typed
from relup_remote.report import on_hosts
from relup_remote.report.model import LEFT, UNDER_WAY, Digest, Host, Override, Report, Sample
from relup_remote.report.on_waves import resumptions, sittings, waves
from relup_remote.report.passages import Event
from relup_remote.report.plain import mapping, number, text
from relup_remote.report.troubles import troubles
from relup_remote.rollout.endings import ROLLOUT_ERRORS
from relup_remote.rollout.ledger import Record
from relup_remote.rollout.worked import seconds_between, seconds_worked

_NO_END = {
    UNDER_WAY: "A command works on it; this is how it stood at the last event of its record.",
    LEFT: "Its record has no end: the command that worked on it was killed, or its machine went down.",
}

_OVERRIDING = ("force", "kill_lingering", "no_boot_check", "allow_calls", "clean_anyway", "lock_force")


def report_of(record: Record) -> Report:
    """What there is to tell of a run."""
    request, events = record.request, record.events
    plans = [request, *(event["plan"] for event in events if event["event"] == "run" and "plan" in event)]
    worked = sittings(request, events)
    planned = waves(record.plan, events, worked)
    wave_of = {name: wave.wave for wave in planned for name in wave.hosts}
    of_hosts = [_of(member["host"], events) for member in request["hosts"]]
    hosts = tuple(
        on_hosts.host(request, member, wave_of.get(member["host"]), of_host, is_over=record.end is not None)
        for member, of_host in zip(request["hosts"], of_hosts, strict=True)
    )
    end = record.end or _no_end(record)
    return Report(
        run=record.run,
        command=text(request["command"]),
        operator=text(request["operator"]),
        version=text(request["version"]),
        inventory=text(request["inventory"]),
        selection=tuple(request["selection"]),
        started_at=worked[0].started_at,
        ended_at=worked[-1].ended_at,
        seconds=seconds_worked(events),
        seconds_between=seconds_between(events),
        sources=_sources(hosts),
        target=text(request["target"]) or ", ".join(dict.fromkeys(host.target for host in hosts if host.target)),
        outcome=text(end["outcome"]),
        err_type=text(end.get("err_type")),
        reason=text(end.get("reason")),
        hint=_hint(end),
        next=typed(text(end.get("next"))),
        interruptions=sum(event["event"] == "interrupt" for event in events),
        resumptions=resumptions(events),
        sittings=worked,
        hosts=hosts,
        waves=planned,
        connections=total([host.connections for host in hosts if host.connections]),
        troubles=troubles([(host, on_hosts.rows(each)) for host, each in zip(hosts, of_hosts, strict=True)]),
        overrides=tuple(dict.fromkeys(override for plan in plans for override in _overrides(plan))),
        digests=(*_digests(request), *_values(record)),
        parallel=record.plan["parallel"],
        max_failures=record.plan["max_failures"],
        gates=record.plan["gates"],
        options=record.plan["options"],
    )


def _sources(hosts: Sequence[Host]) -> tuple[str, ...]:
    """The versions that the run led from; a host that was on the target before is passed over, unless all were."""
    led = [host for host in hosts if host.from_vsn != host.target] or hosts
    return tuple(dict.fromkeys(host.from_vsn for host in led if host.from_vsn))


def _of(host: str, events: Sequence[Event]) -> list[Event]:
    return [event for event in events if event.get("host") == host]


def _no_end(record: Record) -> Mapping[str, Any]:
    outcome = UNDER_WAY if record.is_under_way else LEFT
    resume = f"inv {record.request['command']} --resume {record.run}"
    return {"outcome": outcome, "reason": _NO_END[outcome], "next": resume if outcome == LEFT else ""}


def _hint(end: Mapping[str, Any]) -> str:
    known = ROLLOUT_ERRORS.get(text(end.get("err_type")))
    return known.hint if known else ""


def total(series: Sequence[Sequence[Sample]]) -> tuple[Sample, ...]:
    """The sum of all hosts' samples, from when all of them are known, at each moment at which one is known anew."""
    whole = max((samples[0].at for samples in series), default=0)
    latest = [samples[0].count for samples in series]
    told = sorted((sample.at, index, sample.count) for index, samples in enumerate(series) for sample in samples)
    sums: dict[int, int] = {}
    for at, index, count in told:
        latest[index] = count
        if at >= whole:
            sums[at] = sum(latest)
    return tuple(Sample(at, count) for at, count in sums.items())


def _overrides(plan: Mapping[str, Any]) -> Iterator[Override]:
    """What kept something from stopping the run, or changed what a failure does."""
    options = plan["options"]
    for name in _OVERRIDING:
        if options.get(name):
            yield Override(f"--{name.replace('_', '-')}", OPTIONS[name][1])
    if options.get("on_failure") == "restart":
        yield Override("--on-failure restart", "a node whose hop fails past the point where it can be undone restarts")
    if plan["allow_missing"]:
        yield Override("--allow-missing", "begin although hosts can't be reached or nodes of the cluster are down")
    if plan.get("allow_partial"):
        yield Override("--allow-partial", "begin although the inventory does not have all nodes of the cluster")
    if options.get("backup_age") == 0:
        yield Override("--no-backup", "begin without a backup that is complete and young enough")


def _values(record: Record) -> Iterator[Digest]:
    """What the hop's file evaluated to on the hosts: it is this that was run."""
    told = [(event["host"], event["row"]["facts"].get("hop") or {}) for event in record.events if "row" in event]
    hosts: dict[tuple[str, str], dict[str, None]] = {}
    for host, hop in told:
        if hop.get("sha256"):
            hosts.setdefault((text(hop.get("file")), text(hop["sha256"])), {})[host] = None
    for (file, sha256), names in hosts.items():
        where = "" if len(hosts) == 1 else f" on {', '.join(names)}"
        yield Digest(f"value of the hop{where}", file, sha256)


def _digests(request: Mapping[str, Any]) -> Iterator[Digest]:
    tarball = mapping(request["tarball"])
    if tarball:
        size = number(tarball.get("bytes"))
        yield Digest("tarball", text(tarball["name"]), text(tarball["sha256"]), None if size is None else int(size))
    for what in ("hop", "helper"):
        for file in request[f"{what}s"]:
            yield Digest(what, text(file["file"]), text(file["sha256"]))
