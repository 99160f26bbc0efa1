"""Payload, shipped to hosts (Python 3.6 and up, standard library only): one request in, events and a result out."""

import errno
import os
import pwd
import signal
import sys
import threading
import time
from select import PIPE_BUF, select
from typing import Any, BinaryIO, Dict, Optional

from . import commands
from .context import Context
from .deadline import SILENCE, STARTING, Deadline, TimeIsUp
from .files import writing_failure
from .machine import check as check_machine
from .machine import identity
from .protocol import Failure, Result, encode, exit_status
from .request import read_request
from .site import check_trust, check_user, locate

_ALIVE_EVERY = 5.0

_UNHEARD = 74
"""The exit status of a core whose result nobody read."""

_REFUSING = (
    "upgrade",
    "plan",
    "stage",
    "prepare",
    "rollback",
    "cleanup",
    "lock",
    "unlock",
    "backup",
    "restore",
    "logs-clear",
)
"""The commands that refuse where nothing was changed; what only looks fails."""


class Output:
    """Writes events, one line each, from any thread."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._is_read = True
        self._left = b""
        try:
            self._descriptor: Optional[int] = stream.fileno()
        except (OSError, ValueError):
            # One in memory.
            self._descriptor = None

    @property
    def is_read(self) -> bool:
        """Whether all that was written was taken."""
        return self._is_read

    def emit(self, event: Dict[str, Any]) -> None:
        """Writes an event. That nobody reads any more does not stop the work, nor hold it for longer than `SILENCE`."""
        with self._lock:
            if self._is_read:
                try:
                    self._is_read = self._write(encode(event))
                except (OSError, ValueError):
                    self._is_read = False

    def _write(self, line: bytes) -> bool:
        """Says whether all was taken."""
        if self._descriptor is None:
            self._stream.write(line)
            return True
        # Of a line that was cut by the end of the request's time the rest is still to be said.
        self._left += line
        while self._left:
            # What has room takes so many bytes without waiting.
            if not select([], [self._descriptor], [], SILENCE)[1]:
                return False
            self._left = self._left[os.write(self._descriptor, self._left[:PIPE_BUF]) :]
        return True


def main() -> int:
    """Serves the request on standard input; the exit status follows the result, as that of the commands does.

    Where the result could not be said it is another: whoever did not hear it waits for our end.
    """
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.umask(0o077)
    output = Output(sys.stdout.buffer)
    finished = threading.Event()
    threading.Thread(target=_keep_alive, args=(output, finished), daemon=True).start()
    try:
        result = serve(sys.stdin.buffer, output)
    except TimeIsUp:
        # It was up between two lines of what deals with that.
        result = Result()
        _fail(result, Failure("deadline_exceeded", stage="connect", changed=True), "connect", None)
    finally:
        finished.set()
    # Nobody may read any more: the lock is given back by now, and the process must end as well.
    signal.alarm(STARTING)
    output.emit(result.to_json())
    return exit_status([result.outcome]) if output.is_read else _UNHEARD


def _keep_alive(output: Output, finished: threading.Event) -> None:
    while not finished.wait(_ALIVE_EVERY):
        output.emit({"event": "alive"})


def serve(stdin: BinaryIO, output: Output) -> Result:
    """The result of the request that `stdin` begins with; no exception passes."""
    started = time.monotonic()
    result = Result()
    command = "connect"
    context = None
    deadline = Deadline()
    try:
        request = read_request(stdin)
        command = request["command"]
        deadline = Deadline(request.get("deadline"))
        deadline.start()
        machine = identity()
        output.emit({"event": "hello", "pid": os.getpid(), "python": _python(), "user": _user(), "machine": machine})
        check_machine(request.get("machine"), command)
        site = locate(request["node"])
        check_user(site)
        check_trust(site)
        context = Context(request, site, output.emit, stdin, deadline)
        result = context.result
        commands.run(context)
    except Failure as failure:
        _fail(result, failure, command, context)
    except OSError as error:
        # Wherever it is met.
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        met = writing_failure(error, str(error.filename or "")) if is_full else _unforeseen(error)
        _fail(result, met, command, context)
    except TimeIsUp:
        _fail(result, out_of_time(deadline, result), command, context)
    except Exception as error:
        _fail(result, _unforeseen(error), command, context)
    finally:
        if context is not None:
            try:
                context.close()
            except Failure as failure:
                output.emit({"event": "note", "message": failure.message})
            except TimeIsUp:
                output.emit({"event": "note", "message": "What this request began in the VM ends with its connection."})
        deadline.stop()
    result.seconds = time.monotonic() - started
    return result


def _unforeseen(error: Exception) -> Failure:
    """The failure for an exception that is met while it is handled."""
    # Late, for it is slow to import.
    import traceback  # noqa: PLC0415

    unforeseen = Failure("internal_error", "{}: {}".format(type(error).__name__, error), changed=True)
    unforeseen.detail["traceback"] = traceback.format_exc().splitlines()[-12:]
    return unforeseen


def out_of_time(deadline: Deadline, result: Result) -> Failure:
    """The failure of a request whose time is over; it says how far it got."""
    done = [step.step for step in result.steps]
    after = " after {}".format(", ".join(done)) if done else ""
    message = "The time for the request, {:g} s, was over{}.".format(deadline.seconds or 0, after)
    # It had begun: that is no refusal, whether or not something was changed by then.
    return Failure("deadline_exceeded", message, detail={"seconds": deadline.seconds, "done": done}, changed=True)


def _python() -> str:
    """This Python's version."""
    return "{}.{}.{}".format(*sys.version_info)


def _user() -> str:
    """The name of the user that we run as, or the uid of one without a name."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _fail(result: Result, failure: Failure, command: str, context: Any) -> None:
    failure.stage = failure.stage or command
    result.error = failure
    # What a look at a host refuses with `dry_run` is refused for the command that would follow.
    refusing = command in _REFUSING or (context is not None and context.option("dry_run"))
    # A step that does work and breaks has failed, even where it left nothing behind.
    working = ("stage", "checksum", "extract", "backup", "restore")
    broke = any(step.status == "failed" and step.step in working for step in result.steps)
    # So has a hop that began, also where all of it could be taken back.
    changed = failure.changed or (context is not None and (context.changed or context.hop_started))
    result.outcome = "refused" if refusing and not changed and not broke else "failed"
