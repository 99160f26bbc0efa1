"""The commands' options: one table that declares them, one place where their values are checked."""

import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from invoke.tasks import Task

from relup_remote.commands import limits, passwords, reaching
from relup_remote.commands.groups import expanded
from relup_remote.core.protocol import OPTIONS as REQUEST_OPTIONS
from relup_remote.rollout import waves
from relup_remote.rollout.run import AT_ONCE, IN_FLIGHT
from relup_remote.settings import TRANSPORTS
from relup_remote.usage import UsageError
from relup_remote.ways import CONNECTS


class Option(NamedTuple):
    """What an option means, and what stands for its value where it takes one: words in `|` are all that there are.

    One that ``repeats`` may be given more than once. The value of one that ``may_lack`` it may be left out, and so may
    one that is given by its position. ``choices`` are all values there are, where they are too long to stand for the
    value.
    """

    meaning: str
    value: str = "FILE"
    repeats: bool = False
    may_lack: bool = False
    choices: tuple[str, ...] = ()


_FEWER = f"fewer if more than {IN_FLIGHT >> 20} MiB would be sent at once"

OPTIONS: dict[str, Option] = {
    "host": Option(
        "a host, group, glob, ~REGEX, label:NAME=VALUE, or a comma list of these; with ! before it, all but those;"
        " with & before it, only those; repeatable (default: all hosts)",
        "HOST",
        repeats=True,
    ),
    "ask_passphrase": Option("ask for the passphrase of the private key; it is used on this machine and sent nowhere"),
    "ask_password": Option("ask for the login password of the SSH user; it is sent to hosts that accept no key"),
    "ask_sudo_password": Option("ask for the password that sudo wants on the hosts"),
    "transport": Option(
        f"way to the hosts: {', '.join(TRANSPORTS)} (default: the inventory's, else auto)", "WAY", choices=TRANSPORTS
    ),
    "connects": Option(f"how many SSH logins there may be at the same time (default: {CONNECTS})", "LOGINS"),
    "allow_inventory_code": Option("allow an inventory that is a program, or that uses a plugin of Ansible"),
    "deadline": Option(f"{limits.MEANING} (default: {limits.DEFAULT})", "TIME"),
    **{
        f"{name.replace('.', '_')}.deadline": Option(f"{limits.MEANING} (default: {default})", "TIME")
        for name, default in limits.DEFAULTS.items()
    },
    "inventory": Option("inventory file (default: RELUP_INVENTORY, else the usual places)"),
    "json": Option("print one JSON document on stdout instead of tables"),
    "quiet": Option("no progress on stderr"),
    "tarball": Option("the target release, a tarball with its .sha256 beside it"),
    "catalogue": Option(
        "a folder of hops, or a package of the vendor's plugin; several have a colon between them, and a hop is taken"
        " from the first that has it (default: RELUP_CATALOGUE, else priv/relup of the checkout)",
        "PATH",
    ),
    "full": Option("show a line for each module, also for those that are loaded in one swap"),
    "force": Option(REQUEST_OPTIONS["force"][1]),
    "allow_calls": Option("other functions that a hop's file may call, such as `os:getenv/1`; a comma list", "CALLS"),
    "kill_lingering": Option(REQUEST_OPTIONS["kill_lingering"][1]),
    "no_boot_check": Option(REQUEST_OPTIONS["no_boot_check"][1]),
    "waves": Option(
        "sizes of the waves, each a number of hosts or a share of all; the last is repeated (default: 1,100%)", "SIZES"
    ),
    "parallel": Option("how many hosts of a wave are upgraded at the same time (default: 1)", "HOSTS"),
    "order": Option(
        f"which hosts come first: {', '.join(waves.ORDERS)} (default: replicants-first)",
        "ORDER",
        choices=tuple(waves.ORDERS),
    ),
    "max_failures": Option(
        "how many hosts, or which share of all, may fail before the run stops (default: 0)", "HOSTS"
    ),
    "allow_missing": Option("go on without hosts that can't be reached, even if nodes of the cluster are down"),
    "allow_partial": Option("go on even if the inventory does not have all nodes of the cluster"),
    "gates": Option(
        "gates to check after each wave: a comma list of verify, cluster, connections, postcheck; or none", "NAMES"
    ),
    "min_connections": Option(
        "percent of its connections that an upgraded node must still have (default: 90)", "PERCENT"
    ),
    "soak": Option(
        "how long to watch the cluster after each wave but the last, such as 90s or 10m (default: none)", "TIME"
    ),
    "gate_command": Option(
        "a shell command that must exit with 0 after each wave; RELUP_* variables say which wave", "COMMAND"
    ),
    "gate_timeout": Option("how long to wait for a gate to open (default: 60s)", "TIME"),
    "gate_command_timeout": Option("how long the gate command may take (default: 10m)", "TIME"),
    "backup_age": Option("refuse if the newest complete backup is older than this, such as 12h (default: 24h)", "TIME"),
    "no_backup": Option("go on without a backup; this is recorded"),
    "check": Option("show the plan and stop: nothing is changed"),
    "resume": Option(
        "resume a run: its name or the beginning of its name (without a value: the last run)",
        "RUN",
        may_lack=True,
    ),
    "why": Option("the reason; shown to everyone who finds the cluster locked", "TEXT"),
    "events": Option("print every event as a JSON line on stdout, and the document as the last line"),
    "on_failure": Option(f"{REQUEST_OPTIONS['on_failure'][1]} (default: stop)", "stop|restart"),
    "yes": Option("do not ask"),
    "hop": Option("a hop file, or - for the hop of the catalogue between the two releases"),
    "from_": Option("the release that the hop leads from, a tarball"),
    "paths.from_": Option(
        "show what can be reached from this version, by chains of hops, the shortest first", "VERSION"
    ),
    "paths.strict": Option("exit status 1 if anything is wrong with the catalogue"),
    "graph": Option(
        "draw the versions and the hops between them (without a value: text)", "text|mermaid|svg", may_lack=True
    ),
    "show.from_": Option("the version that the hop leads from"),
    "show.target": Option("the version that the hop leads to", "VERSION"),
    "to": Option("the release that the hop leads to, a tarball"),
    "o": Option("write the hop to this file, and a helper module beside it (default: the hop to stdout)"),
    "run": Option("the run's name, or the beginning of its name, or `last` (default: last)", "RUN", may_lack=True),
    "format": Option("format of the report (default: html)", "html|md|json|junit"),
    "open": Option("open the page in the browser"),
    "report.o": Option("write to this file (default: relup-RUN.html in the working folder; stdout for other formats)"),
    "callback": Option(
        "a function to call after all code is replaced: NAME or NAME/ARITY (the version is an argument); repeatable",
        "NAME[/ARITY]",
        repeats=True,
    ),
    "draft.force": Option("replace files that are there"),
    "sarif": Option("write the findings to this file too, as SARIF 2.1.0, for code review"),
    "strict": Option("exit status 1 for warnings too"),
    "verify.strict": Option(REQUEST_OPTIONS["strict"][1].partition(": ")[2]),
    "target": Option("the version that nodes should be on (default: the one that they boot)", "VERSION"),
    "watch": Option("check again and again until all hosts have passed for some time; show each change"),
    "stable": Option("with --watch: how long all hosts must pass without a break (default: 10s)", "TIME"),
    "timeout": Option("with --watch: time limit (default: 120s)", "TIME"),
    "limit": Option("show only the newest rows, at most this number; 0 shows all (default: 0)", "ROWS"),
    "unlock.force": Option("also remove the locks of others"),
    "trees": Option("also remove deployed trees that neither the next boot nor the running node needs"),
    "cleanup.check": Option("show what would be removed; remove nothing"),
    "anyway": Option("remove even if nodes of the cluster are not on the target"),
    "purge": Option("remove the deployed tree as well"),
    "keep": Option(
        "how many complete backups of a node to keep, including the new one; 0 keeps all (default: 3)", "BACKUPS"
    ),
    "prepare.parallel": Option(f"how many hosts are prepared at the same time (default: {AT_ONCE}); {_FEWER}", "HOSTS"),
    "prepare_parallel": Option(
        f"how many hosts are prepared at the same time, before the first wave (default: {AT_ONCE}); {_FEWER}", "HOSTS"
    ),
    # These record nothing, and kill nothing.
    **{
        f"{name}.{option}": Option(f"{meaning}, as an upgrade with this option")
        for name in ("plan", "prepare")
        for option, meaning in {
            "force": "do not refuse a patches folder that is not empty",
            "kill_lingering": "do not refuse processes that run old code of what the hop replaces",
        }.items()
    },
    "plan.no_backup": Option("require no backup, as an upgrade with this option"),
    "prepare.backup_age": Option(
        "refuse if the newest complete backup is older than this, such as 12h (default: none is needed)", "TIME"
    ),
    "backup.parallel": Option("how many hosts are backed up at the same time (default: 16)", "HOSTS"),
    "backup": Option("name of the backup (default: the newest)", "NAME"),
    "restore.force": Option(REQUEST_OPTIONS["restore_force"][1].partition(": ")[2]),
    "boot_timeout": Option(
        f"{REQUEST_OPTIONS['boot_timeout'][1]} (default: {REQUEST_OPTIONS['boot_timeout'][0]})", "SECONDS"
    ),
    "call_timeout": Option(
        f"{REQUEST_OPTIONS['call_timeout'][1]} (default: {REQUEST_OPTIONS['call_timeout'][0]})", "SECONDS"
    ),
    "hop_timeout": Option(
        f"{REQUEST_OPTIONS['hop_timeout'][1]} (default: {REQUEST_OPTIONS['hop_timeout'][0]})", "SECONDS"
    ),
    "step_timeout": Option(
        f"{REQUEST_OPTIONS['step_timeout'][1]} (default: {REQUEST_OPTIONS['step_timeout'][0]})", "SECONDS"
    ),
}
"""Each option, by parameter name; one that means something else to a command, by the command's name before it.

Help, docs, completion and the checks of values have it from here.
"""


