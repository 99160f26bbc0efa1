"""The command `relup`: the same commands as `inv`'s, for those who have no checkout."""

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

from invoke.exceptions import Exit, ParseError
from invoke.program import Program

from relup_remote.commands import namespace
from relup_remote.commands.options import HELP, REPEATABLE
from relup_remote.version import installed


class UsageProgram(Program):
    """An Invoke program for which options it can't parse are wrong use: exit status 2, where Invoke has 1."""

    def parse_core(self, argv: list[str] | None) -> None:
        """Parse the options before the command."""
        with _wrong_use():
            super().parse_core(_help_first(sys.argv if argv is None else argv))

    def parse_tasks(self) -> None:
        """Parse commands and their options."""
        with _wrong_use():
            _check_values(self.core.unparsed)
            super().parse_tasks()

    def parse_cleanup(self) -> None:
        """Show help and lists, if they are asked for."""
        with _wrong_use():
            super().parse_cleanup()


def _help_first(words: Sequence[str]) -> list[str]:
    """Help on a command comes before its arguments are looked for: Invoke misses those of ``hop.show --help`` first."""
    if len(words) > 1 and not words[1].startswith("-") and {"--help", "-h"} & set(words[2:]):
        return [words[0], "--help", words[1]]
    return list(words)


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


def main() -> None:
    """Run `relup` with the arguments of this process."""
    program = UsageProgram(
        name="relup", binary="relup", binary_names=["relup"], namespace=namespace(), version=installed()
    )
    program.run()


if __name__ == "__main__":
    main()
