"""A report as JUnit XML, as CI systems read it: a suite for the run, one for each wave's gates, one for each host.

The cases of a host are its steps; where it failed elsewhere, or its turn did not come, a case says so.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as xml

from relup_remote.report.model import UNFINISHED, Gate, Host, Report, Step, Trouble, Wave
from relup_remote.report.on_hosts import GATE
from relup_remote.report.words import STATE_WORDS, shown, verdict
from relup_remote.summary.text import detail, moment


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
    errors = [trouble for trouble in report.troubles if trouble.kind == "error" and host.host in trouble.hosts]
    open_errors = [] if host.state in ("done", "nothing_left", "waiting") else errors
    facts = [("node", host.node), ("from", host.from_vsn), ("target", host.target), ("outcome", host.outcome)]
    at = host.steps[0].started_at if host.steps else report.started_at
    name = host.host if host.wave is None else f"wave {host.wave}: {host.host}"
    return _suite(report, name, list(_of_host(host, open_errors)), at, host.host, facts)


def _of_host(host: Host, errors: Sequence[Trouble]) -> Iterator[_Case]:
    """A case for each step, the last time that it was taken; an error that belongs to none has a case of its own.

    What gates looked at is theirs.
    """
    last: dict[str, Step] = {step.step: step for step in host.steps if step.phase != GATE}
    for step in last.values():
        found = next((error for error in errors if error.stage == step.step), None)
        is_bad = step.status in ("failed", UNFINISHED) or found is not None
        bad = _failure(found) if found else (step.status, f"the step is {step.status}", "")
        yield _Case(step.step, step.seconds, bad if is_bad else None, _why_skipped(step))
    for error in errors:
        if error.stage not in last:
            yield _Case(error.stage or "host", None, _failure(error))
    if host.state in ("waiting", "nothing_left"):
        yield _Case("apply", None, skipped=STATE_WORDS[host.state])
    elif not last and not errors:
        yield _Case("apply", host.seconds, None if host.state == "done" else (host.state, host.outcome, ""))


def _why_skipped(step: Step) -> str:
    return "skipped by the host" if step.status == "skipped" else ""


def _failure(error: Trouble) -> tuple[str, str, str]:
    parts = (error.message, detail(error.detail) if error.detail else "", error.hint)
    return error.err_type, error.message, "\n".join(part for part in parts if part)


def _time(seconds: float) -> str:
    return f"{seconds:.3f}"
