"""Answering the questions of a draft as an author does: by correcting what follows them, and removing them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_QUESTION = re.compile(r"^ *%% REVIEW: (.*\n(?: *%%         .*\n)*)", re.MULTILINE)


@dataclass(frozen=True)
class Change:
    """A part of the line below a question, and what takes its place."""

    part: str
    other: str


KEEP = Change("", "")
"""The line is right as it is."""


def questions(text: str) -> list[str]:
    """What a draft asks, each question on one line."""
    return [re.sub(r"\s*%%\s+|\s+", " ", found).strip() for found in _QUESTION.findall(text)]


def answered(text: str, answers: Mapping[str, Change]) -> str:
    """A draft whose questions are all answered: ``answers`` by a part of each question. Each is asked once."""
    asked = questions(text)
    for part in answers:
        assert sum(part in question for question in asked) == 1, f"not asked once: {part}: {asked}"
    pieces = _QUESTION.split(text)
    for index, question in enumerate(asked):
        found = [change for part, change in answers.items() if part in question]
        assert found, f"no answer to: {question}"
        answer = found[0]
        following = pieces[2 * index + 2]
        assert answer.part in following, f"{answer.part} does not follow: {question}"
        pieces[2 * index + 2] = following.replace(answer.part, answer.other, 1)
    return "".join(pieces[::2])
