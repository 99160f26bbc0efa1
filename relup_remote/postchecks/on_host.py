"""Run on a host by the postchecks, as text given to its Python (3.6 and up, standard library only).

Usage: ``vms DATA_DIR ROOT`` | ``attempt DATA_DIR`` | ``leftovers ROOT DATA_DIR STAGING_DIR`` |
``configuration WRAPPER PID``.
Prints one line of JSON.
"""

# Python 3.6 knows no newer spellings.
# ruff: noqa: UP032

import getpass
import json
import os
import pwd
import re
import signal
import stat
import subprocess
import sys
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import Any, Dict, List, Optional, Set

CONFIGURATION_SECONDS = 90
KILLED_WITHIN = 10
LARGEST = 1 << 20
NOT_ENDED = 124
"""As timeout(1) has it."""


def vms(data_dir: str = "", root: str = "") -> Dict[str, Any]:
    """Our user, and every VM that has a root and a name. Of its command line, which holds the cookie, no more.

    ``hidden`` says whether the processes of other users can't be seen.

    ``fits`` says whether a VM's root, or its base, is the folder ``root``, by whichever path; without one each fits.

    A command line is a claim, which anyone may make: it counts if its user may run that root, which may be shown by the
    inventory's ``data_dir``, and if what it executes lies there.
    """
    found = [_vm(folder, data_dir, root) for folder in Path("/proc").iterdir() if folder.name.isdigit()]
    return {"user": getpass.getuser(), "hidden": _are_hidden(), "vms": [vm for vm in found if vm]}


