"""How a report puts numbers, moments and outcomes into words; the same in every format that people read."""

from collections.abc import Iterator, Sequence

from markupsafe import Markup, escape

from relup_remote.core.protocol import OPTIONS
from relup_remote.report.model import LEFT, SKIPPED, UNDER_WAY, UNFINISHED, UNKNOWN, Host, Override, Report, Wave
from relup_remote.summary.suspended import was_any
from relup_remote.summary.text import clean, duration, moment, worked

LONGEST = 10_000
"""Characters of the longest text that is shown whole."""

STATE_WORDS = {
    "done": "done",
    "nothing_left": "nothing to do",
    "waiting": "waiting",
    UNFINISHED: "unfinished",
    "refused": "refused",
    "failed": "failed",
}
"""The states of hosts. One that waits in a run that has ended is ``skipped``, see `ended`."""

SIGNS = {
    "done": "✓",
    "open": "✓",
    "ok": "✓",
    "nothing_left": "=",
    "unchanged": "=",
    "waiting": "○",
    "skipped": "–",
    UNFINISHED: "…",
    UNKNOWN: "?",
    UNDER_WAY: "…",
    LEFT: "!",
    "interrupted": "!",
    "partly done": "!",
    "nothing to do": "=",
    "refused": "!",
    "stopped": "✕",
    "closed": "✕",
    "failed": "✕",
    "error": "✕",
    "warning": "!",
    "note": "i",
}
"""What stands for a status beside its colour."""


def shown(value: object) -> str:
    """Any value as text without control and direction characters, cut where it is very long."""
    text = "" if value is None else clean(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text) - LONGEST} more characters)"


def sign(status: str) -> str:
    """The sign for a status; a dot for one that is not known."""
    return SIGNS.get(status, "·")


def milliseconds(value: float | None) -> str:
    """Milliseconds with three digits: ``0.31 ms``, ``12.4 ms``, ``2336 ms``; a dash for None."""
    if value is None:
        return "–"
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:.{digits}f} ms"


def count(value: int | None) -> str:
    """A number with its thousands apart; a dash for None."""
    return "–" if value is None else f"{value:,}"


def plural(number: int, one: str, many: str = "") -> str:
    """``1 host``, ``2 hosts``."""
    return f"{count(number)} {one if number == 1 else many or f'{one}s'}"


def utc(at: int) -> str:
    """A moment, with its zone."""
    return f"{moment(at)} UTC"


def clock(at: int) -> str:
    """The time of day of a moment."""
    return moment(at)[11:]


def ended(host: Host) -> str:
    """How a host came out: its outcome, but where nothing was done there, that. The words are those of the tables."""
    if host.outcome == SKIPPED:
        return SKIPPED
    return STATE_WORDS[host.state] if host.state in ("waiting", "nothing_left") else host.outcome


def stood_still(host: Host) -> float | None:
    """For how many milliseconds processes of a host stood still; None where there was no hop, or no process to stop."""
    if host.hop is None or not was_any([each.does for each in host.hop.instructions]):
        return None
    return host.hop.suspended_ms


def longest_still(report: Report) -> Host | None:
    """The host whose processes stood still longest; None where none did."""
    known = [host for host in report.hosts if stood_still(host) is not None]
    return max(known, key=lambda host: stood_still(host) or 0.0, default=None)


def stood(wave: Wave) -> str:
    """How a wave came out."""
    return "not begun" if wave.status == "waiting" else wave.status


def prepared(host: Host) -> bool:
    """Whether a host was prepared for a turn that did not come."""
    return host.state == "waiting" and any(turn.outcome == "prepared" for turn in host.turns)


def took(report: Report) -> str:
    """The time of the run, and for how long nobody worked on it, if it was resumed."""
    return worked(report.seconds, len(report.resumptions), report.seconds_between)


def title(report: Report) -> str:
    """What the run was to do."""
    return f"{report.command.capitalize()} {way(report)}".strip()


def way(report: Report) -> str:
    """The versions that it led from, and to."""
    return " → ".join(part for part in (", ".join(report.sources), report.target) if part)


def verdict(report: Report) -> str:
    """How the run came out, in a sentence."""
    hosts = len(report.hosts)
    waiting = next((ended(host) for host in report.hosts if host.state == "waiting"), "")
    parts = [f"{report.count('done')} of {plural(hosts, 'host')} done"]
    for state in ("nothing_left", UNFINISHED, "refused", "failed", "waiting"):
        if number := report.count(state):
            word = waiting if state == "waiting" else STATE_WORDS[state]
            parts.append(f"{count(number)} {'with ' if state == 'nothing_left' else ''}{word}")
    return ", ".join(parts)


def gates_told(report: Report) -> Iterator[tuple[str, str]]:
    """Each gate of the plan, and what it asks for."""
    asked = report.gates
    for name in ("verify", "cluster", "postcheck"):
        yield name, "on" if asked.get(name) else "off"
    share = asked.get("connections")
    yield "connections", "off" if share is None else f"at least {share} %"
    yield "soak", duration(asked["soak"]) if asked.get("soak") else "off"
    yield "command", str(asked.get("command") or "off")
    yield "timeout", duration(asked.get("timeout"))
    if asked.get("command"):
        yield "command timeout", duration(asked.get("command_timeout"))


def gates_passed(report: Report) -> tuple[int, int, int]:
    """How many gates were open in the end, how many were tried, and how many tries had failed."""
    tries = [gate for wave in report.waves for gate in wave.gates]
    last = [gate for wave in report.waves for gate in wave.last_gates]
    return sum(gate.status == "open" for gate in last), len(last), sum(gate.status == "closed" for gate in tries)


def option(name: str, value: object) -> str:
    """The value of an option of a request, with its unit."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    meaning = OPTIONS[name][1] if name in OPTIONS else ""
    if "seconds" in meaning and isinstance(value, int | float):
        return duration(value) if value else "none"
    return shown(value)


def code_in(text: str) -> Markup:
    """``text`` with what stands in backticks as code."""
    parts = shown(text).split("`")
    if len(parts) % 2 == 0:
        return escape(shown(text))
    code = Markup("<code>{}</code>")
    return Markup("").join(code.format(part) if number % 2 else escape(part) for number, part in enumerate(parts))


def breakable(text: str) -> Markup:
    """``text``, where a line may break after each comma."""
    return Markup(",<wbr>").join(shown(text).split(","))


def unbroken(text: str) -> Markup:
    """``text``, where a line may break between words, but not at the dashes in them."""
    word = Markup('<span class="whole">{}</span>')
    return Markup(" ").join(word.format(each) for each in shown(text).split(" "))


def overridden(overrides: Sequence[Override]) -> str:
    """The options that overrode something."""
    return ", ".join(override.option for override in overrides)
