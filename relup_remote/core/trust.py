"""Payload, shipped to hosts (Python 3.6 and up, standard library only): whose files and folders are relied on.

===========================  ================================================================================
a folder of ours             is a folder, belongs to the user we run as, and is closed to all others
what lies in one             is a file or a folder, and belongs to that user or to root
a place of the node          is a file or a folder, and belongs to an owner; nobody but owners may write to it
the way to all of these      leads through no folder in which anyone may put what he likes, but for sticky ones
===========================  ================================================================================

Owners are those who may change the node anyway: root, its user, and whoever owns its root. A link counts as none of
these things, whoever made it.
"""

import grp
import os
import pwd
import stat
from typing import AbstractSet, Any, Dict, Iterable, Iterator, List, Optional, Set, Tuple

from .protocol import Failure

_MAX_LINKS = 40
"""As many links as Linux follows in one path."""


def us() -> Set[int]:
    """The users whose files are as good as our own: the one we run as, and root."""
    return {0, os.geteuid()}


def check_private(path: str) -> None:
    """Raises `Failure` untrusted_dir unless `path` is a folder of ours."""
    found = os.lstat(path)
    _check_folder(path, found, {os.geteuid()})
    if found.st_mode & 0o077:
        raise untrusted("untrusted_dir", path, found, "it is open to others")


def check_ours(folder: str) -> None:
    """Raises `Failure` untrusted_dir or untrusted_file unless `folder`, where there is one, is ours, and all in it."""
    if _found(folder) is not None:
        check_private(folder)
        for path, found in _inner(folder):
            _check_either(path, found, us())


def check_place(path: str, owners: AbstractSet[int]) -> None:
    """Raises `Failure` untrusted_dir or untrusted_file unless `path`, where there is anything, is a place of the node.

    So has to be all that lies in it, but not what that holds: nobody else could have put that there.
    """
    outer = _found(path)
    if outer is None:
        return
    _check_place(path, outer, owners)
    if stat.S_ISDIR(outer.st_mode):
        for each, found in _inner(path):
            _check_place(each, found, owners)


def check_way(path: str) -> None:
    """Raises `Failure` untrusted_dir where anyone could put something else in the place of `path`, or of what is in it.

    In a sticky folder only the owner of a thing can replace it, so there it has to be root's or ours.
    """
    anyone = False
    for step in _way(path):
        found = os.lstat(step)
        if anyone and found.st_uid not in us():
            raise untrusted("untrusted_dir", step, found, _belongs(found))
        anyone = stat.S_ISDIR(found.st_mode) and bool(found.st_mode & stat.S_IWOTH)
        if anyone and not found.st_mode & stat.S_ISVTX:
            raise untrusted("untrusted_dir", step, found, "anyone may put things in it")


def check_reachable(path: str, users: Iterable[int] = ()) -> None:
    """Raises `Failure` wrong_user where a folder on the way to `path` is closed to us, naming a user who may enter it.

    That is the folder's owner, but if it is root's, rather one of `users` who may enter it by its group.
    """
    try:
        os.stat(path)
        return
    except PermissionError:
        pass
    except OSError:
        return
    bar = _way(path)[-1]
    found = os.stat(bar)
    owner = found.st_uid
    if owner == 0 and found.st_mode & stat.S_IXGRP:
        owner = next(iter(_members(found.st_gid) & set(users)), owner)
    message = "{} can't be seen by {}: {} is closed to that user.".format(path, user_name(os.geteuid()), bar)
    raise wrong_user(owner, message, {"path": bar})


def wrong_user(owner: int, message: str, detail: Optional[Dict[str, Any]] = None) -> Failure:
    """The `Failure` by which the core is started again as the user `owner`."""
    try:
        name = pwd.getpwuid(owner).pw_name
    except KeyError:
        name = str(owner)
    return Failure("wrong_user", message.replace("{}", name), detail=dict(detail or {}, owner=name))


def user_name(uid: int) -> str:
    """The user of that uid, for a sentence."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return "uid {}".format(uid)


def _check_folder(path: str, found: os.stat_result, owners: AbstractSet[int]) -> None:
    if not stat.S_ISDIR(found.st_mode):
        raise untrusted("untrusted_dir", path, found, "it is not a folder")
    _check_either(path, found, owners)


def _check_either(path: str, found: os.stat_result, owners: AbstractSet[int]) -> None:
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        raise untrusted("untrusted_file", path, found, "it is neither a file nor a folder")
    if found.st_uid not in owners:
        raise untrusted(_kind(found), path, found, _belongs(found))


def _check_place(path: str, found: os.stat_result, owners: AbstractSet[int]) -> None:
    _check_either(path, found, owners)
    anyone = bool(found.st_mode & stat.S_IWOTH)
    if anyone or (found.st_mode & stat.S_IWGRP and not _members(found.st_gid) <= owners):
        raise untrusted(_kind(found), path, found, "others may write to it")


def _kind(found: os.stat_result) -> str:
    return "untrusted_dir" if stat.S_ISDIR(found.st_mode) else "untrusted_file"


def _belongs(found: os.stat_result) -> str:
    return "it belongs to {}".format(user_name(found.st_uid))


def untrusted(err_type: str, path: str, found: os.stat_result, why: str) -> Failure:
    """The `Failure` that names what was found at `path`, whose it is, and why it is not relied on."""
    detail = {"path": path, "owner_uid": found.st_uid, "mode": oct(stat.S_IMODE(found.st_mode))}
    return Failure(err_type, "{} can't be trusted: {}.".format(path, why), detail=detail)


def _found(path: str) -> Optional[os.stat_result]:
    try:
        return os.lstat(path)
    except FileNotFoundError:
        return None


def _inner(folder: str) -> Iterator[Tuple[str, os.stat_result]]:
    """All that is in a folder, but for what another core removes meanwhile."""
    try:
        names = sorted(os.listdir(folder))
    except PermissionError:
        raise untrusted("untrusted_dir", folder, os.lstat(folder), "it can't be read")
    for path in [os.path.join(folder, name) for name in names]:
        found = _found(path)
        if found is not None:
            yield path, found


def _members(gid: int) -> Set[int]:
    """The users of a group. Many systems make a group for each user, in which nobody else is."""
    uids = {entry.pw_uid for entry in pwd.getpwall() if entry.pw_gid == gid}
    try:
        names = grp.getgrgid(gid).gr_mem
    except KeyError:
        return uids
    return uids | {entry.pw_uid for entry in pwd.getpwall() if entry.pw_name in names}


def _way(path: str) -> List[str]:
    """All that is gone through to come to `path`, itself included, links and where they lead; up to what is there."""
    at, steps, links = "/", ["/"], 0
    names = [name for name in reversed(os.path.abspath(path).split("/")) if name]
    while names:
        name = names.pop()
        if name == "..":
            at = os.path.dirname(at)
            continue
        step = os.path.join(at, name)
        if not os.path.lexists(step):
            break
        steps.append(step)
        if os.path.islink(step) and links < _MAX_LINKS:
            links += 1
            target = os.readlink(step)
            at = "/" if target.startswith("/") else at
            names += [name for name in reversed(target.split("/")) if name not in ("", ".")]
        else:
            at = step
    return steps
