"""What the check of a hop came to: for people, and for ``--json``."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from relup_remote.hops.check import SEVERITIES, Finding
from relup_remote.hops.compare import Difference, Module, by_app
from relup_remote.summary.layout import table
from relup_remote.summary.text import wrap, wrapped

_COLUMN = 76


def document(file: Path, difference: Difference, findings: Sequence[Finding]) -> dict[str, Any]:
    """The findings, and what the releases differ in."""
    return {
        "file": str(file),
        "from": difference.old.version,
        "target": difference.new.version,
        "findings": [_finding(file, finding) for finding in findings],
        "counts": {f"{severity}s": count for severity, count in _counts(findings).items()},
        "modules": {what: by_app(modules.values()) for what, modules in _modules(difference).items()},
        "applications": {
            "added": list(difference.added_apps),
            "removed": list(difference.removed_apps),
            "changed": [name for name, app in difference.kept_apps.items() if app.is_other],
        },
    }


def text(file: Path, difference: Difference, findings: Sequence[Finding]) -> str:
    """A table of the findings between what the releases differ in and what to do."""
    parts = [f"{file}: {difference.old.version} -> {difference.new.version}", "\n".join(_differences(difference))]
    if findings:
        headers = ("line", "instruction", "", "err_type", "what is found")
        parts.append(table(headers, [_line(finding) for finding in findings]))
        parts.append("\n".join(_advice(findings)))
    counts = [f"{count} {severity}{'' if count == 1 else 's'}" for severity, count in _counts(findings).items()]
    return "\n\n".join(part for part in (*parts, ", ".join(counts)) if part)


def _finding(file: Path, finding: Finding) -> dict[str, Any]:
    return {
        "err_type": finding.err_type,
        "severity": finding.severity,
        "file": str(file),
        "line": finding.line,
        "column": finding.column,
        "instruction": finding.n,
        "message": finding.message,
        "hint": finding.spec.hint,
        "detail": dict(finding.detail),
    }


def _line(finding: Finding) -> list[object]:
    message = "\n".join(wrap(finding.message, _COLUMN))
    return [f"{finding.line}:{finding.column}", finding.n, finding.severity, finding.err_type, message]


def _advice(findings: Sequence[Finding]) -> Iterator[str]:
    """What to do about each kind of error and warning, once."""
    for finding in {finding.err_type: finding for finding in findings if finding.severity != "note"}.values():
        yield wrapped(finding.spec.hint, first=f"{finding.err_type}: ")


def _differences(difference: Difference) -> Iterator[str]:
    """The modules that differ, counted by application."""
    for what, modules in _modules(difference).items():
        if modules:
            apps = ", ".join(f"{app} {len(names)}" for app, names in by_app(modules.values()).items())
            yield wrapped(f"{len(modules)} ({apps})", first=f"modules {what}: ")


def _modules(difference: Difference) -> dict[str, Mapping[str, Module]]:
    return {"changed": difference.changed, "added": difference.added, "removed": difference.removed}


def _counts(findings: Sequence[Finding]) -> dict[str, int]:
    found = Counter(finding.severity for finding in findings)
    return {severity: found[severity] for severity in SEVERITIES}
