"""The one document that a command prints with ``--json``. What has a masked form is printed in it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from relup_remote.rollout.rows import Row
from relup_remote.usage import UsageError


def rows_document(command: str, run: str | None, rows: Sequence[Row], ok: bool) -> dict[str, Any]:
    """The document of a command that went to hosts, and whether all went as it was meant to.

    ``run`` is its name where another command knows it.
    """
    return {"command": command, "ok": ok, "run": run, "hosts": list(rows)}


def usage_document(command: str, error: UsageError) -> dict[str, Any]:
    """The document of a command that could not begin."""
    return {
        "command": command,
        "ok": False,
        "run": None,
        "error": {
            "stage": "usage",
            "err_type": error.err_type,
            "message": error.message,
            "hint": error.hint,
            "detail": {},
        },
        "hosts": [],
    }


def text(document: Mapping[str, Any]) -> str:
    """The document as it is printed."""
    return json.dumps(document, indent=2, default=str, allow_nan=False)


def line(document: Mapping[str, Any]) -> str:
    """The document, or an event, on one line."""
    return json.dumps(document, separators=(",", ":"), default=str, allow_nan=False)
