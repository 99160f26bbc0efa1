# ruff: noqa: PLC0415, PTH102, PTH104, PTH108, PTH111, PTH112, PTH117, PTH118, PTH208, UP036
"""Payload, shipped to hosts (Python 3.6 and up, standard library only): runs first there, and brings the core to life.

It is called with the core's digest, its size in bytes, and the user to become or nothing. It says one line::

    {"event": "core", "have": true}                     the core is here
    {"event": "core", "have": false, "bytecode": "…"}   send it; the magic number of our bytecode, in hex
    {"event": "core", "error": {…}}                     it can't be run; perhaps after `have`

and then has the core serve requests by the rest of both streams, see `serve`. Sent is a line of JSON and the bytes
it announces: `null` and the core itself, or, from a controller with the same bytecode, `{"bytes": n, "sha256": "…"}`
and what `compiled` makes of the core, in zlib's format: that saves the host the work.

The core is kept in `~/.cache/relup_remote` as `<digest>.<kind of Python>.<digest of this file>.pyz`, with its modules
compiled. The folder is ours alone, and so is the file: its digest says that it is whole, not who made it. It is run
from the descriptor it was checked through: whoever replaces or removes the file meanwhile does not disturb the run.
Where nothing can be kept, the core lives in a file without a name.
"""

import hashlib
import io
import json
import os
import signal
import stat
import sys
from typing import Any, Callable, Dict, List, Optional

SUFFIX = ".pyz"
PART = ".part"
FORGOTTEN = 86400
"""Seconds after which an unfinished file is nobody's."""

IDLE = 600
"""Seconds in which the next request has to come: a controller that is gone may never say so."""

KNOCK = b"\n"
"""What comes before each request."""

SERVED = (0, 1, 3)
"""Exit statuses of a core that has said its result."""

BROKEN = 70
"""The exit status of one that has not."""


class Refused(Exception):
    """The core can't be run here: `error` is as in the protocol, the `message` the err_type's own where not given."""

    def __init__(self, err_type: str, detail: Dict[str, Any], message: Optional[str] = None) -> None:
        super().__init__(err_type)
        self.error = {"err_type": err_type, "detail": detail, "message": message}


def launch(digest: str, size: int, user: str) -> int:
    """Run the core; returns its exit status, that of its last request."""
    unburden()
    try:
        if user:
            become(user)
        core = obtain(digest, size)
        sys.path.insert(0, f"/proc/self/fd/{core}")
        from relup_remote.core.main import main

        return serve(main)
    except Refused as refused:
        say(error=refused.error)
        return 1


