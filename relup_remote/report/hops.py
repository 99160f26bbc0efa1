"""The hops of a run, each told once for all hosts that went through it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from relup_remote.report.model import Host, Instruction, Report
from relup_remote.report.words import plural
from relup_remote.summary.suspended import did


@dataclass(frozen=True)
class Line:
    """An instruction on all hosts: the longest it took and held up, with the host where it did, as it was there."""

    n: int | None
    text: str
    does: str
    status: str
    is_bad: bool
    seconds: float | None
    seconds_host: str
    window_ms: float | None
    window_host: str


@dataclass(frozen=True)
class Told:
    """A hop, and the hosts that went through it."""

    file: str
    from_vsn: str
    target: str
    hosts: tuple[Host, ...]
    lines: tuple[Line, ...]


def hops(report: Report) -> tuple[Told, ...]:
    """All hops that hosts of the run went through, or began."""
    alike: dict[tuple[str, str, str, int], list[Host]] = {}
    for host in report.hosts:
        if host.hop:
            hop = host.hop
            alike.setdefault((hop.file, hop.from_vsn, hop.target, len(hop.instructions)), []).append(host)
    return tuple(
        Told(file, source, target, tuple(hosts), _lines(hosts)) for (file, source, target, _), hosts in alike.items()
    )


def _lines(hosts: Sequence[Host]) -> tuple[Line, ...]:
    several = zip(*(host.hop.instructions for host in hosts if host.hop), strict=True)
    return tuple(_line([host.host for host in hosts], same) for same in several)


def _line(hosts: Sequence[str], same: Sequence[Instruction]) -> Line:
    slowest = max(range(len(same)), key=lambda at: same[at].seconds or 0)
    widest = max(range(len(same)), key=lambda at: same[at].window_ms or 0)
    shown = same[widest if same[widest].window_ms else slowest]
    statuses = Counter(each.status or "planned" for each in same)
    failed = [host for host, each in zip(hosts, same, strict=True) if each.status == "failed"]
    return Line(
        n=same[0].n,
        text=shown.text,
        does=did(shown.does),
        status=_status(statuses, failed),
        is_bad=bool(failed),
        seconds=same[slowest].seconds,
        seconds_host=hosts[slowest],
        window_ms=same[widest].window_ms if did(same[widest].does) == same[widest].does else None,
        window_host=hosts[widest],
    )


def _status(statuses: Counter[str], failed: Sequence[str]) -> str:
    if len(statuses) == 1:
        return next(iter(statuses))
    others = [f"{status} on {plural(number, 'host')}" for status, number in statuses.items() if status != "failed"]
    return ", ".join([*others, *([f"failed on {', '.join(failed)}"] if failed else [])])
