"""Run on a host by the postchecks, as text given to its Python (3.6 and up, standard library only).

Usage: ``vms DATA_DIR ROOT`` | ``looks NAMES ROOT DATA_DIR STAGING_DIR TARGET PID SECONDS``.
Prints one line of JSON. `looks` takes several at once, side by side: two of them wait for a VM that starts.
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
import threading
import time
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Set, Tuple

KILLED_WITHIN = 5
LARGEST = 1 << 20
NOT_ENDED = 124
"""As timeout(1) has it."""

SAID = 4096
"""Characters kept of what a wrapper says."""


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


def files(root: str, target: str) -> Dict[str, Any]:
    """What lies in a root, as far as the ``target``, else what the next start boots, is concerned.

    ``marker``; ``base_version``, by the base's emqx_vars; ``vars``, the text of that of the tree that boots next; the
    ``target`` and its ``tree``; what the tree ``lacks``; its ``specs``, the .app files; and ``rel``, the text of its
    emqx.rel. What is not there, or not known without the others, is null.
    """
    base = Path(root)
    text = _text(base / "relup" / "current")
    marker = None if text is None else text.strip()
    set_by_base = _text(base / "releases" / "emqx_vars")
    named = re.search(r"^REL_VSN=[\"']?([^\"'\s]+)", set_by_base or "", re.MULTILINE)
    base_version = named.group(1) if named else None
    boots = marker or base_version
    target = target or boots or ""
    found = {"marker": marker, "base_version": base_version, "target": target or None, "tree": None, "rel": None}
    found.update(vars=_text(base / "relup" / marker / "releases" / "emqx_vars") if marker else set_by_base)
    if not target:
        return dict(found, lacks=[], specs=[])
    tree = base if marker is None and target == boots else base / "relup" / target
    folders = [name for name in ("bin", "lib", "releases/" + target) if not (tree / name).is_dir()]
    programs = [name for name in ("bin/emqx", "erts-*/bin/beam.smp") if not any(tree.glob(name))]
    found.update(tree=str(tree), rel=_text(tree / "releases" / target / "emqx.rel"), lacks=folders + programs)
    return dict(found, specs=sorted(str(path.relative_to(tree)) for path in tree.glob("lib/*/ebin/*.app")))


def _text(path: Path) -> Optional[str]:
    """The text of a file; None if there is none. Raises OSError if that can't be told."""
    try:
        is_file = stat.S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not is_file:
        return None
    with path.open("rb") as file:
        return file.read(LARGEST).decode("utf-8", "replace")


def version(wrapper: str, seconds: float) -> Dict[str, Any]:
    """What the node says to the wrapper when it is asked for its version: exit ``status``, what it ``said``."""
    status, said, problem = _ran([wrapper, "eval", "emqx_release:version()"], dict(os.environ), seconds)
    return {"status": status, "said": said.strip() if status == 0 else (problem or said).strip()}


def configuration(wrapper: str, pid: str, seconds: float) -> Dict[str, Any]:
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
    env = dict(ours, ERL_CRASH_DUMP_BYTES="0", **settings)
    status, said, _ = _ran([wrapper, "check_config"], env, seconds, subprocess.STDOUT)
    return {"status": status, "said": (said.strip().splitlines() or [""])[-1]}


def _ran(
    command: List[str], env: Dict[str, str], seconds: float, errors: int = subprocess.PIPE
) -> Tuple[int, str, str]:
    """The exit status of a command and the ends of its outputs; `NOT_ENDED` if it took longer than so many seconds."""
    process = subprocess.Popen(
        command,
        env=env,
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=errors,
    )
    try:
        said = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        # One that hangs in the kernel does not end even so.
        with suppress(subprocess.TimeoutExpired):
            process.wait(KILLED_WITHIN)
        said_so = "it did not end within {:g} s".format(seconds)
        return NOT_ENDED, said_so, said_so
    out, err = ((each or b"").decode("utf-8", "replace")[-SAID:] for each in said)
    return process.returncode, out, err


def looks(
    names: str, root: str, data_dir: str, staging_dir: str, target: str, pid: str, seconds: str
) -> Dict[str, Any]:
    """Several looks, by their names with commas between them: what each has ``found``, or why it ``failed``.

    And how many ``seconds`` it took. None of them takes longer than ``seconds``, and what one fails at is no other's.
    """
    wrapper, limit = str(Path(root, "bin", "emqx")), float(seconds)
    known: Dict[str, Callable[[], Any]] = {
        "files": lambda: files(root, target),
        "configuration": lambda: configuration(wrapper, pid, limit),
        "version": lambda: version(wrapper, limit),
        "attempt": lambda: attempt(data_dir),
        "leftovers": lambda: leftovers(root, data_dir, staging_dir),
    }
    late = {"failed": "it did not end within {:g} s".format(limit), "seconds": limit}
    told: Dict[str, Dict[str, Any]] = dict.fromkeys(names.split(","), late)
    began = time.monotonic()

    def take(name: str) -> None:
        try:
            found = {"found": known[name]()}
        except Exception as error:
            found = {"failed": "{}: {}".format(type(error).__name__, error)}
        told[name] = dict(found, seconds=round(time.monotonic() - began, 4))

    # Daemons: one that hangs in the kernel must not keep what the others have found.
    threads = [threading.Thread(target=take, args=(name,), daemon=True) for name in told]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, began + limit + KILLED_WITHIN - time.monotonic()))
    return dict(told)


if __name__ == "__main__":
    commands: Dict[str, Callable[..., Any]] = {"vms": vms, "looks": looks}
    print(json.dumps(commands[sys.argv[1]](*sys.argv[2:])), flush=True)