def unburden() -> None:
    """Lay down what a login shell's start-up files may have set for all that it starts."""
    os.umask(0o077)
    # Where the ends of children are ignored, nobody learns how they ended.
    for number in (signal.SIGALRM, signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def serve(main: Callable[[], int]) -> int:
    """Have `main` serve each request in a process of its own, so that nothing of one gets into the next.

    Before each comes a `KNOCK`, which is answered by the event ``core`` with ``ready``. This process reads nothing
    else. It ends after a request that was not served to its end, as the core did. Raises `Refused` core_failed.
    """
    # What has let us in may end, and passes such a signal on; the request in hand is finished all the same.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    status = 0
    while status in SERVED:
        signal.alarm(IDLE)
        knock = os.read(0, 1)
        signal.alarm(0)
        if knock != KNOCK:
            # The end of the input, or what a request has left unread.
            return BROKEN if knock else status
        try:
            child = os.fork()
        except OSError as error:
            raise Refused("core_failed", {"error": f"no process for the request: {error.strerror}"}) from error
        if not child:
            answer(main)
        status = ended(child)
    return status


def answer(main: Callable[[], int]) -> None:
    """Serve one request, and end this process."""
    status = BROKEN
    try:
        signal.alarm(IDLE)
        say(ready=True)
        status = main()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        sys.excepthook(*sys.exc_info())
        sys.stderr.flush()
        status = BROKEN
    finally:
        # All is said and done; an interpreter that takes itself apart first costs a sixth of a short run.
        os._exit(status)


def ended(child: int) -> int:
    """The exit status of a process, once it has ended; the signal that has ended it ends us as well."""
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        return os.WEXITSTATUS(status)
    number = os.WTERMSIG(status)
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    return BROKEN


def say(**facts: Any) -> None:
    """Write the event ``core``."""
    sys.stdout.write(json.dumps(dict(event="core", **facts)) + "\n")
    sys.stdout.flush()


def become(user: str) -> None:
    """Turn into `user`, if we are root, and be at home. Raises `Refused` become_failed."""
    import pwd

    try:
        entry = pwd.getpwnam(user)
        if os.geteuid() == 0 and entry.pw_uid != 0:
            os.initgroups(user, entry.pw_gid)
            os.setgid(entry.pw_gid)
            os.setuid(entry.pw_uid)
    except (KeyError, OSError) as error:
        said = "there is no such user" if isinstance(error, KeyError) else error.strerror
        raise Refused("become_failed", {"user": user, "error": said}) from error
    os.environ.update(HOME=entry.pw_dir, USER=user, LOGNAME=user)
    try:
        os.chdir(entry.pw_dir)
    except OSError:
        os.chdir("/")


def obtain(digest: str, size: int) -> int:
    """A descriptor of the core, kept from an earlier run or received. Raises `Refused`."""
    folder = cache_folder()
    kept = find(folder, digest) if folder else None
    if kept is not None:
        say(have=True)
        return kept
    import importlib.util

    say(have=False, bytecode=importlib.util.MAGIC_NUMBER.hex())
    return receive(folder, digest, size)


def cache_folder() -> Optional[str]:
    """Our folder, or None where there can't be one. Raises `Refused` untrusted_dir."""
    if not os.path.isabs(os.environ.get("HOME", "/")):
        return None
    parent = os.path.join(os.path.expanduser("~"), ".cache")
    folder = os.path.join(parent, "relup_remote")
    try:
        for path in (parent, folder):
            if not os.path.isdir(path):
                os.mkdir(path, 0o700)
    except FileExistsError:
        # Another controller was faster, or it is something else; the check below tells.
        pass
    except OSError:
        return None
    try:
        found = os.lstat(folder)
    except OSError:
        # What is in the way of our folder is in the way of nothing else.
        return None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        detail = {"path": folder, "owner_uid": found.st_uid, "mode": oct(stat.S_IMODE(found.st_mode))}
        raise Refused("untrusted_dir", detail, f"{folder} can't be trusted: it is not a folder of ours alone.")
    return folder if os.access(folder, os.R_OK | os.W_OK | os.X_OK) else None


def find(folder: str, digest: str) -> Optional[int]:
    """A descriptor of a kept core that is ours and whole, or None."""
    for name in sorted(os.listdir(folder)):
        if name.startswith(stem(digest)) and name.endswith(SUFFIX):
            own_digest = name[len(stem(digest)) : -len(SUFFIX)]
            try:
                descriptor = os.open(os.path.join(folder, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            except OSError:
                continue
            if is_ours(os.fstat(descriptor)):
                with open(descriptor, "rb", closefd=False) as file:
                    if hashlib.sha256(file.read()).hexdigest() == own_digest:
                        return descriptor
            os.close(descriptor)
    return None


def is_ours(found: os.stat_result) -> bool:
    """Whether nobody else can have written a file."""
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077


def stem(digest: str) -> str:
    """How the names of kept cores begin: what runs in one Python may not run in another."""
    return f"{digest}.{sys.implementation.cache_tag}."


def receive(folder: Optional[str], digest: str, size: int) -> int:
    """A descriptor of the core that the controller sends, kept for the next time if that can be. Raises `Refused`."""
    # A buffer of one byte: nothing is read ahead of what comes next on the same stream, which is the core's.
    stdin = io.BufferedReader(io.FileIO(0, closefd=False), 1)
    ready = json.loads(stdin.readline().decode("utf-8") or "null")
    content = stdin.read(ready["bytes"] if ready else size)
    if hashlib.sha256(content).hexdigest() != (ready["sha256"] if ready else digest):
        raise Refused("core_failed", {"error": "our program arrived damaged", "bytes": len(content)})
    if ready:
        import zlib

        content = zlib.decompress(content)
    else:
        content = compiled(content)
    if folder:
        try:
            return keep(folder, digest, content)
        except OSError:
            # A full quota, say: that is no reason not to run.
            pass
    import tempfile

    try:
        with tempfile.TemporaryFile() as file:
            file.write(content)
            file.flush()
            return os.dup(file.fileno())
    except OSError as error:
        raise Refused("core_failed", {"error": f"no room for our program: {error.strerror}"}) from error


def compiled(content: bytes) -> bytes:
    """The core with each module compiled beside its source, which saves this at every start.

    The format is PEP 552's, "unchecked hash-based pycs"; Python 3.6 has none of them.
    """
    if sys.version_info < (3, 7):
        return content
    import importlib.util
    import marshal
    import zipfile

    unchecked = (1).to_bytes(4, "little")
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(out, "w") as target:
        for name in source.namelist():
            text = source.read(name)
            target.writestr(name, text)
            if name.endswith(".py"):
                header = importlib.util.MAGIC_NUMBER + unchecked + importlib.util.source_hash(text)
                code = compile(text, name, "exec", dont_inherit=True)
                target.writestr(name + "c", header + marshal.dumps(code))
    return out.getvalue()


def keep(folder: str, digest: str, content: bytes) -> int:
    """Put `content` into the cache in place of all that is older; returns a descriptor of it. Raises OSError."""
    name = stem(digest) + hashlib.sha256(content).hexdigest() + SUFFIX
    temporary = os.path.join(folder, str(os.getpid()) + PART)
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        # Not forced to disk: whoever finds it compares it with its name.
        with open(descriptor, "wb", closefd=False) as file:
            file.write(content)
        os.rename(temporary, os.path.join(folder, name))
    except OSError:
        os.close(descriptor)
        os.unlink(temporary)
        raise
    tidy(folder, digest, name)
    return descriptor


def tidy(folder: str, digest: str, kept: str) -> None:
    """Remove the cores of other versions, and what was left unfinished."""
    import time

    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        try:
            older = name.endswith(SUFFIX) and (name.startswith(stem(digest)) or not name.startswith(digest))
            if name != kept and (older or os.lstat(path).st_mtime < time.time() - FORGOTTEN):
                os.unlink(path)
        except OSError:
            # Another controller's bootstrap tidies up too.
            continue


def run(arguments: List[str]) -> int:
    """`launch` with the words of a command line."""
    digest, size, user = arguments
    return launch(digest, int(size), user)


if __name__ == "__main__":
    status = run(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
