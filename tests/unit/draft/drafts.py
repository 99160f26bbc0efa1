"""Drafts between made up releases: as text, as read back, and as checked."""

from relup_remote.hops.check import Finding, check_text
from relup_remote.hops.compare import Difference
from relup_remote.hops.draft import Callback, draft
from relup_remote.hops.hop import Hop
from relup_remote.hops.hop_file import read_hop


def drafted(difference: Difference, *callbacks: Callback) -> str:
    return draft(difference, callbacks).text


def read(difference: Difference, *callbacks: Callback) -> Hop:
    return read_hop("a.relup", drafted(difference, *callbacks))


def changes(difference: Difference) -> list[str]:
    """The instructions of the draft as they are read back."""
    return [getattr(change, "text", "") for change in read(difference).changes]


def found(difference: Difference, *callbacks: Callback) -> list[Finding]:
    """What the check finds of the draft, notes aside."""
    made = draft(difference, callbacks)
    helpers = [made.helper] if made.helper else []
    return [finding for finding in check_text("a.relup", made.text, difference, helpers) if finding.severity != "note"]


def line(difference: Difference, part: str, *callbacks: Callback) -> str:
    """The line of the draft that has a part; there is one."""
    (only,) = [each for each in drafted(difference, *callbacks).splitlines() if part in each]
    return only.strip()


def questions(difference: Difference, *callbacks: Callback) -> list[str]:
    """What the draft asks, each on one line."""
    asked: list[str] = []
    for each in drafted(difference, *callbacks).splitlines():
        comment = each.strip()
        if comment.startswith("%% REVIEW: "):
            asked.append(comment.removeprefix("%% REVIEW: "))
        elif comment.startswith("%%         ") and asked:
            asked[-1] += f" {comment.removeprefix('%%').strip()}"
    return asked
