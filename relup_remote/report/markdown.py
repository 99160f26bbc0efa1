"""A report as Markdown, to be put into a pull request or a ticket.

What hosts said stands in code spans: there it is no markup, no link, and calls nobody by name.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

from relup_remote.report.model import Host, Report, Trouble
from relup_remote.report.words import (
    count,
    ended,
    gates_told,
    milliseconds,
    overridden,
    plural,
    shown,
    sign,
    stood,
    stood_still,
    took,
    utc,
    verdict,
    way,
)
from relup_remote.summary.text import detail, duration, size


def render(report: Report) -> str:
    """The text."""
    parts = [
        f"# {report.command.capitalize()} {_code(way(report))}: {report.outcome}",
        _head(report),
        *_section("Hosts", _hosts(report.hosts)),
        *_section("Waves and gates", _waves(report)),
        *_section("Connections", _connections(report)),
        *_section("Errors and warnings", "\n\n".join(map(_trouble, report.troubles))),
        *_section("Files", _digests(report)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _section(name: str, text: str) -> Iterator[str]:
    if text:
        yield f"## {name}"
        yield text


def _head(report: Report) -> str:
    lines = [f"{sign(report.outcome)} {verdict(report)}, in {took(report)}."]
    if report.reason:
        lines.append(_code(report.reason))
    if report.hint:
        lines.append(f"**What to do:** {report.hint}")
    if report.next:
        lines.append(f"Next: {_code(report.next)}")
    if report.overrides:
        lines.append(f"**Overridden:** {overridden(report.overrides)}.")
    told = [
        ("run", _code(report.run)),
        ("operator", _code(report.operator)),
        ("time", f"{utc(report.started_at)} to {utc(report.ended_at)}"),
        ("resumed", plural(len(report.resumptions), "time") if report.resumptions else ""),
        ("interrupted", plural(report.interruptions, "time") if report.interruptions else ""),
        ("at the same time in a wave", plural(report.parallel, "host")),
        ("failures allowed", plural(report.max_failures, "host")),
        ("gates", ", ".join(f"{name} {_code(asked)}" for name, asked in gates_told(report))),
    ]
    return "\n\n".join([*lines, _table(("", ""), [line for line in told if line[1]])])


def _hosts(hosts: Sequence[Host]) -> str:
    headers = ("host", "node", "role", "wave", "from", "target", "outcome", "time", "suspended", "swap")
    lines = [
        (
            _code(host.host),
            _code(host.node),
            _code(host.role),
            "" if host.wave is None else str(host.wave),
            _code(host.from_vsn),
            _code(host.target),
            f"{sign(host.state)} {_code(ended(host))}",
            duration(host.seconds),
            milliseconds(stood_still(host)),
            milliseconds(host.hop.swap_ms if host.hop else None),
        )
        for host in hosts
    ]
    return _table(headers, lines)


def _waves(report: Report) -> str:
    lines = []
    for wave in report.waves:
        hosts = ", ".join(map(_code, wave.hosts))
        lines.append((f"**{wave.wave}**", hosts, f"{sign(wave.status)} {stood(wave)}", "", ""))
        for gate in wave.gates:
            status = f"{sign(gate.status)} {gate.status}"
            lines.append(("", f"gate {gate.gate}", status, duration(gate.seconds), _code(gate.message)))
    return _table(("wave", "hosts, gates", "status", "time", "what it said"), lines) if lines else ""


def _connections(report: Report) -> str:
    if not report.connections:
        return ""
    headers = ("", "first", "lowest", "last")
    series = [("**all hosts**", report.connections), *((_code(host.host), host.connections) for host in report.hosts)]
    lines = [
        (name, count(samples[0].count), count(min(each.count for each in samples)), count(samples[-1].count))
        for name, samples in series
        if samples
    ]
    return _table(headers, lines)


def _trouble(trouble: Trouble) -> str:
    overcome = ", overcome later" if trouble.overcome else ""
    at = f" at {_code(trouble.stage)}" if trouble.stage else ""
    name = f" {_code(trouble.err_type)}" if trouble.err_type else ""
    lines = [f"- {sign(trouble.kind)} **{trouble.kind}**{name}{at}: {', '.join(map(_code, trouble.hosts))}{overcome}"]
    lines.append(_code(trouble.message))
    if trouble.hint:
        lines.append(f"**What to do:** {_code(trouble.hint)}")
    if trouble.detail:
        lines.append(_block(detail(trouble.detail, "")))
    return "\n\n  ".join(line.replace("\n", "\n  ") for line in lines)


def _digests(report: Report) -> str:
    lines = [
        (each.what, _code(each.file), "" if each.bytes is None else size(each.bytes), _code(each.sha256))
        for each in report.digests
    ]
    return _table(("", "file", "size", "SHA-256"), lines) if lines else ""


def _table(headers: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    cells = [headers, ["---"] * len(headers), *lines]
    return "\n".join(f"| {' | '.join(' '.join(cell.split()) for cell in line)} |" for line in cells)


def _code(value: object) -> str:
    """Text in a code span. A pipe would end the cell of a table even there."""
    text = " ".join(shown(value).split()).replace("|", "¦")
    if not text:
        return ""
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def _block(text: str) -> str:
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}\n{shown(text)}\n{fence}"
