"""What a hop's instructions say of the processes that they suspended, in words for people.

The agent counts: ``0 processes, suspended for 0.3 ms`` is what it says of an update that found no process.
"""

import re
from collections.abc import Sequence

_UPDATED = re.compile(r"(\d+)( to \d+)? process(?:es)?, suspended for [\d.]+(?: to [\d.]+)? ms")
_TO_CHANGE = "; the state of 0 processes changes"


def did(does: str) -> str:
    """What an instruction did, or will do, where ``does`` is the agent's word for it."""
    found = _UPDATED.fullmatch(does)
    if found and _is_none(found):
        return "no process was suspended"
    if does.endswith(_TO_CHANGE):
        return f"{does.removesuffix(_TO_CHANGE)}; no process has a state to change"
    return does


def was_any(all_that_was_done: Sequence[str]) -> bool:
    """Whether a process was suspended by any of these instructions; where that can't be told, one may have been."""
    found = [_UPDATED.fullmatch(does) for does in all_that_was_done if "suspended" in does]
    return not found or any(match is None or not _is_none(match) for match in found)


def _is_none(found: re.Match[str]) -> bool:
    """Whether no process was suspended, on none of the hosts that are told together."""
    return int(found[1]) == 0 and not found[2]
