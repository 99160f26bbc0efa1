"""The pages of `docs/` that come from tables in the code: ``python -m relup_remote.docs`` writes them.

``--check`` writes nothing and exits with 1 if a page is out of date.
"""

import inspect
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from invoke.tasks import Task

from relup_remote import inventory
from relup_remote.commands import COMMANDS
from relup_remote.commands.options import HELP, PLACEHOLDERS
from relup_remote.core.protocol import ERRORS, ErrorSpec
from relup_remote.usage import USAGE_ERRORS

NOTE = "<!-- written by `python -m relup_remote.docs` -->\n"


def errors_page() -> str:
    """docs/errors.md: every ``err_type``."""
    return f"""\
# Errors

{NOTE}
A failure always has an `err_type`, a sentence, a hint, and the stage at which it happened; with `--json` they are the
`error` of a host. A host is `refused` (exit status 3) if nothing was changed there, else `failed` (exit status 1).

## On a host

{_errors(ERRORS)}

## Before any host is contacted

Wrong use: exit status 2, and nothing was contacted. `declined` is the exception: exit status 3.

{_errors(USAGE_ERRORS)}
"""


def commands_page() -> str:
    """docs/commands.md: every command with its options."""
    sections = "\n".join(_command(task) for task in COMMANDS)
    return f"""\
# Commands

{NOTE}
`inv COMMAND` in a checkout, `relup COMMAND` where the package is installed. Every command takes `--host`,
`--inventory`, `--json` and `--quiet`. Tables or the one JSON document go to stdout, everything else to stderr.

| exit status | |
|---|---|
| 0 | all fine |
| 1 | something failed on a host |
| 2 | wrong use: unknown host, unreadable inventory, bad option; nothing was contacted |
| 3 | refused before any change |

`upgrade`, `stage`, `cleanup`, `rollback` and `logs-clear` take the hosts one after the other, in the inventory's order,
and stop at the first that is not done; the rest are `skipped`. The other commands ask all hosts, whatever one of them
says. After an interruption (Ctrl-C) the table is printed all the same. `inv --debug COMMAND` shows the traceback of an
`internal_error` on stderr; it is written to `~/.local/state/relup_remote/` as well.

{sections}"""


def inventory_page() -> str:
    """docs/inventory.md: the format of an inventory and every setting."""
    lines = [
        (f"`{name}`", setting.metadata["kind"].label, _default(setting.default), setting.metadata["description"])
        for name, setting in inventory.SETTINGS.items()
    ]
    return f"""\
# The inventory

{NOTE}
A YAML file; `inventory/example.yml` is one. It is checked whole before anything is contacted: unknown settings, wrong
types, keys given twice and groups with unknown members are errors (exit status 2) that name the place.

    defaults:                 # settings for all hosts
      user: emqx
      key: ~/.ssh/id_ed25519
    hosts:                    # settings of one host come before the defaults
      n1: {{address: 10.0.0.1, root_dir: /opt/emqx}}
      n2: {{}}
    groups:
      cores: [n1, n2]

It is the one named by `--inventory`, else by `{inventory.VARIABLE}`, else the first there is of `inventory/hosts.yml`
and `inventory/lab.yml` in the working directory, the same in the checkout, and
`~/.config/relup_remote/inventory.yml`; which of these is used is said on stderr. Host keys are always verified;
`~/.ssh/config` holds for what is not set here.

`--host` takes a host, a group, a glob over both (`'n*'`) or a comma list of these, and may be repeated. Hosts are
always taken in the order of the file, each once.

## Settings

In parentheses: what holds where a setting without a default is absent.

{_table(("setting", "type", "default", "meaning"), lines)}
"""


PAGES: Mapping[str, Callable[[], str]] = {
    "errors.md": errors_page,
    "commands.md": commands_page,
    "inventory.md": inventory_page,
}
"""The pages by file name."""


def _errors(errors: Mapping[str, ErrorSpec]) -> str:
    lines = [(f"`{name}`", spec.meaning, spec.hint) for name, spec in errors.items()]
    return _table(("err_type", "meaning", "what to do"), lines)


def _command(task: "Task[Any]") -> str:
    parameters = list(inspect.signature(task.body).parameters.values())[1:]
    lines = [(f"`{_usage(parameter)}`", HELP[parameter.name]) for parameter in parameters]
    return f"## {task.name.replace('_', '-')}\n\n{task.__doc__}\n\n{_table(('option', ''), lines)}\n"


def _usage(parameter: inspect.Parameter) -> str:
    flag = f"--{parameter.name.replace('_', '-')}"
    return flag if parameter.default is False else f"{flag} {PLACEHOLDERS.get(parameter.name, 'FILE')}"


def _default(value: object) -> str:
    return "" if value in (None, "") else f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _table(headers: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    cells = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in (headers, ["---"] * len(headers), *cells))


def main(arguments: Sequence[str]) -> int:
    """Write the pages, or with ``--check`` compare them; returns the exit status."""
    folder = Path(__file__).parent.parent / "docs"
    stale = [name for name, page in PAGES.items() if not _is_current(folder / name, page())]
    for name in stale:
        print(f"{'out of date' if '--check' in arguments else 'written'}: docs/{name}")
        if "--check" not in arguments:
            (folder / name).write_text(PAGES[name](), encoding="utf-8")
    return 1 if stale and "--check" in arguments else 0


def _is_current(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
