"""The command `relup`: the same commands as `inv`'s, for those who have no checkout."""

import os
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby, pairwise
from typing import Any

from invoke.exceptions import Exit, ParseError
from invoke.parser.context import ParserContext
from invoke.program import Program
from invoke.tasks import Task

from relup_remote import program, streams, version
from relup_remote.commands import namespace
from relup_remote.commands.options import CHANGING_COMMANDS, LOCAL, OPTIONS, option
from relup_remote.manual import meant
from relup_remote.manual.completion import RUN_COMMANDS, candidates
from relup_remote.manual.entries import LOCAL_STATUSES, MANUAL, STATUSES, entry, place
from relup_remote.manual.help import help_text, lab_help, running, statuses_text, two_columns
from relup_remote.manual.synopsis import parameters, usage
from relup_remote.rollout.ledger import LAST
from relup_remote.summary import json as documents
from relup_remote.summary.layout import folded
from relup_remote.summary.text import columns
from relup_remote.usage import WHAT_WAS_DONE, Interrupted, UsageError

MEANINGLESS = {
    "dry": "`upgrade`, `rollback` and `cleanup` have --check",
    "warn-only": "",
    "pty": "",
    "echo": "",
    "hide": "",
    "command-timeout": "the commands have their own time limits, such as --deadline 30m",
    "prompt-for-sudo-password": "--ask-sudo-password asks for it",
    "no-dedupe": "",
    "config": "",
}
"""Invoke's options for tasks that run shell commands, which ours do not, and what to use instead."""

CORE_OPTIONS = {
    "--help [COMMAND]": "Explain a command; without one, show this.",
    "--list": "List the commands.",
    "--version": "Show the version.",
    "--print-completion-script SHELL": "Print what makes bash, zsh or fish complete commands, hosts and runs.",
    "--debug": "Log what the program does, on stderr.",
}
"""Invoke's options that mean something here."""

LAB_COMMANDS = "lab"
"""What the names of the lab's commands begin with."""

CORE_FLAGS = [each.partition(" ")[0] for each in CORE_OPTIONS]