def option(command: str, name: str) -> Option:
    """An option of a command."""
    return OPTIONS.get(f"{command}.{name}") or OPTIONS[name]


ON_FAILURE = ("stop", "restart")

LOCAL = ("paths", "runs", "report", "check", "show", "draft")
"""The commands that go to no host, and need no passwords."""

CHANGING_COMMANDS = (
    "stage",
    "prepare",
    "upgrade",
    "rollback",
    "cleanup",
    "backup",
    "restore",
    "lock",
    "unlock",
    "logs_clear",
)
"""The commands that change hosts."""


def command(body: Callable[..., None]) -> "Task[Any]":
    """Make an Invoke task of ``body``: its parameters are the options, their help comes from `OPTIONS`.

    One without a default is given by its position; one whose name is a keyword has an underscore after it. Numbers are
    taken as text (a default of "") and checked by `number`, so that a wrong one gets a sentence. Those that go to hosts
    get those of `passwords`, `reaching` and `limits` as well. A parameter may be a group of options, see `groups`.
    """
    body = expanded(body)
    body = body if body.__name__ in LOCAL else limits.may_take(reaching.may_choose(passwords.may_ask(body)))
    parameters = list(inspect.signature(body).parameters.values())[1:]
    names = [parameter.name for parameter in parameters]
    positional = [parameter.name for parameter in parameters if parameter.default is parameter.empty]
    return Task(
        body,
        help={name: option(body.__name__, name).meaning for name in names},
        iterable=[name for name in names if option(body.__name__, name).repeats],
        positional=positional,
        optional=[name for name in names if option(body.__name__, name).may_lack and name not in positional],
        auto_shortflags=False,
    )


