"""What a ledger holds of hosts, perhaps of another version: a value of the wrong kind counts as absent."""

from typing import Any

LARGEST = 1e15
"""No number that a run has to do with is larger: it is 30,000 years in milliseconds."""


def mapping(value: Any) -> dict[str, Any]:
    """``value`` if it is a dictionary."""
    return value if isinstance(value, dict) else {}


def mappings(value: Any) -> list[dict[str, Any]]:
    """The dictionaries in the list ``value``."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def text(value: Any) -> str:
    """``value`` as text; empty for None."""
    return "" if value is None else str(value)


def number(value: Any) -> float | None:
    """``value`` if it is a number that can be meant, and is not negative."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if 0 <= value <= LARGEST else None
