"""The report of a run: what its ledger tells, as a page, as Markdown, as JUnit XML, or as JSON."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TextIO

from relup_remote.report.model import Report
from relup_remote.report.reading import report_of
from relup_remote.rollout.ledger import Record

FORMATS: Mapping[str, str] = {"html": "html", "md": "markdown", "json": "json", "junit": "junit"}
"""The formats, and the module of this package that renders each."""

SUFFIXES: Mapping[str, str] = {"html": "html", "md": "md", "json": "json", "junit": "xml"}
"""How the names of their files end."""


def write(record: Record, format: str, out: TextIO) -> None:
    """Write the report of a run to ``out``, in one of the `FORMATS`."""
    out.write(render(report_of(record), format))


def render(report: Report, format: str) -> str:
    """A report as text in one of the `FORMATS`."""
    # Only one is needed, and a template engine takes its time to import.
    text: Callable[[Report], str] = import_module(f"{__name__}.{FORMATS[format]}").render
    return text(report)