def required(name: str, value: str) -> str:
    """``value``, which must be there. Raises `UsageError` (``bad_option``)."""
    if not value:
        raise UsageError("bad_option", f"--{_flag(name)} is missing: {OPTIONS[name].meaning}")
    return value


def choice(name: str, value: str, choices: Sequence[str]) -> str:
    """``value``, which must be one of ``choices``. Raises `UsageError` (``bad_option``)."""
    if value not in choices:
        raise UsageError("bad_option", f"--{_flag(name)} must be {either(choices)}, not {value!r}")
    return value


def either(choices: Sequence[str]) -> str:
    """The choices as one reads them: ``a, b or c``."""
    return " or ".join(filter(None, (", ".join(choices[:-1]), choices[-1])))


def value_or(given: str | bool, default: str) -> str:
    """The value of an option that may lack it, or the default if it is given without one: that is what True means."""
    return default if given is True else str(given)


def numbers(minimum: int = 1, **given: str) -> dict[str, int]:
    """Those of the ``given`` options that have a value, as whole numbers. Raises `UsageError` (``bad_option``)."""
    return {name: _number(name, value, minimum) for name, value in given.items() if value != ""}


def _number(name: str, value: str, minimum: int) -> int:
    # Not `isdigit`: that takes digits which int() does not.
    if not value.isascii() or not value.isdecimal() or int(value) < minimum:
        raise UsageError("bad_option", f"--{_flag(name)} must be a whole number, {minimum} or more, not {value!r}")
    return int(value)


def duration(name: str, value: str, default: int, minimum: int = 0) -> int:
    """Seconds: a whole number of them, or of minutes, hours or days, as in ``90``, ``10m``, ``24h``, ``2d``.

    Raises `UsageError` (``bad_option``).
    """
    if not value:
        return default
    found = re.fullmatch(r"([0-9]{1,9})([smhd]?)", value)
    if not found:
        raise UsageError("bad_option", f"--{_flag(name)} must be a time such as 90s, 10m or 24h, not {value!r}")
    seconds = int(found[1]) * UNITS[found[2] or "s"]
    if seconds < minimum:
        raise UsageError("bad_option", f"--{_flag(name)} must be {minimum}s or more, not {value!r}")
    return seconds


UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
"""Seconds in each unit of a duration."""


def _flag(name: str) -> str:
    return name.strip("_").replace("_", "-")
