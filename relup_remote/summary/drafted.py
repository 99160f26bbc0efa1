"""What the drafting of a hop came to: for people, and for ``--json``."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from relup_remote.hops.check import Finding
from relup_remote.hops.compare import Difference
from relup_remote.hops.draft import Draft
from relup_remote.summary import checked


def document(
    file: Path, difference: Difference, made: Draft, written: Collection[Path], findings: Sequence[Finding]
) -> dict[str, Any]:
    """The draft, where it was ``written``, and what its check found."""
    return {
        **checked.document(file, difference, findings),
        "written": [str(path) for path in written],
        "questions": made.questions,
        "text": made.text,
        "helper": made.helper and {"file": made.helper.file, "text": made.helper.text},
    }


def text(
    file: Path, difference: Difference, made: Draft, written: Collection[Path], findings: Sequence[Finding]
) -> str:
    """What was written, what is left to the author, and what the check found."""
    questions = {0: "no question", 1: "1 question"}.get(made.questions, f"{made.questions} questions")
    lines = [*(f"written: {path}" for path in written), f"{questions} left to the author, in lines with REVIEW"]
    return "\n\n".join(["\n".join(lines), checked.text(file, difference, findings)])
