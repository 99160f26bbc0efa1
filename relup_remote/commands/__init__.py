"""The operator's commands, as Invoke tasks: `inv X` in a checkout, `relup X` anywhere."""

from invoke.collection import Collection

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
from relup_remote.commands.upgrading import plan, stage, upgrade

COMMANDS = (
    hosts,
    paths,
    plan,
    stage,
    upgrade,
    runs,
    report,
    verify,
    status,
    logs,
    logs_clear,
    cleanup,
    rollback,
    postcheck,
    lock,
    unlock,
)


def namespace() -> Collection:
    """A collection of all commands."""
    commands = Collection(*COMMANDS)
    commands.add_collection(Collection("hop", *HOP_COMMANDS))
    return commands
