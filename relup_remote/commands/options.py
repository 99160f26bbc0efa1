"""The commands' options: one table of what they mean, one place where their values are checked."""

import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any

from invoke.tasks import Task

from relup_remote.commands import limits, passwords
from relup_remote.core.protocol import OPTIONS as REQUEST_OPTIONS
from relup_remote.usage import UsageError

HELP: dict[str, str] = {
    "host": "host, group, glob, label:NAME=VALUE or comma list of these; repeatable (default: all hosts)",
    "ask_passphrase": "ask for the passphrase of the private key; it is used on this machine and sent nowhere",
    "ask_password": "ask for the login password of the SSH user; it is sent to hosts that accept no key",
    "ask_sudo_password": "ask for the password that sudo wants on the hosts",
    "deadline": f"{limits.MEANING} (default: {limits.DEFAULT})",
    **{
        f"{name.replace('.', '_')}.deadline": f"{limits.MEANING} (default: {default})"
        for name, default in limits.DEFAULTS.items()
    },
    "inventory": "inventory file (default: RELUP_INVENTORY, else the usual places)",
    "json": "print one JSON document on stdout instead of tables",
    "quiet": "no progress on stderr",
    "tarball": "the target release, a tarball with its .sha256 beside it",
    "catalogue": "folder with hop files (default: RELUP_CATALOGUE, else priv/relup of the checkout)",
    "full": "a line for each module, also of those that are loaded in one swap",
    "force": REQUEST_OPTIONS["force"][1],
    "allow_calls": "what a hop's file may call besides what is harmless, such as `os:getenv/1`; a comma list",
    "kill_lingering": REQUEST_OPTIONS["kill_lingering"][1],
    "no_boot_check": REQUEST_OPTIONS["no_boot_check"][1],
    "waves": "sizes of the waves, each a number of hosts or a share of all; the last is repeated (default: 1,100%)",
    "parallel": "hosts of a wave in hand at once (default: 1)",
    "order": "which hosts come first: replicants-first (the default), cores-first, or as in the inventory",
    "max_failures": "so many hosts, or a share of all, may fail before nothing more is begun (default: 0)",
    "allow_missing": "go on without hosts that can't be reached, and although nodes of the cluster are down",
    "allow_partial": "go on although the inventory does not have all nodes of the cluster",
    "gates": "what has to hold after each wave: a comma list of verify, cluster, connections, postcheck; or none",
    "min_connections": "share of its connections that an upgraded node must still have, in percent",
    "soak": "time to watch the cluster after each wave but the last, such as 90s or 10m (default: none)",
    "gate_command": "a command for the shell that has to end with 0 after each wave; RELUP_* variables tell it which",
    "gate_timeout": "time in which a gate may still open (default: 60s)",
    "gate_command_timeout": "time in which the gate command has to end (default: 10m)",
    "backup_age": "refuse where the newest whole backup is older, such as 24h (default: 24h)",
    "no_backup": "go on without a backup; recorded",
    "check": "show the plan and stop: nothing is changed",
    "resume": "take up a run where it was left: its name or the beginning of it (without a value: the last one)",
    "why": "what it is done for; shown to whoever finds the cluster locked",
    "events": "print all that happens as JSON lines on stdout, the document as the last of them",
    "on_failure": f"{REQUEST_OPTIONS['on_failure'][1]} (default: stop)",
    "yes": "do not ask",
    "hop": "a hop file; or - for the one that the catalogue has between the two releases",
    "from_": "the release that the hop leads from, a tarball",
    "paths.from_": "what can be reached from this version, by chains of hops, the shortest first",
    "paths.strict": "exit status 1 if anything is wrong with the catalogue",
    "graph": "draw the versions and the hops between them (without a value: text)",
    "show.from_": "the version that the hop leads from",
    "show.target": "the version that the hop leads to",
    "to": "the release that the hop leads to, a tarball",
    "o": "write the hop to this file, and a helper module beside it (default: the hop to stdout)",
    "run": "the run's name, or the beginning of it, or `last` (which is the default)",
    "format": "what to make of it (default: html)",
    "report.o": "write to this file (default: relup-RUN.html in the working folder; stdout for other formats)",
    "callback": "a function to call when all code is new, NAME or NAME/ARITY with the version counted; repeatable",
    "draft.force": "replace files that are there",
    "sarif": "write what is found to this file as well, as SARIF 2.1.0, for code review",
    "strict": "exit status 1 for warnings too",
    "verify.strict": REQUEST_OPTIONS["strict"][1].partition(": ")[2],
    "target": "the version that nodes should be on (default: the one that they boot)",
    "watch": "look again and again, until all hosts have been good for a while; changes are told as they come",
    "stable": "with --watch: time for which all hosts must be good in a row (default: 10s)",
    "timeout": "with --watch: time after which it ends all the same (default: 120s)",
    "limit": "at most so many rows, the newest; 0 is all (default: 0)",
    "unlock.force": "although the lock is someone else's",
    "trees": "deployed trees as well that neither the next boot nor the running node needs",
    "cleanup.check": "show what would be removed, and leave it",
    "anyway": "even while nodes of the cluster are not on the target",
    "purge": "remove the deployed tree as well",
    "keep": "how many whole backups of a node to keep, the new one counted; 0 keeps all (default: 3)",
    "backup.parallel": "hosts at the same time; a backup stops nothing, so as many as are asked at once (default: 16)",
    "backup": "name of the backup (default: the newest)",
    "restore.force": REQUEST_OPTIONS["restore_force"][1].partition(": ")[2],
    "boot_timeout": f"{REQUEST_OPTIONS['boot_timeout'][1]} (default: {REQUEST_OPTIONS['boot_timeout'][0]})",
    "call_timeout": f"{REQUEST_OPTIONS['call_timeout'][1]} (default: {REQUEST_OPTIONS['call_timeout'][0]})",
    "hop_timeout": f"{REQUEST_OPTIONS['hop_timeout'][1]} (default: {REQUEST_OPTIONS['hop_timeout'][0]})",
    "step_timeout": f"{REQUEST_OPTIONS['step_timeout'][1]} (default: {REQUEST_OPTIONS['step_timeout'][0]})",
}
"""What each option means, by parameter name; what it means to one command only, by the command's name before it."""


