"""Putting a draft together."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from relup_remote.hops.catalogue import Helper
from relup_remote.hops.compare import Difference
from relup_remote.hops.draft import knowledge, questions
from relup_remote.hops.draft.callbacks import Callback, helper
from relup_remote.hops.draft.order import Kind, Step
from relup_remote.hops.draft.reasons import instruction, remarks, why
from relup_remote.hops.draft.steps import Steps
from relup_remote.hops.draft.text import REVIEW, Line, hop_text


@dataclass(frozen=True)
class Draft:
    """The text of a hop file, and the module that has its callbacks, where one is needed."""

    text: str
    helper: Helper | None

    def contents(self, file: Path) -> dict[Path, str]:
        """What is to be written where the hop is to be ``file``: the helper is beside it, and comes first."""
        beside = {file.parent / self.helper.file: self.helper.text} if self.helper else {}
        return {**beside, file: self.text}

    @property
    def questions(self) -> int:
        """How many questions the author is asked."""
        return self.text.count(REVIEW) + (self.helper.text.count(REVIEW) if self.helper else 0)


def draft(difference: Difference, callbacks: Sequence[Callback] = ()) -> Draft:
    """A hop over a difference, which calls ``callbacks`` in the end."""
    steps = Steps(difference)
    own = helper(callbacks, difference.new)
    text = hop_text(
        (difference.old.version, difference.new.version),
        remarks(steps),
        [*questions.of_release(steps, bool(callbacks)), *knowledge.questions(difference)],
        _changes(steps),
        [_callback(callback, own) for callback in callbacks],
    )
    return Draft(text, own)


def _changes(steps: Steps) -> list[Line]:
    lines = [line for group in steps.order for line in _lines(group, steps)]
    known = [Line(text, reason) for text, reason in knowledge.instructions(steps.difference)]
    # The version comes last of all, where nothing needs it before.
    at = len(lines) - bool(lines and steps.order[-1][-1].kind is Kind.RELEASE)
    return [*lines[:at], *known, *lines[at:]]


def _lines(group: list[Step], steps: Steps) -> list[Line]:
    """The lines of steps that are taken together; what is asked about all of them stands before the first."""
    asked = [questions.of_step(step, steps) for step in group]
    asked[0] = questions.of_group(group) + asked[0]
    return [Line(instruction(step), why(step, group, steps), asks) for step, asks in zip(group, asked, strict=True)]


def _callback(callback: Callback, own: Helper | None) -> Line:
    asked = [f"What does {callback.name} get after the version?"] if callback.others else []
    return Line(callback.term, f"declared; in {own.file if own else questions.CALLBACKS}", asked)
