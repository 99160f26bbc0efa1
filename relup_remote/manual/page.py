"""docs/commands.md: the manual as one page, a section a command."""

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from invoke.tasks import Task

from relup_remote import inventory
from relup_remote.commands.options import option
from relup_remote.hops import catalogue
from relup_remote.manual.entries import STATUSES, entry, place
from relup_remote.manual.synopsis import line, parameters, synopsis, usage

WIDTH = 120

ENVIRONMENT = {
    f"`{inventory.VARIABLE}`": "the inventory, unless `--inventory` names one",
    f"`{catalogue.VARIABLE}`": "folders with hop files, or packages, as `--catalogue` names them",
    "`XDG_STATE_HOME`": "where runs and tracebacks are kept, in `relup_remote`; else `~/.local/state`",
    "`XDG_CACHE_HOME`": "where the cache is kept, in `relup_remote`; else `~/.cache`",
    "`HOME`": "the home folder; if it is a file, `inv` does not start, and `relup` does",
    "`TERM`, `NO_COLOR`": "a terminal that is `dumb` gets plain lines; if NO_COLOR is set, there are no colours",
}
"""Variables that mean something to all commands."""


def commands_page(tasks: Mapping[str, "Task[Any]"], note: str) -> str:
    """The page on ``tasks``, by name in the manual's order; ``note`` says what wrote it."""
    named = sorted(tasks.items(), key=lambda item: place(item[0]))
    groups = ((title, list(members)) for title, members in groupby(named, key=lambda item: entry(item[0]).group))
    listed, sections = [], []
    for title, members in groups:
        listed.append((title, ", ".join(_link(name) for name, _ in members)))
        sections += [_section(name, task) for name, task in members]
    return f"""\
# Commands

{note}
Type `inv COMMAND` in a checkout, and `relup COMMAND` where the package is installed. `inv --help COMMAND` shows what
this page says of a command. Every command takes `--host`, `--inventory`, `--json` and `--quiet`. Tables, or the one
JSON document, go to stdout. The document has a `run` if another command knows it by that name. Everything else goes to
stderr: on a terminal a table of the hosts that is redrawn, elsewhere plain lines.

{_table(("", ""), listed)}

{_table(("exit status", ""), ((str(status), said) for status, said in STATUSES.items()))}

`stage` and `logs-clear` go through the hosts one after the other, in the inventory's order, and stop at the first that
fails; the rest are `skipped`. `upgrade` and `rollback` go through them in waves. The other commands ask all hosts, even
if one of them fails.

After Ctrl-C a command that changes hosts finishes those that it has started, and starts no more. A second Ctrl-C leaves
at once: what has started may go on. Other commands leave after the first. The table is printed all the same. A command
that changes hosts then says `interrupted` and exits with 1, unless all its hosts are done. A command that Ctrl-C ends
before it has begun says `interrupted` and exits with 1, also while it asks.

`inv --debug COMMAND` shows the traceback of an `internal_error` on stderr; it is also written to
`~/.local/state/relup_remote/`.

{_table(("environment", ""), ENVIRONMENT.items())}

A shell completes commands, options, hosts and groups of the inventory, runs, and the values of options with few values:

    source <(relup --print-completion-script bash)      # bash; the same for inv
    source <(relup --print-completion-script zsh)       # zsh
    mkdir -p ~/.config/fish/completions
    relup --print-completion-script fish > ~/.config/fish/completions/relup.fish

{chr(10).join(sections)}"""


def _section(name: str, task: "Task[Any]") -> str:
    return "\n\n".join([f"## {name}", *_parts(name, task)]) + "\n"


def _parts(name: str, task: "Task[Any]") -> Iterator[str]:
    about = entry(name)
    yield textwrap.fill(task.__doc__ or "", WIDTH, break_on_hyphens=False)
    yield line("inv", synopsis(name, task), "    ", WIDTH)
    if about.about:
        yield "\n\n".join(textwrap.fill(each, WIDTH, break_on_hyphens=False) for each in about.about.split("\n\n"))
    options = ((f"`{usage(task, each)}`", option(task.name, each.name).meaning) for each in parameters(task))
    yield _table(("option", ""), options)
    if about.statuses:
        yield _table(("exit status", ""), ((str(status), said) for status, said in sorted(about.statuses.items())))
    if about.examples:
        width = max(len(words) for words in about.examples)
        yield "\n".join(f"    inv {words:{width}}   # {said}" for words, said in about.examples.items())
    if about.see:
        yield f"See also: {', '.join(map(_link, about.see))}."


def _link(name: str) -> str:
    return f"[{name}](#{name.replace('.', '')})"


def _table(headers: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    cells = [[cell.replace("|", "\\|") for cell in cells] for cells in lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in (headers, ["---"] * len(headers), *cells))
