"""Drafting a hop: what gets a node from one release to another, as far as the two of them tell.

The same releases give the same text. What they don't tell is asked in the text itself, in lines that begin with
`%% REVIEW:`; the answers are the author's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from relup_remote.hops.compare import Difference
from relup_remote.hops.draft import questions
from relup_remote.hops.draft.callbacks import Callback, Helper, helper
from relup_remote.hops.draft.order import Step
from relup_remote.hops.draft.reasons import instruction, remarks, why
from relup_remote.hops.draft.steps import Steps
from relup_remote.hops.draft.text import Line, hop_text

__all__ = ["Callback", "Draft", "Helper", "draft"]


@dataclass(frozen=True)
class Draft:
    """The text of a hop file, and the module that has its callbacks, where one is needed."""

    text: str
    helper: Helper | None


def draft(difference: Difference, callbacks: Sequence[Callback] = ()) -> Draft:
    """A hop over a difference, which calls ``callbacks`` in the end."""
    steps = Steps(difference)
    own = helper(callbacks, difference.new)
    text = hop_text(
        (difference.old.version, difference.new.version),
        remarks(steps),
        list(questions.of_release(steps, bool(callbacks))),
        [line for group in steps.order for line in _lines(group, steps)],
        [_callback(callback, own) for callback in callbacks],
    )
    return Draft(text, own)


def _lines(group: list[Step], steps: Steps) -> list[Line]:
    lines = [Line(instruction(step), why(step, group, steps), [*questions.of_step(step, steps)]) for step in group]
    first = lines[0]
    return [Line(first.text, first.why, [*questions.of_group(group), *first.questions]), *lines[1:]]


def _callback(callback: Callback, own: Helper | None) -> Line:
    asked = [f"What does {callback.name} get after the version?"] if callback.others else []
    return Line(callback.term, f"declared; in {own.file if own else questions.CALLBACKS}", asked)