class UsageProgram(Program):
    """An Invoke program for operators.

    Options that it can't parse are wrong use, exit status 2, where Invoke has 1. Commands are listed by what they are
    for, their help is the manual's, and a shell completes hosts and runs.
    """

    def create_config(self) -> None:
        """Have Invoke's defaults: its files in the home folder, which may be none, mean nothing to these commands."""
        self.config = self.config_class(lazy=True)

    def parse_core(self, argv: list[str] | None) -> None:
        """Parse the options before the command."""
        with _wrong_use(), _readers_may_leave():
            super().parse_core(argv)

    def parse_tasks(self) -> None:
        """Parse commands and their options."""
        words = list(self.core.unparsed)
        with _wrong_use(words), _readers_may_leave():
            self._help_first()
            self._check_values(self.core.unparsed)
            try:
                super().parse_tasks()
            except ParseError as error:
                if not _lacks_a_run(error):
                    raise self._explained(error) from None
                self.core.unparsed.append(LAST)
                super().parse_tasks()
            self._check_positions()
            self._check_core_options()

    def parse_cleanup(self) -> None:
        """Show help and lists, and complete words, if that is asked for."""
        with _wrong_use(), _readers_may_leave():
            if self.args.complete.value:
                self._complete()
            self._check_listed()
            try:
                super().parse_cleanup()
            except ParseError as error:
                raise self._explained(error) from None

    def execute(self) -> None:
        """Carry out the commands. What could not be printed is told, and is no success."""
        words = self.argv[1:]
        changes = any(self.collection[context.name].name in CHANGING_COMMANDS for context in self.tasks)
        try:
            try:
                super().execute()
            except Exit as ended:
                _check_printed(ended.code, ended.message, changes=changes)
                raise
            _check_printed(0, changes=changes)
        except KeyboardInterrupt:
            # It came before the command could take it, or after.
            raise _complained(Interrupted(may_be_changed=changes), words) from None

    def no_tasks_given(self) -> None:
        """List the commands: who types none wants to know which there are."""
        self.list_flat()
        raise Exit

    def print_help(self) -> None:
        """Print how to call the program, its commands, and the options that come before a command."""
        print(f"Usage: {self._program} COMMAND [options]\n")
        self.list_flat()
        print("Options:")
        self.print_columns(list(CORE_OPTIONS.items()))
        print(statuses_text(STATUSES))

    def print_columns(self, tuples: Sequence[tuple[str, str | None]]) -> None:
        """Print names and what is said of them, within the terminal; no word is broken."""
        print(f"{two_columns(tuples)}\n")

    def list_flat(self) -> None:
        """List all commands by group; those of one collection as Invoke does."""
        if self.list_root:
            super().list_flat()
            return
        said = f"`{self._program} --help COMMAND` explains a command, its options and its exit statuses."
        print(f"{running(said)}\n")
        pairs = [(_as_typed(name), said) for name, said in self._make_pairs(self.collection)]
        pairs.sort(key=lambda pair: place(pair[0]))
        width = max(len(name) for name, _ in pairs)
        for title, listed in groupby(pairs, key=lambda pair: entry(pair[0]).group):
            print(f"{title}:")
            # Padded, so that the columns of all groups are the same.
            self.print_columns([(name.ljust(width), said) for name, said in listed])

    def print_task_help(self, name: str) -> None:
        """Print what the manual has on a command; on one of the lab, what Invoke has."""
        if name not in MANUAL:
            flags = self.parser.contexts[name].help_tuples()
            print(lab_help(f"{self._program} {name}", self.collection[name].__doc__ or "", flags))
            print(statuses_text(LOCAL_STATUSES))
            return
        task = self.collection[name]
        before, after = help_text(self._program, name, task)
        print(f"{before}\n\nOptions:")
        self.print_columns([(usage(task, each), option(task.name, each.name).meaning) for each in parameters(task)])
        print(after)

    @property
    def _program(self) -> str:
        return program.name()

    def _check_values(self, words: Sequence[str]) -> None:
        """Invoke lets an option that may be repeated go without its value: ``--host`` alone would mean all hosts."""
        command = _command_in(words)
        for word, following in pairwise([*words, "--"]):
            flag, equals, given = word.partition("=")
            value = given if equals else following
            if flag in _REPEATABLE and (not value or value.startswith("-")):
                known = command in self.collection.task_names or command in MANUAL
                hint = f"`{self._program} --help {command}` lists its options." if known else self._help_hint()
                task = self._task_name(command) if known else ""
                raise UsageError("bad_option", f"{command}: {_needs_value(task, flag[2:])}", hint)

    def _check_listed(self) -> None:
        """Refuse to list commands that are not there. Raises `UsageError`."""
        listed = self.args.list.value
        if not isinstance(listed, str) or not listed or listed in self.collection.collections:
            return
        if listed in self.collection.task_names:
            hint = f"`{self._program} --help {listed}` explains it."
            raise UsageError("bad_option", f"{listed} is one command, not a group of commands", hint)
        raise self._unknown(listed, None, self._help_hint())

    def _check_core_options(self) -> None:
        """Refuse the options of Invoke's that would be taken and do nothing. Raises `UsageError`.

        The version is shown wherever it is asked for.
        """
        if self.args.version.value:
            self.print_version()
            raise Exit
        for name, instead in MEANINGLESS.items():
            if name in self.args and self.args[name].got_value:
                hint = f"{instead[0].upper()}{instead[1:]}." if instead else "Leave it out."
                raise UsageError("bad_option", f"--{name} means nothing to these commands; nothing was done", hint)

    def _explained(self, error: ParseError) -> Exception:
        """What is wrong, in our words: which command has no such option, and which one was perhaps meant."""
        command = _typed_name(error.context)
        hint = f"`{self._program} --help {command}` lists its options." if command else self._help_hint()
        said = str(error)
        if error.context is not None and (swallowed := _taken_for_an_argument(error.context)):
            return self._unknown(swallowed, error.context, hint)
        if unknown := re.fullmatch(r"No idea what '(.*)' is!", said, re.DOTALL):
            return self._unknown(unknown[1], error.context, hint)
        if flag := re.match(r"Flag (?:<Argument: |')?(?:--)?([\w-]+).* needed value", said):
            return UsageError("bad_option", f"{command}: {_needs_value(self._task_name(command), flag[1])}", hint)
        if re.search("did not receive required positional", said):
            task = self.collection[command]
            wanted = _missing(command, task, error.context)
            message = f"{command}: {meant.listed(wanted)} {'is' if len(wanted) == 1 else 'are'} missing"
            return UsageError("bad_option", message, hint.replace("lists its options", "shows how to call it"))
        return error

    def _unknown(self, word: str, context: ParserContext | None, hint: str) -> UsageError:
        """An option or a word that no command takes."""
        command = _typed_name(context)
        if word.startswith("-"):
            return UsageError("bad_option", *self._unknown_option(word, context, hint))
        if word.partition(".")[0] == LAB_COMMANDS and not self._has_lab:
            message = f"there is no command {word!r} here: the lab comes with the git checkout of relup_remote"
            return UsageError("bad_option", message, f"{_in_checkout(word)} in the folder of the checkout.")
        names = [str(each) for name, more in self.collection.task_names.items() for each in (name, *more)]
        # `backup list` for `backup.list`; `hop` for all that begin so; `help` for `--help`.
        parts = [f"{command.partition('.')[0]}.{word}"] if command else []
        below = [name for name in names if name in parts or name.startswith(f"{word}.")]
        known = meant.COMMANDS.get(word, "")
        close = [known] if known in names else meant.nearest(word, [*names, *CORE_FLAGS])
        said = meant.asked(sorted(below) or close)
        again = self._given_again(word, context)
        if again:
            several = " Several catalogues have a colon between them." if again == "--catalogue" else ""
            return UsageError("bad_option", f"{command}: {again} is given twice", f"Give it once.{several}")
        if command and not said:
            hosts = "" if self.collection[command].name in LOCAL else " Hosts are named with --host."
            return UsageError("bad_option", f"{command} takes no argument {word!r}", hint + hosts)
        return UsageError("bad_option", f"there is no command {word!r}{said}", self._help_hint())

    def _given_again(self, word: str, context: ParserContext | None) -> str:
        """The option that takes one value and was given before, if ``word`` is its second value."""
        words = self.argv[1:]
        for before, value in pairwise(words):
            flag = context.flags.get(before) if context and value == word else None
            times = sum(each.partition("=")[0] == before for each in words)
            if flag is not None and flag.takes_value and flag.kind is not list and times > 1:
                return before
        return ""

    def _unknown_option(self, word: str, context: ParserContext | None, hint: str) -> tuple[str, str]:
        """What is said of an option that a command does not have, and the hint: others may have it."""
        command = _typed_name(context)
        own = [*context.flags] if context and command else CORE_FLAGS
        others = self._options()
        others.pop(command, None)
        who = f"{command} has no option {word}" if command else f"there is no option {word} before a command"
        meant_here, meant_there = meant.option(word, own, others)
        if not meant_there:
            return f"{who}{meant.asked(meant_here)}", hint
        whose = f"an option of {meant.commands(meant_there, others)}"
        if not command:
            hint = f"Options of a command are typed after it. {hint}"
        if meant_there == word:
            return f"{who}: it is {whose}", hint
        return f"{who}; did you mean {meant_there}? It is {whose}", hint

    def _options(self) -> dict[str, list[str]]:
        """The options of each command, as they are typed, in the manual's order."""
        contexts = {_typed_name(each): [*each.flags] for each in self.collection.to_contexts()}
        return dict(sorted(contexts.items(), key=lambda item: place(item[0])))

    @property
    def _has_lab(self) -> bool:
        return LAB_COMMANDS in self.collection.collections

    def _check_positions(self) -> None:
        """Refuse an option that was taken for what is given by its position. Raises `UsageError`."""
        for context in self.tasks:
            if word := _taken_for_an_argument(context):
                raise self._unknown(
                    word, context, f"`{self._program} --help {_typed_name(context)}` lists its options."
                )

    def _task_name(self, command: str) -> str:
        return str(self.collection[command].name) if command else ""

    def _help_hint(self) -> str:
        return f"`{self._program} --list` shows the commands."

    def _help_first(self) -> None:
        """Help on a command comes before its arguments are looked for: Invoke misses those of ``hop.show --help``."""
        words = self.core.unparsed
        if words and {"--help", "-h"} & set(words[1:]):
            self.args.help.value = words[0]
            self.core.unparsed = []

    def _complete(self) -> None:
        """Complete a value, a command, or an option before one; a command's options are Invoke's. Raises `Exit`."""
        try:
            words = shlex.split(self.core.remainder)[1:]
        except ValueError:  # a quote that is still open
            raise Exit from None
        names = (each for name, aliases in self.collection.task_names.items() for each in (name, *aliases))
        tasks = {name: self.collection[name] for name in names}
        found = candidates(words, tasks) if words else None
        if found is None and not (words and words[-1].startswith("-")):
            found = sorted(_as_typed(name) for name, _ in self._make_pairs(self.collection))
        elif found is None and not any(word in tasks for word in words):
            found = CORE_FLAGS
        if found is not None:
            # Nothing at all, not even an empty line, leaves it to the shell.
            print("\n".join(found), end="\n" if found else "")
            raise Exit


