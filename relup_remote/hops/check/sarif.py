"""Findings as SARIF, for code review: the format of the OASIS standard "Static Analysis Results Interchange", 2.1.0."""

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from relup_remote.hops.check.findings import Finding

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json"


def log(file: Path, findings: Sequence[Finding]) -> dict[str, Any]:
    """The log of one run. The hop's ``file`` is named relative to the working directory, if it is below it."""
    rules = list(dict.fromkeys(finding.err_type for finding in findings))
    tool = {"name": "relup_remote", "rules": [_rule(err_type, findings) for err_type in rules], **_version()}
    results = [_result(_uri(file), finding, rules.index(finding.err_type)) for finding in findings]
    run = {"tool": {"driver": tool}, "columnKind": "unicodeCodePoints", "results": results}
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(err_type: str, findings: Sequence[Finding]) -> dict[str, Any]:
    spec = next(finding.spec for finding in findings if finding.err_type == err_type)
    return {"id": err_type, "shortDescription": {"text": spec.meaning}, "help": {"text": spec.hint}}


def _result(uri: str, finding: Finding, rule: int) -> dict[str, Any]:
    region = {"startLine": finding.line, "startColumn": finding.column}
    return {
        "ruleId": finding.err_type,
        "ruleIndex": rule,
        "level": finding.severity,
        "message": {"text": finding.message},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": uri}, "region": region}}],
        "properties": {"instruction": finding.n, "detail": dict(finding.detail)},
    }


def _uri(file: Path) -> str:
    path, here = file.absolute(), Path.cwd()
    whole = path.as_uri()
    return whole.removeprefix(f"{here.as_uri()}/") if path.is_relative_to(here) else whole


def _version() -> dict[str, str]:
    try:
        return {"version": version("relup_remote")}
    except PackageNotFoundError:  # a checkout that is not installed
        return {}
