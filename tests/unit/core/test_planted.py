"""What a user of a host may plant, at every place that the core reads: each command ends soon, with the right answer or
a refusal that has a name, and what was planted is left as it was."""

import io
import json
import os
import pwd
import resource
import signal
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from relup_remote.core import cluster_lock, journal, lock
from relup_remote.core.backup import manifest, store, swap
from relup_remote.core.main import Output, serve
from relup_remote.core.protocol import ERRORS, PROTOCOL_VERSION, encode
from relup_remote.core.release import MARKER
from relup_remote.core.site import BACKUPS, OURS, PARTIAL, STAMP
from tests.points import Points

from .others import NOBODY, as_root, claiming
from .planting import KINDS, plant
from .rooted import BASE, TARGET, Root, make_root
from .vm import Vm

pytestmark = as_root

NAME = "planted@127.0.0.1"
DEADLINE = 20
"""Seconds that a command may take: none of these has anything to wait for."""

MEMORY = 2 << 30
"""Bytes that a core may use."""

_OURS = Path("data") / OURS
_TREE = Path("relup") / TARGET
_BACKUP = Path(BACKUPS) / "2026-01-01"

PLACES = [
    *("releases", "releases/emqx_vars", f"releases/{BASE}", f"releases/{BASE}/BUILD_INFO", f"releases/{BASE}/emqx.rel"),
    *("relup", MARKER, f"{MARKER}.tmp", _TREE, _TREE / STAMP, _TREE / "releases/emqx_vars", _TREE / "relup/current"),
    *(f"relup/{PARTIAL}{TARGET}-0", "bin/emqx", "etc", "etc/emqx.conf", "data/patches", "data/patches/a.beam"),
    *("data/mnesia", "data/mnesia/planted@127.0.0.1", "data/configs", _OURS, _OURS / lock.FILE, _OURS / "outcome"),
    *(
        _OURS / cluster_lock.FILE,
        _OURS / journal.FILE,
        _OURS / f"{journal.FILE}-journal",
        _OURS / f"{journal.FILE}-wal",
    ),
    *(_OURS / swap.FILE, _OURS / "work", _OURS / "work/run-1", _OURS / "staging", _OURS / "staging/e.tar.gz"),
    *(_OURS / "staging/e.tar.gz.part", _OURS / "staging/e.tar.gz.sha256", BACKUPS, _BACKUP, _BACKUP / manifest.FILE),
    *(_BACKUP / manifest.TABLES, _BACKUP / "data", Path(BACKUPS) / f"{store.PARTIAL}x", Path(BACKUPS) / lock.FILE),
]
"""All that the core reads below a root, by the names that the code itself has for it."""