def _are_hidden() -> bool:
    """Whether /proc hides the processes of other users, see proc(5), "hidepid". Without that all see the first one."""
    try:
        os.close(os.open("/proc/1/cmdline", os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        return True
    return False


def _vm(folder: Path, data_dir: str, wanted: str) -> Optional[Dict[str, Any]]:
    try:
        if (folder / "comm").read_text().strip() != "beam.smp":
            return None
        words = (folder / "cmdline").read_text(errors="replace").split("\0")[:-1]
        owner = folder.stat().st_uid
    except OSError:
        return None
    # What stands after -extra is no option: nodetool has the node's name there. A shell attached to a node has -remsh.
    own = list(takewhile(lambda word: word != "-extra", words))
    if "-root" not in own or "-remsh" in own or not {"-name", "-sname"} & set(own):
        return None
    root = Path(own[own.index("-root") + 1])
    base = _base(root)
    if owner not in _may_run(base, data_dir) or not _executes(folder, root):
        return None
    return {
        "pid": int(folder.name),
        "owner": _user(owner),
        "name": own[own.index("-name" if "-name" in own else "-sname") + 1],
        "root": str(root),
        "base": str(base),
        "data_dir": str(base / _data_dir(words)),
        "fits": not wanted or _same(wanted, root) or _same(wanted, base),
    }


def _same(one: str, other: Path) -> bool:
    """Whether two paths lead to the same folder; by their text where that can't be seen."""
    try:
        return other.samefile(one)
    except OSError:
        return one == str(other)


def _may_run(base: Path, data_dir: str) -> Set[int]:
    """The users whose process may be the node of a root, by the rules of the core."""
    uids = {0, os.geteuid()}
    for path in (base, base / "data", Path(data_dir or base)):
        with suppress(OSError):
            uids.add(path.stat().st_uid)
    named = re.search(r"^RUNNER_USER=[\"']?([^\"'\s]+)", _content(base / "releases" / "emqx_vars"), re.MULTILINE)
    with suppress(KeyError):
        uids.add(pwd.getpwnam(named.group(1) if named else "").pw_uid)
    return uids


def _executes(folder: Path, root: Path) -> bool:
    """Whether a process executes what lies in a root; where that can't be seen, its user has to do."""
    try:
        program = os.readlink(str(folder / "exe"))
    except OSError:
        return True
    return program.startswith(os.path.realpath(str(root)) + "/erts-")


def _content(path: Path) -> str:
    """The beginning of a file; empty where there is none. It may lie where anyone could have put it."""
    try:
        descriptor = os.open(str(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return ""
        return (file.read(LARGEST) or b"").decode("utf-8", "replace")


def _base(root: Path) -> Path:
    """The first root of a chain of deployed trees."""
    deployed = re.match(r"(.+)/relup/[^/]+$", str(root))
    if deployed and Path(deployed.group(1), "releases", "emqx_vars").exists():
        return _base(Path(deployed.group(1)))
    return root


def _data_dir(words: List[str]) -> str:
    """All words up to the next option; it may hold spaces, which may or may not have split it."""
    if "-emqx_data_dir" not in words:
        return "data"
    last = len(words) - 1 - words[::-1].index("-emqx_data_dir")
    return " ".join(takewhile(lambda word: not word.startswith("-"), words[last + 1 :]))


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def attempt(data_dir: str) -> Optional[Dict[str, Any]]:
    """The last attempt in the host's history that changed anything; null if there is none."""
    path = Path(data_dir, "relup_remote", "journal.sqlite3")
    if not path.is_file():
        return None
    # Late: not every Python has it, and the other looks need none.
    import sqlite3  # noqa: PLC0415

    connection = sqlite3.connect("{}?mode=ro".format(path.absolute().as_uri()), uri=True, timeout=10)
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'attempts'").fetchone():
        # A core was killed, or is at work, between making the file and its table.
        return None
    names = ("run", "target_vsn", "status", "result", "stage", "extra")
    query = "SELECT run, target_vsn, status, result, stage, extra FROM attempts ORDER BY id DESC"
    rows = (dict(zip(names, row)) for row in connection.execute(query))
    return next((row for row in rows if json.loads(row.pop("extra")).get("changed")), None)


def leftovers(root: str, data_dir: str, staging_dir: str) -> List[str]:
    """What an upgrade that ended must not have left: trees half unpacked, work folders, tarballs half staged."""
    patterns = ((root, "relup/.relup_remote-*"), (data_dir, "relup_remote/work/*"), (staging_dir, "*.part"))
    return sorted(str(path) for folder, pattern in patterns for path in Path(folder).glob(pattern))


def configuration(wrapper: str, pid: str) -> Dict[str, Any]:
    """How the wrapper gets on with the node's configuration, with the settings in the environment of the VM ``pid``.

    ``status`` is its exit status, `NOT_ENDED` where it had to be ended, None where it has no command that reads it. It
    ``said`` a line.
    """
    if "check_config" not in _content(Path(wrapper)):
        return {"status": None, "said": "the wrapper has no check_config"}
    environ = Path("/proc", pid, "environ").read_text(errors="replace") if pid else ""
    items = [item.partition("=") for item in environ.split("\0")]
    settings = {name: value for name, _, value in items if re.match(r"EMQX_(?!BOOT_CONFIGS$|[A-Z]+_DIR$)\w+$", name)}
    ours = {name: value for name, value in os.environ.items() if not name.startswith("EMQX_")}
    command = [wrapper, "check_config"]
    env = {**ours, **settings, "ERL_CRASH_DUMP_BYTES": "0"}
    both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL}  # type: Dict[str, Any]
    process = subprocess.Popen(command, env=env, start_new_session=True, **both)
    try:
        said = process.communicate(timeout=CONFIGURATION_SECONDS)[0].decode("utf-8", "replace")
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        # One that hangs in the kernel does not end even so.
        with suppress(subprocess.TimeoutExpired):
            process.wait(KILLED_WITHIN)
        return {"status": NOT_ENDED, "said": "it did not end within {} s".format(CONFIGURATION_SECONDS)}
    return {"status": process.returncode, "said": (said.strip().splitlines() or [""])[-1]}


if __name__ == "__main__":
    looks = {"vms": vms, "attempt": attempt, "leftovers": leftovers, "configuration": configuration}  # type: Dict[str, Any]
    print(json.dumps(looks[sys.argv[1]](*sys.argv[2:])))
