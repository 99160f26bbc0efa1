"""What programs and hosts say about a connection, for people."""

import re

_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)?")
_CONTROL = re.compile(r"[^\n\t\x20-\x7e\xa0-\U0010ffff]")


def shown(text: str) -> str:
    """``text`` without what would move a terminal's cursor, or colour it."""
    return _CONTROL.sub("", _ESCAPE.sub("", text))
