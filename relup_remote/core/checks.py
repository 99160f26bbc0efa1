"""Payload, shipped to hosts (Python 3.6 and up, standard library only): all that can be refused before any change.

Each check looks at one thing, changes nothing, and raises the `Failure` that refuses. They run in the order of the
steps they belong to, all of them, so that the operator sees all that stands in the way at once.
"""

import os
import re
from typing import Callable, List, Optional, Tuple

from . import boot, release
from .backup.store import backups, duration, newest
from .cluster_lock import refuse as refuse_if_locked
from .context import Context
from .files import may_write, space
from .opening import names_in
from .protocol import Failure
from .steps.restart import check_restart
from .steps.stage import bytes_to_send

Check = Callable[[Context], None]


def refusals(context: Context, wanted: Optional[Tuple[Tuple[str, Check], ...]] = None) -> List[Failure]:
    """Everything that stands in the way of an upgrade, or of what is `wanted` of it, in order."""
    found: List[Failure] = []
    for stage, check in _CHECKS if wanted is None else wanted:
        try:
            check(context)
        except Failure as failure:
            failure.stage = failure.stage or stage
            # What can't be known once the tarball can't be read is said once, not by every check that needs it.
            if failure.err_type not in [earlier.err_type for earlier in found]:
                found.append(failure)
    return found


# What `sha256sum` writes, without and with --tag, and a bare digest. A backslash comes before a name with escapes.
_DIGEST_LINE = re.compile(r"\\?(?P<digest>[0-9a-f]{64})(?:[ \t]+\*?(?P<name>.*))?", re.IGNORECASE)
_TAGGED_LINE = re.compile(r"\\?SHA(?:2-)?256 ?\((?P<name>.*)\) ?= ?(?P<digest>[0-9a-f]{64})", re.IGNORECASE)


def digest_of_sidecar(context: Context) -> str:
    """The digest that the sidecar names for the tarball. Raises `Failure` as the plugin does.

    Of several lines the one counts that has the tarball's name. A single one may have any name, as with the plugin: it
    lies beside the tarball, which may have been renamed.
    """
    sidecar = context.tarball["sidecar"]
    if sidecar["status"] == "missing":
        raise Failure("missing_sha256_sidecar", "There is no {}.sha256.".format(context.tarball["name"]))
    if sidecar["status"] != "ok":
        raise Failure("cannot_read_sha256_sidecar", "{}.sha256 can't be read.".format(context.tarball["name"]))
    lines = [line.strip() for line in sidecar["text"].lstrip("\ufeff").splitlines()]
    found = [line for line in (_DIGEST_LINE.fullmatch(line) or _TAGGED_LINE.fullmatch(line) for line in lines) if line]
    tarball = context.tarball["name"]
    its_own = [line for line in found if os.path.basename(line.group("name") or "") == tarball]
    digests = {line.group("digest").lower() for line in its_own or found}
    if not digests:
        raise Failure("invalid_sha256_sidecar")
    if len(digests) > 1:
        said = "several digests for" if its_own else "digests of other files, none of"
        raise Failure("invalid_sha256_sidecar", "{0}.sha256 has {1} {0}.".format(tarball, said))
    return digests.pop()


def compare_digest(context: Context, actual: str) -> None:
    """Raises `Failure` sha256_mismatch unless `actual` is the sidecar's digest."""
    expected = digest_of_sidecar(context)
    if actual != expected:
        raise Failure("sha256_mismatch", detail={"expected": expected, "actual": actual})


def restarting(context: Context) -> None:
    """Refuses where a hop that fails is to restart the node, and we may not."""
    if context.option("on_failure") == "restart":
        check_restart(context)


def _ready(context: Context) -> None:
    if not context.view.is_ready():
        raise Failure("node_not_ready")


def _history(context: Context) -> None:
    context.journal.check(writing=True)


def _readable(context: Context) -> None:
    context.target  # noqa: B018


def _staging(context: Context) -> None:
    space(context.site.staging, bytes_to_send(context))
    writable(context.site.staging)


def _sidecar(context: Context) -> None:
    compare_digest(context, context.tarball["sha256"])


def patches(context: Context) -> None:
    """Refuses while the node has patches, unless forced."""
    folder = os.path.join(context.site.data_dir, "patches")
    names = patch_names(context.site.data_dir)
    if names and not context.option("force"):
        detail = {"folder": folder, "patches": names[:20], "count": len(names)}
        message = "{} holds {} {}.".format(folder, len(names), "patch" if len(names) == 1 else "patches")
        raise Failure("patches_dir_not_empty", message, detail=detail)


def patch_names(data_dir: str) -> List[str]:
    """The patches in a data folder."""
    return [name for name in names_in(os.path.join(data_dir, "patches")) if name.endswith(".beam")]


def _not_there_yet(context: Context) -> None:
    running, target = context.result.running, context.target
    if running != target or context.unfinished:
        return
    _refuse_other_boot(context, target)
    version, tree = release.deployed(context.site.base) or (None, None)
    booted = context.site.node is not None and context.site.node.root == tree
    if version == target and not booted:
        raise Failure(
            "duplicate_pending_target", "{} is deployed. The next restart of the node boots it.".format(target)
        )
    raise Failure("already_upgraded_to_target_vsn", "The node runs {} already.".format(target))