def _lacks_a_run(error: ParseError) -> bool:
    """Whether nothing is missing but the run, which Invoke has no default for: it is given by its position."""
    return error.context is not None and error.context.name in RUN_COMMANDS and "positional" in str(error)


def _as_typed(listed: str) -> str:
    """A command's name as operators know it: Invoke lists one that stands for its collection as ``x.create (x)``."""
    name, _, collection = listed.partition(" (")
    return collection.rstrip(")") or name


_REPEATABLE = {f"--{name}" for name, each in OPTIONS.items() if each.repeats}


def _needs_value(task: str, flag: str) -> str:
    """What is said of an option that lacks its value: which one it is, and what it means."""
    name = flag.strip("_").replace("-", "_")
    known = next((each for each in (f"{task}.{name}", f"{task}.{name}_", name, f"{name}_") if each in OPTIONS), None)
    meaning = f": {OPTIONS[known].meaning.partition(' (')[0]}" if known else ""
    return f"--{flag.strip('_')} needs a value{meaning}"


def _taken_for_an_argument(context: ParserContext) -> str:
    """The option that a command does not have, and that Invoke took for what is given by its position; or nothing."""
    values = (str(each.value or "") for each in context.positional_args)
    return next((value for value in values if value.startswith("--")), "")


def _missing(command: str, task: "Task[Any]", context: ParserContext | None) -> list[str]:
    """What a command needs and was not given, by position or as an option."""
    by_position = [each.name for each in context.missing_positional_args] if context else []
    flags = {each.attr_name or each.name: each for each in context.args.values()} if context else {}
    options = [name for name in entry(command).required if name in flags and not flags[name].got_value]
    missing = {*by_position, *options}
    return [usage(task, each) for each in parameters(task) if each.name in missing]


