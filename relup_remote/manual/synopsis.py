"""How a command is called, from the parameters of its task."""

import inspect
import textwrap
from collections.abc import Iterable
from typing import Any

from invoke.tasks import Task

from relup_remote.commands.options import option
from relup_remote.manual.entries import entry


def parameters(task: "Task[Any]") -> list[inspect.Parameter]:
    """The options of a command, and what is given to it by position."""
    return list(inspect.signature(task.body).parameters.values())[1:]


def usage(task: "Task[Any]", parameter: inspect.Parameter) -> str:
    """An option as it is typed, with what stands for its value: ``--host HOST``."""
    name = parameter.name.strip("_").replace("_", "-")
    declared = option(task.name, parameter.name)
    if parameter.default is parameter.empty:
        return f"[{name.upper()}]" if declared.may_lack else name.upper()
    flag = f"--{name}" if len(name) > 1 else f"-{name}"
    if parameter.default is False:
        return flag
    return f"{flag} [{declared.value}]" if declared.may_lack else f"{flag} {declared.value}"


def synopsis(name: str, task: "Task[Any]") -> list[str]:
    """A command's line in parts: its name, what it needs, and in brackets what it takes besides."""
    given = parameters(task)
    first = [each for each in given if each.default is each.empty or each.name in entry(name).required]
    others = [f"[{usage(task, each)}]" for each in given if each not in first]
    return [name, *(usage(task, each) for each in first), *others]


def line(program: str, parts: Iterable[str], indent: str, width: int) -> str:
    """The synopsis as it is printed: lines of at most ``width`` columns, broken between its parts only."""
    text = textwrap.fill(
        " ".join(part.replace(" ", "\0") for part in (program, *parts)),
        width,
        initial_indent=indent,
        subsequent_indent=f"{indent}{' ' * len(program)} ",
        break_on_hyphens=False,
        break_long_words=False,
    )
    return text.replace("\0", " ")