def _refuse_other_boot(context: Context, target: str) -> None:
    """Raises `Failure` where the running node is on the target, and its next restart is known to lead elsewhere."""
    base = context.site.base
    lost = release.lost_tree(base)
    if lost is not None:
        message = "The node runs {}, but the marker names {}, and its tree {} is missing: a restart would fail."
        raise Failure("restart_differs", message.format(target, *lost), detail={"tree": lost[1]})
    root = release.boot_chain(base)[-1]
    boots = release.version_of(root)
    # What is not known is no refusal.
    if boots not in (None, target):
        message = "The node runs {}, but its next restart boots {} from {}.".format(target, boots, root)
        raise Failure("restart_differs", message, detail={"boots": boots, "root": root})


def _permission(context: Context) -> None:
    folder = os.path.join(context.site.base, "relup")
    writable(folder)
    # The marker is written by the VM, when the hop is done.
    writable_by_vm(context, folder)


def _compatible(context: Context) -> None:
    assert context.site.node is not None
    ours = release.read_tree(context.site.node.root)
    facts = context.tarball["release"]
    theirs = release.TreeFacts(context.target, facts["build_info"], facts["mnesia_hook"])
    running_otp = context.view.otp_major()
    if theirs.otp_major() != running_otp:
        detail = {"running": running_otp, "target": theirs.otp_major()}
        message = "The node runs OTP {}, the target was built for OTP {}.".format(running_otp, theirs.otp_major())
        raise Failure("otp_major_vsn_mismatch", message, detail=detail)
    if ours.fork != theirs.fork:
        detail_fork = {"running_is_fork": ours.fork, "target_is_fork": theirs.fork}
        raise Failure("otp_compatible_mismatch", detail=detail_fork)
    for key in ("os", "arch"):
        if ours.build_info.get(key) != theirs.build_info.get(key):
            pair = {"running": ours.build_info.get(key), "target": theirs.build_info.get(key)}
            message = "The node's {} is {running}, the target's {target}.".format(key, **pair)
            raise Failure("os_arch_mismatch", message, detail=dict(pair, what=key))


def _boot(context: Context) -> None:
    """Tells where the target's wrapper will look for the node's files; refuses where it would not find them."""
    text = context.tarball["release"].get("emqx_vars")
    if text is None:
        return
    base = context.site.base
    found = boot.places(text, context.tree, base)
    told = boot.facts(found, context.tree)
    told["problems"] = boot.problems(found, base, context.site.data_dir) + boot.wrapper_problems(base)
    boot.tell(context.result, told, base, is_planned=not boot.is_set(found.settings, context.tree))
    if told["problems"]:
        raise boot.would_not_boot(told)


def _room(context: Context) -> None:
    if not os.path.isdir(context.tree):
        facts = context.tarball["release"]
        space(os.path.join(context.site.base, "relup"), facts.get("bytes", 0), facts.get("files", 0))


def _hop(context: Context) -> None:
    if context.result.running != context.target or context.unfinished:
        context.hop()


def _backup(context: Context) -> None:
    """Tells of the newest complete backup; refuses where it is not as young as asked for."""
    kept = backups(context.site.backups)
    backup = newest(kept, context.result.node)
    found = None if backup is None else backup.facts()
    context.result.facts["backup"] = found
    asked = context.option("backup_age")
    ahead = [each.name for each in kept if each.whole and each.is_ahead]
    if asked and found is None and ahead:
        message = "The backup {} is dated in the future.".format(ahead[-1])
        raise Failure("backup_dated_ahead", message, detail={"folder": context.site.backups, "backups": ahead})
    if asked and found is None:
        raise Failure("no_backup", detail={"folder": context.site.backups})
    if asked and found is not None and found["age"] > asked:
        message = "The newest complete backup, {name}, is {} old.".format(duration(found["age"]), **found)
        raise Failure("backup_too_old", message, detail={"backup": found, "backup_age": asked})


OF_STAGING = (("stage", _readable), ("stage", _staging), ("checksum", _sidecar))
"""What has to be right for a tarball to be staged; no node is needed for it."""

OF_BACKUP = (("backup", _backup),)
"""What has to be there before a node is changed."""

_CHECKS = (
    ("upgrade", refuse_if_locked),
    ("upgrade", _history),
    ("upgrade", restarting),
    ("stage", _ready),
    *OF_STAGING,
    ("patches", patches),
    ("extract", _not_there_yet),
    ("extract", _permission),
    ("extract", _compatible),
    ("extract", _boot),
    ("extract", _room),
    ("extract", _hop),
)


def writable_by_vm(context: Context, folder: str) -> None:
    """Raises `Failure` no_write_permission where we may write in a folder, and the VM may not."""
    if not context.view.may_write(folder):
        message = "We may write to {}, but the VM may not.".format(folder)
        hint = "If a service runs the node, allow it there: ReadWritePaths= in its unit (see ProtectSystem=)."
        raise Failure("no_write_permission", message, hint=hint, detail={"path": folder, "by": "vm"})


def writable(folder: str) -> None:
    """Raises `Failure` no_write_permission unless files can be made in a folder, or the folder itself."""
    if not may_write(folder):
        raise Failure("no_write_permission", "{} is not writable.".format(folder), detail={"path": folder})