def _typed_name(context: ParserContext | None) -> str:
    """The command of a context, as operators type it; empty where there is none."""
    if context is None or not context.name:
        return ""
    return next((alias for alias in context.aliases if alias in MANUAL), str(context.name))


def _in_checkout(word: str) -> str:
    """What to do for a command of the lab, of which this program knows none."""
    return f"Type `inv {word}`" if "." in word else f"Type `inv --list {word}`, which shows its commands,"


def _command_in(words: Sequence[str]) -> str:
    """The command among the words of a command line: the first that is no option."""
    return next((word for word in words if not word.startswith("-")), "")


def _complained(error: UsageError, words: Sequence[str]) -> Exit:
    """What ends the program with a sentence on ``error``. It prints the document, if the ``words`` ask for one."""
    if {"--json", "--events"} & {word.partition("=")[0] for word in words}:
        print(program.typed(documents.text(documents.usage_document(_command_in(words), error))))
    said = program.typed(f"{error.message} ({error.hint})")
    return Exit(folded(said, columns(sys.stderr)), code=error.exit_status)


@contextmanager
def _wrong_use(words: Sequence[str] = ()) -> Iterator[None]:
    """Turn wrong use into a sentence and exit status 2; a document as well where the ``words`` ask for one."""
    try:
        yield
    except UsageError as error:
        raise _complained(error, words) from None
    except KeyboardInterrupt:
        raise _complained(Interrupted(), words) from None
    except ParseError as error:
        # Invoke shows an option that lacks its value by the representation of an object.
        lacking = re.match(r"Flag (?:<Argument: |')?(?:--)?([\w-]+).* needed value", str(error))
        raise Exit(f"--{lacking[1]} needs a value" if lacking else str(error), code=2) from None
    except ValueError as error:
        # Invoke makes a number of the value itself where the default is one.
        value = str(error).partition(": ")[2]
        if not str(error).startswith("invalid literal for int()"):
            raise
        raise Exit(f"an option that takes a whole number was given {value}", code=2) from None


@contextmanager
def _readers_may_leave() -> Iterator[None]:
    """A reader of stdout that has seen enough is no error: `relup --list | head`."""
    try:
        try:
            yield
        finally:
            _check_printed(0)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise Exit from None


def _check_printed(status: int | None, message: str | None = None, *, changes: bool = False) -> None:
    """Raises `Exit` if not all could be printed, as on a full disk. It says the ``message`` of the command, too.

    After a command that ``changes`` hosts it says where one sees what was done.
    """
    try:
        why = streams.unprinted()
    except BrokenPipeError:
        # Whoever read has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    if why is not None:
        told = program.typed(f"The output could not be written: {why}.{f' {WHAT_WAS_DONE}' if changes else ''}")
        lines = [message] if message else []
        raise Exit("\n".join([*lines, folded(told, columns(sys.stderr))]), code=status or 1)


def main() -> None:
    """Run `relup` with the arguments of this process."""
    streams.prepare()
    UsageProgram(
        name="relup", binary="relup", binary_names=["relup"], namespace=namespace(), version=version.installed()
    ).run()


if __name__ == "__main__":
    main()