def meaning(command: str, name: str) -> str:
    """What an option of a command means."""
    return HELP.get(f"{command}.{name}") or HELP[name]


PLACEHOLDERS: dict[str, str] = {
    "host": "HOST",
    "catalogue": "FOLDER",
    "callback": "NAME[/ARITY]",
    "on_failure": "stop|restart",
    "waves": "SIZES",
    "parallel": "HOSTS",
    "order": "ORDER",
    "max_failures": "HOSTS",
    "gates": "NAMES",
    "min_connections": "PERCENT",
    "soak": "TIME",
    "gate_command": "COMMAND",
    "allow_calls": "CALLS",
    "gate_timeout": "TIME",
    "gate_command_timeout": "TIME",
    "deadline": "TIME",
    "backup_age": "TIME",
    "resume": "RUN",
    "keep": "BACKUPS",
    "backup": "NAME",
    "why": "TEXT",
    "paths.from_": "VERSION",
    "graph": "text|mermaid|svg",
    "target": "VERSION",
    "stable": "TIME",
    "timeout": "TIME",
    "format": "html|md|json|junit",
    "limit": "ROWS",
    "boot_timeout": "SECONDS",
    "call_timeout": "SECONDS",
    "hop_timeout": "SECONDS",
    "step_timeout": "SECONDS",
}
"""What stands for the value of an option that takes one, named as in `HELP`; the others take a file."""


def placeholder(command: str, name: str) -> str:
    """What stands for the value of an option of a command."""
    return PLACEHOLDERS.get(f"{command}.{name}") or PLACEHOLDERS.get(name, "FILE")


REPEATABLE = ("host", "callback")
"""The options that may be given more than once."""

WITH_DEFAULT = ("graph", "resume")
"""The options whose value may be left out."""

ON_FAILURE = ("stop", "restart")

LOCAL = ("paths", "runs", "report", "check", "show", "draft")
"""The commands that go to no host, and need no passwords."""


def command(body: Callable[..., None]) -> "Task[Any]":
    """Make an Invoke task of ``body``: its parameters are the options, their help comes from `HELP`.

    One without a default is given by its position; one whose name is a keyword has an underscore after it. Numbers are
    taken as text (a default of "") and checked by `number`, so that a wrong one gets a sentence. Those that go to hosts
    get the options of `passwords` and `limits` as well.
    """
    body = body if body.__name__ in LOCAL else limits.may_take(passwords.may_ask(body))
    parameters = list(inspect.signature(body).parameters.values())[1:]
    names = [parameter.name for parameter in parameters]
    return Task(
        body,
        help={name: meaning(body.__name__, name) for name in names},
        iterable=[name for name in names if name in REPEATABLE],
        positional=[parameter.name for parameter in parameters if parameter.default is parameter.empty],
        optional=[name for name in names if name in WITH_DEFAULT],
        auto_shortflags=False,
    )


def required(name: str, value: str) -> str:
    """``value``, which must be there. Raises `UsageError` (``bad_option``)."""
    if not value:
        raise UsageError("bad_option", f"--{_flag(name)} is missing: {HELP[name]}")
    return value


def choice(name: str, value: str, choices: Sequence[str]) -> str:
    """``value``, which must be one of ``choices``. Raises `UsageError` (``bad_option``)."""
    if value not in choices:
        raise UsageError("bad_option", f"--{_flag(name)} must be {' or '.join(choices)}, not {value!r}")
    return value


def value_or(given: str | bool, default: str) -> str:
    """The value of an option of `WITH_DEFAULT`, or the default if it is given without one: that is what True means."""
    return default if given is True else str(given)


def numbers(minimum: int = 1, **given: str) -> dict[str, int]:
    """Those of the ``given`` options that have a value, as whole numbers. Raises `UsageError` (``bad_option``)."""
    return {name: _number(name, value, minimum) for name, value in given.items() if value != ""}


def _number(name: str, value: str, minimum: int) -> int:
    # Not `isdigit`: that takes digits which int() does not.
    if not value.isascii() or not value.isdecimal() or int(value) < minimum:
        raise UsageError("bad_option", f"--{_flag(name)} must be a whole number, {minimum} or more, not {value!r}")
    return int(value)


def duration(name: str, value: str, default: int) -> int:
    """Seconds: a whole number of them, or of minutes, hours or days, as in ``90``, ``10m``, ``24h``, ``2d``.

    Raises `UsageError` (``bad_option``).
    """
    if not value:
        return default
    found = re.fullmatch(r"([0-9]{1,9})([smhd]?)", value)
    if not found:
        raise UsageError("bad_option", f"--{_flag(name)} must be a time such as 90s, 10m or 24h, not {value!r}")
    return int(found[1]) * UNITS[found[2] or "s"]


UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
"""Seconds in each unit of a duration."""


def _flag(name: str) -> str:
    return name.strip("_").replace("_", "-")
