"""What a shell may complete beyond commands and options: hosts of the inventory, runs, and values there are few of."""

import contextlib
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from invoke.tasks import Task

from relup_remote.commands.options import option as declared
from relup_remote.manual.synopsis import parameters
from relup_remote.rollout.plan import GATES
from relup_remote.usage import UsageError

RUN_COMMANDS = ("report",)
"""Commands that are given a run by position."""


def candidates(words: Sequence[str], tasks: Mapping[str, "Task[Any]"]) -> list[str] | None:
    """What can stand for the value that the last of ``words`` is, or that is to follow it; None if that is no value.

    ``words`` are those after the program's name, ``tasks`` the commands by name. An empty list leaves it to the shell,
    which completes files.
    """
    command = next((word for word in words if word in tasks), None)
    if command is None:
        return None
    option, begun = _at(words)
    if option is None and not words[-1].startswith("-"):
        return _by_position(command, words[words.index(command) + 1 :])
    if option is None:
        return None
    known = _values(tasks[command], option, words)
    # Of a list, only the last name is still open.
    before = begun[: begun.rfind(",") + 1]
    return None if known is None else [f"{before}{value}" for value in known]


def _at(words: Sequence[str]) -> tuple[str | None, str]:
    """The option whose value is to be completed, without dashes, and what of the value there is."""
    if words[-1].startswith("--"):
        name, _, begun = words[-1][2:].partition("=")
        return name, begun
    if len(words) > 1 and words[-2].startswith("--") and "=" not in words[-2]:
        return words[-2][2:], words[-1]
    return None, ""


def _by_position(command: str, given: Sequence[str]) -> list[str] | None:
    """The values that are given by their position; the last of those ``given`` is still open."""
    if command in RUN_COMMANDS:
        return _runs() if given else None
    if command != "hop.show" or not given:
        return None
    pairs = _hops()
    targets = [target for source, target in pairs if source == given[0]]
    return sorted({source for source, _ in pairs}) if len(given) == 1 else targets if len(given) == 2 else []


def _values(task: "Task[Any]", option: str, words: Sequence[str]) -> list[str] | None:
    """The values of an option, none where they are files; None for an option that is not known or takes no value."""
    names = {each.name.strip("_").replace("_", "-"): each for each in parameters(task)}
    parameter = names.get(option)
    if parameter is None or parameter.default is False:
        return None
    sources: Mapping[str, Callable[[], list[str]]] = {
        "host": lambda: _hosts(words),
        "resume": _runs,
        "gates": lambda: [*GATES, "none"],
        "paths.from": lambda: sorted({source for source, _ in _hops()}),
    }
    for name in (f"{task.name}.{option}", option):
        if name in sources:
            return sources[name]()
    known = declared(task.name, parameter.name)
    return list(known.choices) or (known.value.split("|") if "|" in known.value else [])


def _hosts(words: Sequence[str]) -> list[str]:
    """Hosts and groups of the inventory that the command would use; none if it can't be read."""
    from relup_remote import inventory  # noqa: PLC0415

    named = words[words.index("--inventory") + 1] if "--inventory" in words[:-1] else None
    # A shell that completes wants no word on which inventory that is.
    with contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(UsageError):
        found = inventory.load(inventory.locate(named))
        return [*(host.name for host in found.hosts), *found.groups]
    return []


def _hops() -> list[tuple[str, str]]:
    """The versions that the hops of the catalogue lead from and to; none if it can't be read."""
    from relup_remote.hops import catalogue  # noqa: PLC0415

    with contextlib.suppress(UsageError, OSError):
        return [(hop.from_vsn, hop.target) for hop in catalogue.load(*catalogue.locate("")).hops]
    return []


def _runs() -> list[str]:
    from relup_remote.rollout import ledger  # noqa: PLC0415

    with contextlib.suppress(UsageError):
        return [ledger.LAST, *(record.run for record in ledger.runs())]
    return [ledger.LAST]