RELEASE = {"version": TARGET, "build_info": {}, "mnesia_hook": False, "files": 1, "bytes": 1, "code": ""}
TARBALL = {
    "name": "e.tar.gz",
    "bytes": 1,
    "sha256": "0" * 64,
    "release": RELEASE,
    "sidecar": {"status": "ok", "text": "0" * 64},
}
COMMANDS: dict[str, dict[str, Any]] = {
    "status": {},
    "plan": {"tarball": TARBALL},
    "logs": {},
    "cleanup": {"options": {"dry_run": True, "trees": True}},
    "backups": {},
    "backup-verify": {},
    "backup": {},
    "lock": {},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Root:
    made = make_root(tmp_path_factory.mktemp("planted"))
    made.tree(TARGET)
    return made


@pytest.fixture(scope="module")
def node(root: Root, epmd: int) -> Iterator[Vm]:
    """A node with all that upgrades and backups leave."""
    with root.node(epmd, NAME) as vm:
        yield vm


def ask(root: Root, command: str, before: Callable[[], None] = lambda: None, **settings: str) -> dict[str, Any]:
    """The result of a request, made in a process of its own that has little time and memory."""
    request = {
        "protocol": PROTOCOL_VERSION,
        "run": f"run-{time.monotonic_ns()}",
        "operator": "tests",
        "command": command,
        "node": {"root_dir": str(root.path), **settings},
        "target": None,
        "hops": [],
        "helpers": [],
        **COMMANDS[command],
    }
    (read, write) = os.pipe()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(DEADLINE)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        os.umask(0o077)
        before()
        said = serve(io.BytesIO(encode(request)), Output(io.BytesIO()))
        with os.fdopen(write, "wb") as out:
            out.write(encode(said.to_json()))
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as lines:
        told = lines.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == 0, f"{command} ended by {status}"
    result: dict[str, Any] = json.loads(told)
    return result


def asked(case: str, points: Points) -> tuple[str, ...]:
    """The commands of a case: with all points all of them, else status and another one."""
    others = [command for command in COMMANDS if command != "status"]
    return ("status", *others) if points.all else ("status", others[zlib.crc32(case.encode()) % len(others)])


def judged(result: dict[str, Any], command: str) -> None:
    """Check that it is the right answer, or a refusal by a name."""
    error = result["error"]
    if error is None:
        assert result["node"] in (NAME, None)
        assert command != "status" or (result["facts"]["state"], result["facts"]["marker"]) == ("idle", None)
    else:
        assert error["err_type"] in ERRORS, error
        assert error["err_type"] != "internal_error", error["detail"]
        assert error["hint"]
    json.dumps(result, allow_nan=False)


class Planted:
    """Something of another user's at a path, for the time of a block; what was there comes back after it."""

    def __init__(self, path: Path, kind: str) -> None:
        self._path = path
        self._kind = kind
        self._aside = path.with_name(path.name + ".aside")
        self._made: list[Path] = []

    def __enter__(self) -> os.stat_result:
        for parent in reversed(self._path.parents):
            if not parent.exists():
                parent.mkdir(mode=0o700)
                self._made.append(parent)
        if os.path.lexists(self._path):
            self._path.rename(self._aside)
        plant(self._kind, self._path, NOBODY)
        return self._path.lstat()

    def __exit__(self, *_: object) -> None:
        if self._path.is_dir() and not self._path.is_symlink():
            for inner in self._path.iterdir():
                inner.unlink()
            self._path.rmdir()
        else:
            self._path.unlink()
        if os.path.lexists(self._aside):
            self._aside.rename(self._path)
        for parent in reversed(self._made):
            # What a command has made of its own beside it goes as well.
            for inner in sorted(parent.rglob("*"), reverse=True):
                inner.rmdir() if inner.is_dir() and not inner.is_symlink() else inner.unlink()
            parent.rmdir()


@pytest.mark.usefixtures("node")
def test_nothing_is_planted(root: Root) -> None:
    for command in ("status", "logs", "backups", "cleanup"):
        result = ask(root, command)
        assert result["error"] is None, result["error"]
        judged(result, command)


@pytest.mark.usefixtures("node")
@pytest.mark.share(100)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", PLACES, ids=str)
def test_what_is_planted_where_the_core_reads(root: Root, place: Path | str, kind: str, points: Points) -> None:
    path = root.path / place
    with Planted(path, kind) as planted:
        for command in asked(str(place) + kind, points):
            judged(ask(root, command), command)
        left = path.lstat()
        assert (left.st_ino, left.st_mode, left.st_uid) == (planted.st_ino, planted.st_mode, planted.st_uid)


@pytest.mark.usefixtures("node")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("claim", ["the node's root and name", "the node's name alone"])
def test_the_cookie_of_a_process_that_only_claims_to_be_the_node(
    root: Root, tmp_path: Path, kind: str, claim: str, points: Points
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    plant(kind, home / ".erlang.cookie", NOBODY)
    of_nobody = list(pwd.getpwuid(NOBODY))
    of_nobody[5] = str(home)
    known = pwd.getpwuid

    def at_home() -> None:
        pwd.getpwuid = lambda uid: pwd.struct_passwd(of_nobody) if uid == NOBODY else known(uid)

    where = str(root.path) if claim == "the node's root and name" else str(tmp_path)
    (tmp_path / "program").mkdir()
    with claiming(tmp_path / "program", where, NAME):
        for command in asked(claim + kind, points):
            judged(ask(root, command, at_home, name=NAME), command)
