"""The command `relup`: the same commands as `inv`'s, for those who have no checkout."""

import os
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby, pairwise

from invoke.exceptions import Exit, ParseError
from invoke.program import Program

from relup_remote import version
from relup_remote.commands import namespace
from relup_remote.commands.options import HELP, REPEATABLE, meaning
from relup_remote.manual.completion import RUN_COMMANDS, candidates
from relup_remote.manual.entries import MANUAL, entry, place
from relup_remote.manual.help import help_text
from relup_remote.manual.synopsis import parameters, usage
from relup_remote.rollout.ledger import LAST


class UsageProgram(Program):
    """An Invoke program for operators.

    Options that it can't parse are wrong use, exit status 2, where Invoke has 1. Commands are listed by what they are
    for, their help is the manual's, and a shell completes hosts and runs.
    """

    def parse_core(self, argv: list[str] | None) -> None:
        """Parse the options before the command."""
        with _wrong_use():
            super().parse_core(argv)

    def parse_tasks(self) -> None:
        """Parse commands and their options."""
        with _wrong_use():
            self._help_first()
            _check_values(self.core.unparsed)
            try:
                super().parse_tasks()
            except ParseError as error:
                if not _lacks_a_run(error):
                    raise
                self.core.unparsed.append(LAST)
                super().parse_tasks()

    def parse_cleanup(self) -> None:
        """Show help and lists, and complete words, if that is asked for."""
        with _wrong_use(), _readers_may_leave():
            if self.args.complete.value:
                self._complete()
            super().parse_cleanup()

    def list_flat(self) -> None:
        """List all commands by group; those of one collection as Invoke does."""
        if self.list_root:
            super().list_flat()
            return
        print("Commands by what they are for; --help COMMAND tells more of one.\n")
        pairs = [(_as_typed(name), said) for name, said in self._make_pairs(self.collection)]
        pairs.sort(key=lambda pair: place(pair[0]))
        width = max(len(name) for name, _ in pairs)
        for title, listed in groupby(pairs, key=lambda pair: entry(pair[0]).group):
            print(f"{title}:")
            # Padded, so that the columns of all groups are the same.
            self.print_columns([(name.ljust(width), said) for name, said in listed])

    def print_task_help(self, name: str) -> None:
        """Print what the manual has on a command; on one that it does not know, what Invoke has."""
        if name not in MANUAL:
            super().print_task_help(name)
            return
        task = self.collection[name]
        # Invoke calls itself inv[oke].
        before, after = help_text(self.binary.partition("[")[0], name, task)
        print(f"{before}\n\nOptions:")
        self.print_columns([(usage(task, each), meaning(task.name, each.name)) for each in parameters(task)])
        print(after)

    def _help_first(self) -> None:
        """Help on a command comes before its arguments are looked for: Invoke misses those of ``hop.show --help``."""
        words = self.core.unparsed
        if words and {"--help", "-h"} & set(words[1:]):
            self.args.help.value = words[0]
            self.core.unparsed = []

    def _complete(self) -> None:
        """Complete a value, if it is one that is wanted; the rest is Invoke's. Raises `Exit`."""
        try:
            words = shlex.split(self.core.remainder)[1:]
        except ValueError:  # a quote that is still open
            raise Exit from None
        names = (each for name, aliases in self.collection.task_names.items() for each in (name, *aliases))
        tasks = {name: self.collection[name] for name in names}
        found = candidates(words, tasks) if words else None
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


_REPEATABLE = {f"--{name}": HELP[name].partition(" (")[0] for name in REPEATABLE}


def _check_values(words: Sequence[str]) -> None:
    """Invoke lets an option that may be repeated go without its value, and ``--host`` alone would mean all hosts."""
    for word, following in pairwise([*words, "--"]):
        flag, equals, given = word.partition("=")
        value = given if equals else following
        if flag in _REPEATABLE and (not value or value.startswith("-")):
            raise Exit(f"Flag '{flag}' needs a value: {_REPEATABLE[flag]}.", code=2)


@contextmanager
def _wrong_use() -> Iterator[None]:
    try:
        yield
    except ParseError as error:
        # Invoke shows an option that lacks its value by the representation of an object.
        raise Exit(re.sub(r"<Argument: ([^ >]+)[^>]*>", r"--\1", str(error)), code=2) from None


@contextmanager
def _readers_may_leave() -> Iterator[None]:
    """A reader of stdout that has seen enough is no error: `relup --list | head`."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise Exit from None


def main() -> None:
    """Run `relup` with the arguments of this process."""
    program = UsageProgram(
        name="relup", binary="relup", binary_names=["relup"], namespace=namespace(), version=version.installed()
    )
    program.run()


if __name__ == "__main__":
    main()
