"""A report as a document: the model's own names, as `docs/report.md` lists them."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from relup_remote.report.model import Report
from relup_remote.summary import json as documents


def document(report: Report) -> dict[str, Any]:
    """The document of the command; ``report`` in it is the model."""
    return {"command": "report", "ok": True, "run": report.run, "report": _plain(report)}


def render(report: Report) -> str:
    """The document as it is printed."""
    return documents.text(document(report)) + "\n"


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        fields = {each.name: _plain(getattr(value, each.name)) for each in dataclasses.fields(value)}
        return {("from" if name == "from_vsn" else name): each for name, each in fields.items()}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return dict(value) if isinstance(value, Mapping) else value
