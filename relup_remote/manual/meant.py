"""What was perhaps meant by a word that no command, or not this command, knows."""

import difflib
import re
from collections.abc import Mapping, Sequence

from relup_remote.commands.options import either

FROM_ELSEWHERE = {"--dry-run": "--check"}
"""Options of other tools, and ours that do the same."""

COMMANDS = {"backups": "backup.list"}
"""What looks like a command, beside `runs`, `hosts` and `logs`, and the command that does it."""

_MOST = 6
"""Commands that are listed at most for an option."""

_CLOSE, _CLOSER = 0.6, 0.8
"""How like a word must be, from 0 to 1: one of the same command, and one of others."""


def nearest(word: str, known: Sequence[str], cutoff: float = _CLOSE) -> list[str]:
    """The one of the ``known`` that is most like ``word``, or none."""
    short = [each for each in known if re.fullmatch("-[a-z]", each) and word.startswith(f"-{each}")]
    close = short or difflib.get_close_matches(word.lower(), known, n=1, cutoff=cutoff)
    if not close and re.fullmatch("-[a-z]", word):
        # The only long option that begins so.
        begin_so = [each for each in known if each.startswith(f"-{word}")]
        close = begin_so if len(begin_so) == 1 else []
    return close[:1]


def option(word: str, own: Sequence[str], others: Mapping[str, Sequence[str]]) -> tuple[list[str], str]:
    """What an unknown option ``word`` may mean: one of a command's ``own``, else one of ``others``, or nothing.

    ``others`` are the options of the other commands, by command. An option that is spelled right comes before one that
    is only like it.
    """
    same = FROM_ELSEWHERE.get(word, "")
    if same in own:
        return [same], ""
    theirs = sorted({each for flags in others.values() for each in flags if each.startswith("--") or each == word})
    if word in theirs:
        return [], word
    here, there = nearest(word, own), nearest(word, theirs, _CLOSER) if word.startswith("--") else []
    if there and (not here or _likeness(word, there[0]) > _likeness(word, here[0])):
        return [], there[0]
    return here, ""


def commands(flag: str, others: Mapping[str, Sequence[str]]) -> str:
    """The commands that have an option: ``plan, stage, prepare and upgrade``."""
    having = [command for command, flags in others.items() if flag in flags]
    if len(having) == len(others):
        return "every command"
    more = len(having) - _MOST
    return listed([*having[:_MOST], f"{more} others"] if more > 1 else having)


def listed(names: Sequence[str]) -> str:
    """The names as one reads them: ``a, b and c``."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def asked(close: Sequence[str]) -> str:
    """What was perhaps meant, as the end of a sentence; empty if nothing is."""
    return f"; did you mean {either(close)}?" if close else ""


def _likeness(word: str, known: str) -> float:
    return difflib.SequenceMatcher(None, word.lower(), known).ratio()
