"""Wrong use of a command: found before any host is contacted, and the end of it (exit status 2)."""

from collections.abc import Callable
from typing import Any

from relup_remote.core.protocol import ErrorSpec

USAGE_ERRORS: dict[str, ErrorSpec] = {
    "bad_option": ErrorSpec(
        "An option is unknown, missing or has a value it can't have.", "`inv --help COMMAND` lists the options."
    ),
    "no_inventory": ErrorSpec(
        "No inventory was named and none is in the usual places.",
        "Name one with --inventory or RELUP_INVENTORY. `hosts: {n1: {address: 10.0.0.1}}` in a .yml file is one.",
    ),
    "bad_inventory": ErrorSpec(
        "The inventory can't be read, or a setting in it is wrong.",
        "Check the path, or correct the file. docs/inventory.md in the source of relup_remote describes every setting.",
    ),
    "unknown_host": ErrorSpec(
        "No host or group of the inventory matches the selection.",
        "Name a host, a group, a glob over both, or a comma list of these.",
    ),
    "ambiguous_host": ErrorSpec(
        "A word of the selection is both a host and a group.", "Rename one, or name the hosts one by one."
    ),
    "ansible_missing": ErrorSpec(
        "The inventory is Ansible's, and `ansible-inventory`, which reads it, is not installed.",
        "Install it: pip install 'relup_remote[ansible]', or ansible-core in any way that puts it on the PATH.",
    ),
    "no_catalogue": ErrorSpec(
        "There is no catalogue of hops, or it can't be used.",
        "Name a folder with *.relup files, or the package of the vendor's plugin, with --catalogue or RELUP_CATALOGUE.",
    ),
    "no_terminal": ErrorSpec(
        "The command asks before it acts, and there is no terminal to ask on.", "Give --yes if you are sure."
    ),
    "unknown_run": ErrorSpec(
        "No run, or more than one run, has a name that begins with this text.", "`inv runs` lists the runs."
    ),
    "run_unreadable": ErrorSpec(
        "The record of the run is damaged, or of another version.",
        "Restore its folder from a copy, or move it away. An older run is only resumed if you name it.",
    ),
    "run_in_progress": ErrorSpec(
        "Another command works on the run.", "Wait until it ends, or end it with Ctrl-C there. Then resume the run."
    ),
    "run_differs": ErrorSpec(
        "The run began with another tarball, other hops or other hosts.",
        "Put back what it began with, or start a new run.",
    ),
    "run_is_over": ErrorSpec("Nothing is left to do in the run.", "`inv report` shows what was done."),
    "ledger_unusable": ErrorSpec(
        "The record of the run can't be written.",
        "Check owner, mode and free space of the state directory of this machine.",
    ),
    "interrupted": ErrorSpec("The operator interrupted the command.", "This command changed no host."),
    "declined": ErrorSpec("The operator did not confirm.", "Nothing was changed."),
}
"""What can be wrong before any host is contacted, in the same shape as the hosts' own errors."""


class UsageError(Exception):
    """The command can't begin. ``err_type`` is a key of `USAGE_ERRORS`, ``message`` one clear line."""

    exit_status = 2

    def __init__(self, err_type: str, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.err_type = err_type
        self.message = message
        self.hint = hint or USAGE_ERRORS[err_type].hint


def all_of(*parts: Callable[[], Any]) -> list[Any]:
    """What ``parts`` return, if none of them is wrong. They stand in the order in which one would mend them.

    Raises `UsageError` that says of all that are wrong what is: its ``err_type`` is the first one's.
    """
    had, wrong = [], []
    for part in parts:
        try:
            had.append(part())
        except UsageError as error:
            wrong.append(error)
    if len(wrong) > 1:
        hints = dict.fromkeys(error.hint for error in wrong)
        raise UsageError(wrong[0].err_type, "; ".join(error.message for error in wrong), " ".join(hints))
    if wrong:
        raise wrong[0]
    return had


class Interrupted(UsageError):
    """The operator pressed Ctrl-C where no run or change of a host was under way that would tell of it.

    If hosts ``may_be_changed``, it is not known here what was done.
    """

    exit_status = 1

    def __init__(self, *, may_be_changed: bool = False) -> None:
        super().__init__("interrupted", "interrupted", WHAT_WAS_DONE if may_be_changed else None)


WHAT_WAS_DONE = "`inv runs` and `inv status` show what was done."


class Declined(UsageError):
    """The operator answered no: refused before any change."""

    exit_status = 3

    def __init__(self, message: str = "not confirmed") -> None:
        super().__init__("declined", message)
