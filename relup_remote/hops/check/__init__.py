"""Checking a hop against the two releases that it leads between, without a node.

What a node's preflight finds and needs no VM is found here too, under the same names; and what only two releases side
by side can tell. What has to be evaluated is left to the node, and said to be.
"""

from collections.abc import Iterable
from pathlib import Path

from relup_remote.files import read_bytes
from relup_remote.hops.catalogue import Helper
from relup_remote.hops.check.case import Case
from relup_remote.hops.check.findings import CHECK_ERRORS, SEVERITIES, Finding, Severity, sentence, specs
from relup_remote.hops.check.helpers import facts_of
from relup_remote.hops.check.rules import RULES, releases
from relup_remote.hops.compare import Difference
from relup_remote.hops.hop import Hop
from relup_remote.hops.hop_file import read_hop
from relup_remote.hops.reading import ReadError, decoded

__all__ = [
    "CHECK_ERRORS",
    "SEVERITIES",
    "Finding",
    "Severity",
    "check",
    "check_file",
    "check_text",
    "is_failed",
    "specs",
]


def check_file(file: Path, difference: Difference, helpers: Iterable[Helper] = ()) -> list[Finding]:
    """What is found of the hop in a file, as `check_text`. Raises OSError."""
    content = read_bytes(file)
    try:
        text = decoded(content)
    except ReadError as error:
        return [_malformed(error)]
    return check_text(file.name, text, difference, helpers)


def check_text(file: str, text: str, difference: Difference, helpers: Iterable[Helper] = ()) -> list[Finding]:
    """What is found of the hop in the text of a file, as `check`; a text that is none is one finding, malformed_hop."""
    try:
        # The node that evaluates it runs the release that the hop leads from.
        major = difference.old.otp_major
        hop = read_hop(file, text, int(major) if major.isdecimal() else None)
    except ReadError as error:
        return [_malformed(error)]
    return check(hop, difference, helpers)


def check(hop: Hop, difference: Difference, helpers: Iterable[Helper] = ()) -> list[Finding]:
    """What is found of a hop between two releases, with the helpers of its catalogue; in the order of the file."""
    facts = {found.name: found for found in map(facts_of, helpers)}
    case = Case(hop, difference, facts)
    # What is wrong twice is told once, where it first is.
    found: dict[tuple[str, str], Finding] = {}
    rules = releases.RULES if hop.problems else RULES
    for finding in sorted((finding for rule in rules for finding in rule(case)), key=_place):
        found.setdefault((finding.err_type, finding.message), finding)
    return list(found.values())


def is_failed(findings: Iterable[Finding], *, strict: bool = False) -> bool:
    """Whether a hop does not pass: it has an error, or if ``strict`` a warning."""
    severities = {finding.severity for finding in findings}
    return "error" in severities or (strict and "warning" in severities)


def _malformed(error: ReadError) -> Finding:
    return Finding("malformed_hop", "error", sentence(error.message), error.line, error.column)


def _place(finding: Finding) -> tuple[int, int, int]:
    return finding.line, finding.column, SEVERITIES.index(finding.severity)
