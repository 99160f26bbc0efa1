"""The operator's commands, as Invoke tasks: `inv X` in a checkout, `relup X` anywhere."""

from typing import Any

from invoke.collection import Collection
from invoke.tasks import Task

from relup_remote.commands.backing_up import backup, backup_list, backup_verify, restore
from relup_remote.commands.cleaning import cleanup
from relup_remote.commands.history import logs, logs_clear
from relup_remote.commands.hop import HOP_COMMANDS
from relup_remote.commands.locking import lock, unlock
from relup_remote.commands.looking import hosts, status, verify
from relup_remote.commands.paths import paths
from relup_remote.commands.postcheck import postcheck
from relup_remote.commands.report import report
from relup_remote.commands.rolling_back import rollback
from relup_remote.commands.runs import runs
from relup_remote.commands.upgrading import plan, prepare, stage, upgrade

COMMANDS = (
    hosts,
    paths,
    plan,
    stage,
    prepare,
    upgrade,
    runs,
    report,
    verify,
    status,
    logs,
    logs_clear,
    cleanup,
    rollback,
    restore,
    postcheck,
    lock,
    unlock,
)


BACKUP_COMMANDS = {"list": backup_list, "verify": backup_verify}
"""The commands `backup.X`, beside `backup` itself."""


def by_name() -> "dict[str, Task[Any]]":
    """All commands by the names under which operators know them."""
    own = {task.name.replace("_", "-"): task for task in COMMANDS}
    backups = {"backup": backup, **{f"backup.{name}": task for name, task in BACKUP_COMMANDS.items()}}
    return {**own, **backups, **{f"hop.{task.name}": task for task in HOP_COMMANDS}}


def namespace() -> Collection:
    """A collection of all commands."""
    commands = Collection(*COMMANDS)
    backups = Collection("backup")
    # A collection has no task of its own name, but one that stands for it.
    backups.add_task(backup, "create", default=True)
    for name, task in BACKUP_COMMANDS.items():
        backups.add_task(task, name)
    commands.add_collection(backups)
    commands.add_collection(Collection("hop", *HOP_COMMANDS))
    return commands
