"""A report as JUnit XML, as CI systems read it: a suite for the run, one for each wave's gates, one for each host.

The cases of a host are its steps; where it failed elsewhere, or its turn did not come, a case says so.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as xml

from relup_remote.report.model import UNFINISHED, UNKNOWN, Gate, Host, Report, Step, Trouble, Wave
from relup_remote.report.on_hosts import GATE
from relup_remote.report.words import ended, shown, verdict
from relup_remote.summary.text import detail, moment

_FINE = ("done", "nothing_left", "waiting")
"""The states of hosts that are no failure."""


@dataclass(frozen=True)
class _Case:
    """A case; ``bad`` is what failed (type, message, text), ``skipped`` why it did not run."""

    name: str
    seconds: float | None
    bad: tuple[str, str, str] | None = None
    skipped: str = ""


def render(report: Report) -> str:
    """The XML."""
    suites = [
        _suite(report, "run", [_end(report)], report.started_at),
        *(
            _suite(report, f"wave {wave.wave}: gates", _gates(wave), wave.gates[0].started_at)
            for wave in report.waves
            if wave.gates
        ),
        *(_host_suite(report, host) for host in report.hosts),
    ]
    root = xml.Element("testsuites", name=shown(f"{report.command} {report.run}"), time=_time(report.seconds))
    for count in ("tests", "failures", "errors", "skipped"):
        root.set(count, str(sum(int(suite.get(count, "0")) for suite in suites)))
    root.extend(suites)
    xml.indent(root)
    return xml.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _suite(
    report: Report, name: str, cases: Sequence[_Case], at: int, host: str = "", facts: Sequence[tuple[str, str]] = ()
) -> xml.Element:
    suite = xml.Element(
        "testsuite",
        name=shown(name),
        tests=str(len(cases)),
        failures=str(sum(case.bad is not None for case in cases)),
        errors="0",
        skipped=str(sum(bool(case.skipped) for case in cases)),
        time=_time(sum(case.seconds or 0 for case in cases)),
        timestamp=moment(at).replace(" ", "T"),
        hostname=shown(host or "localhost"),
    )
    if facts:
        properties = xml.SubElement(suite, "properties")
        for key, value in facts:
            xml.SubElement(properties, "property", name=key, value=shown(value))
    for case in cases:
        suite.append(_element(case, f"{report.command}.{host or name}"))
    return suite


def _element(case: _Case, classname: str) -> xml.Element:
    element = xml.Element(
        "testcase", name=shown(case.name), classname=shown(classname), time=_time(case.seconds or 0.0)
    )
    if case.bad:
        kind, message, text = (shown(part) for part in case.bad)
        xml.SubElement(element, "failure", type=kind, message=message).text = text
    elif case.skipped:
        xml.SubElement(element, "skipped", message=shown(case.skipped))
    return element


def _end(report: Report) -> _Case:
    bad = None if report.went_well else (report.err_type or report.outcome, report.reason, report.next)
    return _Case(f"{report.outcome}: {verdict(report)}", report.seconds, bad)


def _gates(wave: Wave) -> list[_Case]:
    return [
        _Case(gate.gate, gate.seconds, None if gate.status == "open" else _closed(gate)) for gate in wave.last_gates
    ]


def _closed(gate: Gate) -> tuple[str, str, str]:
    return f"gate_{gate.status}", gate.message, detail(gate.detail) if gate.detail else ""


def _host_suite(report: Report, host: Host) -> xml.Element:
    met = [trouble for trouble in report.troubles if trouble.kind == "error" and host.host in trouble.hosts]
    facts = [("node", host.node), ("from", host.from_vsn), ("target", host.target), ("outcome", host.outcome)]
    at = host.steps[0].started_at if host.steps else report.started_at
    name = host.host if host.wave is None else f"wave {host.wave}: {host.host}"
    cases = list(_fine(host) if host.state in _FINE else _bad(host, met))
    return _suite(report, name, cases, at, host.host, facts)


def _fine(host: Host) -> Iterator[_Case]:
    """A case for each step; what became of earlier tries does not count."""
    for step in _last(host):
        yield _Case(step.step, step.seconds, skipped=step.status if step.status == "skipped" else "")
    if host.state != "done":
        yield _Case("turn", None, skipped=ended(host))


def _bad(host: Host, errors: Sequence[Trouble]) -> Iterator[_Case]:
    """A case for each step, and for each stage of which there are errors; one more if nothing else says it."""
    by_stage: dict[str, list[Trouble]] = {}
    for error in errors:
        by_stage.setdefault(error.stage, []).append(error)
    steps = {step.step: step for step in _last(host)}
    says_so = bool(errors)
    for name in dict.fromkeys([*steps, *by_stage]):
        step = steps.get(name)
        failed = step is not None and step.status in ("failed", UNFINISHED, UNKNOWN)
        says_so = says_so or failed
        bad = _failure(by_stage[name]) if name in by_stage else (host.state, f"{name} {host.outcome}", "")
        yield _Case(name or "host", step.seconds if step else None, bad if name in by_stage or failed else None)
    if not says_so:
        yield _Case("turn", None, (host.state, host.outcome, ""))


def _last(host: Host) -> list[Step]:
    """Each step as it was taken last. What gates looked at is theirs."""
    return list({step.step: step for step in host.steps if step.phase != GATE}.values())


def _failure(errors: Sequence[Trouble]) -> tuple[str, str, str]:
    """All errors of a stage as one failure, called by the first."""
    parts = [(error.message, detail(error.detail) if error.detail else "", error.hint) for error in errors]
    text = "\n\n".join("\n".join(part for part in told if part) for told in parts)
    return errors[0].err_type, errors[0].message, text


def _time(seconds: float) -> str:
    return f"{seconds:.3f}"
