"""What hosts said, taken for no more than it is: a value of the wrong kind counts as absent."""

import math
from typing import Any


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
    """``value`` if it is a finite number that is not negative."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if math.isfinite(value) and value >= 0 else None
