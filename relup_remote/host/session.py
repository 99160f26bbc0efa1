"""A request to the core over a connection that stands: start the core or take one that waits, ask, hear, send files."""

import functools
import hashlib
import importlib.util
import json
import os
import threading
import zlib
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from relup_remote import boundary
from relup_remote.boundary import Event
from relup_remote.core.protocol import Failure, encode
from relup_remote.deadline import NEVER, Deadline
from relup_remote.files import open_file
from relup_remote.host import bootstrap, launcher
from relup_remote.host.payload import Payload
from relup_remote.host.stderr import Stderr, prompt
from relup_remote.host.transport import Process, SessionRefused, Start
from relup_remote.host.transport.text import shown
from relup_remote.schema import Unfit
from relup_remote.secrets import NotTried, Password

CHUNK = 1 << 20
"""Bytes of a tarball handed to the connection at once; between two of them events are looked at."""

NOISE = 100
"""Lines that a login shell's start-up files may print before the core is heard."""

AHEAD = 64
"""Lines taken in at once while a tarball is sent."""

SHOWN = 200
"""Bytes shown of a line that can't be understood."""

ANSWERS = 10.0
"""Seconds in which a core that waits for a request answers a knock; later it counts as lost."""

GRACE = 5.0
"""Seconds to wait for the exit status once the core has closed its output."""

BYTECODE = importlib.util.MAGIC_NUMBER.hex()
"""The kind of bytecode that this Python makes; a host may ask for the same."""

_COMPILING = threading.Lock()


@dataclass(frozen=True)
class Errand:
    """What to have done on the host.

    ``user`` is the one to become, None the SSH user; ``sudo_password`` what sudo may ask for meanwhile, on the host of
    that ``name``, of the SSH user ``login`` as far as the inventory names one; ``timeout`` the seconds in which a host
    must say something, ``deadline`` when all has to be done.
    """

    request: Mapping[str, Any]
    tarball: Path | None
    on_event: Callable[[Event], None]
    payload: Payload
    python: str | None
    user: str | None
    timeout: float
    deadline: Deadline = NEVER
    name: str = ""
    login: str = ""
    sudo_password: Password | None = field(default=None, repr=False)


class Waiting:
    """Cores on a host that have served a request and wait for the next one; for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cores: dict[Hashable, _Core] = {}

    def take(self, errand: Errand) -> "_Core | None":
        """One of the right user that is ready for an errand. One that is not is closed: nothing was asked of it."""
        with self._lock:
            core = self._cores.pop(_kind(errand), None)
        if core is None:
            return None
        is_ready = False
        try:
            is_ready = core.is_ready(errand)
            return core if is_ready else None
        finally:
            if not is_ready:
                core.close()

    def put(self, errand: Errand, core: "_Core") -> None:
        """Keep the core that has served an errand."""
        with self._lock:
            other = self._cores.pop(_kind(errand), None)
            self._cores[_kind(errand)] = core
        if other is not None:
            other.close()

    def close(self) -> None:
        """Let all of them end."""
        with self._lock:
            cores = list(self._cores.values())
            self._cores.clear()
        for core in cores:
            core.close()


def _kind(errand: Errand) -> Hashable:
    return errand.user, errand.python, errand.payload.digest


def run(start: Start, errand: Errand, waiting: Waiting) -> Event:
    """Ask the core; returns its ``result`` event, and gives every event before it to ``on_event``.

    One that is ``waiting`` is asked, else one that is begun by ``start``; afterwards it waits there, if all went well.
    Raises `Failure`, stage ``connect``: ``python_missing``, ``become_failed``, ``untrusted_dir``, ``core_failed``,
    ``no_shell``, ``connection_lost``, ``ssh_timeout``; or with stage ``stage`` if the tarball can't be read here.
    """
    core: _Core | None = None
    try:
        core = waiting.take(errand) or _Core(start, errand)
        return core.result()
    except Failure as failure:
        failure.stage = failure.stage or "connect"
        raise
    except TimeoutError:
        if errand.deadline.is_over:
            raise too_late(errand.deadline, core.step if core else None) from None
        message = f"The host said nothing for {errand.timeout:g} s."
        raise Failure("ssh_timeout", message, stage="connect") from None
    except SessionRefused as error:
        message = "The SSH server lets the user in, but opens no session for it."
        raise Failure("no_shell", message, detail={"error": str(error)}, stage="connect") from None
    except OSError as error:
        raise Failure("connection_lost", detail={"error": str(error)}, stage="connect") from None
    finally:
        if core is not None and core.is_free:
            waiting.put(errand, core)
        elif core is not None:
            core.close()


def too_late(deadline: Deadline, step: str | None = None) -> Failure:
    """The failure of a host that was not done in time; ``step`` is what was in hand, as far as it told."""
    said = f"The step {step} was running, and may go on there." if step else "No step was running."
    message = f"The host did not finish within {deadline.seconds:g} s. {said}"
    return Failure("deadline_exceeded", message, detail={"seconds": deadline.seconds, "step": step}, stage="connect")


class _Core:
    """The core as it runs on a host, started for an errand; `is_ready` gives it another one.

    ``is_free`` says that it has served the last one, and that both sides are done with all that belongs to it.
    """

    def __init__(self, start: Start, errand: Errand) -> None:
        self._errand = errand
        self._has_come = False
        self._has_shell = False
        self.is_free = False
        self._bootstrap = files("relup_remote.host").joinpath("bootstrap.py").read_bytes()
        digest, size = errand.payload.digest, len(errand.payload.content)
        self._prompt = prompt() if errand.user is not None and errand.sudo_password is not None else None
        command = launcher.command(errand.python, errand.user, len(self._bootstrap), digest, size, self._prompt)
        self._process = start(command, errand.timeout)
        self._lines = _Lines(self._process, errand.deadline, errand.timeout)
        self.step: str | None = None
        self._stderr = Stderr(self._process, self._prompt)
        self._stderr.start()
        self._heard = 0

    def close(self) -> None:
        """Close its input and output: it ends once what is in hand is done."""
        self._process.close()

    def is_ready(self, errand: Errand) -> bool:
        """Whether it still waits, and answers: then this errand is next. Nothing is asked of it before."""
        self._errand, self.step, self._heard, self.is_free = errand, None, 0, False
        self._lines.limit(errand.deadline, min(errand.timeout, ANSWERS))
        try:
            self._send(bootstrap.KNOCK)
            event: Event | None = {"event": "alive"}
            while event is not None and event["event"] == "alive":
                # It may have been said just before the last result.
                line = self._lines.next()
                event = self._counted(line) if line is not None else None
        except (OSError, Failure):
            return False
        self._lines.limit(errand.deadline, errand.timeout)
        return event is not None and event["event"] == "core" and bool(event.get("ready"))

    def result(self) -> Event:
        """Carry out the errand."""
        knock = b""
        if not self._has_come:
            self._come()
            knock = bootstrap.KNOCK
        self._send(knock + encode(dict(self._errand.request)))
        has_wanted, is_in_step = False, True
        while True:
            event = self._event()
            if event["event"] == "result":
                is_wrong = event["error"] is not None and (has_wanted or event["error"]["err_type"] == "wrong_user")
                self.is_free = is_in_step and not is_wrong
                return event
            self._tell(event)
            if event["event"] == "want":
                has_wanted, is_in_step = True, self._sends_file(event) and is_in_step

    def _come(self) -> None:
        """Bring the core to life. Until our command is heard, whatever reads there may run what it is sent."""
        self._send(launcher.HELLO)
        self._greeting(is_shell_enough=True)
        if self._prompt and self._greeting().get("sudo"):
            self._become()
        self._send(self._bootstrap)
        greeting = self._greeting()
        if not greeting.get("have"):
            self._send_core(greeting.get("bytecode"))
        self._has_come = True

    def _become(self) -> None:
        """Give sudo its password, once it asks. Nothing else is sent before it has let us in."""
        password, seconds = self._errand.sudo_password, self._errand.timeout
        assert password is not None
        try:
            with password.tried_at(self._errand.name, self._errand.login, seconds) as trial:
                if self._stderr.answer(trial, seconds):
                    try:
                        self._greeting()
                        trial.is_right = True
                    finally:
                        trial.is_right = trial.is_right or (False if self._refused() else None)
        except NotTried as reason:
            message = f"The password was not given to sudo here: {reason}."
            raise Failure("become_failed", message, detail={"user": self._errand.user}) from None

    def _refused(self) -> bool:
        """Whether sudo did not take the password; its second question may still be on its way."""
        self._stderr.join(GRACE)
        return self._stderr.is_refused

    def _tell(self, event: Event) -> None:
        """Pass an event on, unless it is a mere sign of life."""
        if event["event"] == "step":
            self.step = event["step"] if event["status"] == "start" else None
        if event["event"] not in ("core", "alive"):
            self._errand.on_event(event)

    def _greeting(self, *, is_shell_enough: bool = False) -> Event:
        """The next word of the launcher or the bootstrap, after whatever the login shell had to say.

        Nothing is returned once our command has begun, if that ``is_shell_enough``.
        """
        noise: list[bytes] = []
        while len(noise) < NOISE:
            line = self._next_of_login()
            if line is None and not self._has_shell:
                raise self._ended("no_shell", noise)
            if line is None:
                raise self._ended("become_failed" if self._errand.user else "core_failed", noise)
            if line == launcher.HELLO.rstrip(b"\n"):
                raise self._garbage(
                    "The host did not run our command. It only repeats what it is sent.", line, "no_shell"
                )
            if line.strip() == launcher.SHELL:
                self._has_shell = True
                if is_shell_enough:
                    return {}
                continue
            event = boundary.event(line)
            if event and event["event"] == "core":
                return self._checked(event)
            noise.append(line[:SHOWN].strip())
            if event:
                # Nothing else speaks like this: the word that we wait for was lost on the way.
                break
        first = next(filter(None, noise), b"")
        if not self._has_shell and not event:
            raise self._garbage("The host did not run our command. It only printed something.", first, "no_shell")
        raise self._garbage("The host sent something that our program on it never sends.", first)

    def _next_of_login(self) -> bytes | None:
        """The next line. Raises `Failure` (``no_shell``) where none comes since something else waits for our input."""
        try:
            return self._lines.next()
        except TimeoutError:
            if self._has_shell or self._errand.deadline.is_over:
                raise
            self._end_login()
            self._stderr.join(GRACE)
            message = (
                "The host lets the SSH user in, but did not run our command. Something else waits for input there, "
                "such as a shell that a start-up file runs."
            )
            raise Failure("no_shell", message, detail={"stderr": self._stderr.text()}) from None

    def _end_login(self) -> None:
        """End what reads our input in place of our command. Raises TimeoutError if it is still on its way there."""
        self._process.end_input()
        self._lines.limit(self._errand.deadline, GRACE)
        for _ in range(NOISE):
            # A shell that reads commands ends; a start-up file that takes its time goes on.
            line = self._lines.next()
            if line is None:
                break
            if line.strip() == launcher.SHELL:
                raise TimeoutError
        if self._process.is_cut_off():
            raise Failure("connection_lost")

    def _event(self) -> Event:
        line = self._lines.next()
        if line is None:
            raise self._ended("core_failed")
        return self._checked(self._counted(line))

    def _counted(self, line: bytes) -> Event:
        """The event in a line. A host that says more of them than any core would is heard no longer."""
        self._heard += 1
        if self._heard > boundary.MOST_EVENTS:
            raise self._garbage(f"The host said more than {boundary.MOST_EVENTS} events.", line)
        event = boundary.event(line)
        if event is None:
            raise self._garbage("The host sent something that is not an event.", line)
        return event

    def _checked(self, event: Event) -> Event:
        """The event, unless it is the bootstrap's refusal."""
        if event["event"] != "core" or "error" not in event:
            return event
        error = event["error"]
        if error["err_type"] == "python_missing":
            # What a Python says that does not even start.
            self._stderr.join(GRACE)
            said = {"stderr": self._stderr.text()} if self._stderr.text() else {}
            looked_for = list(launcher.pythons(self._errand.python))
            raise Failure("python_missing", detail={"looked_for": looked_for, **said})
        raise Failure(error["err_type"], error.get("message"), detail=error.get("detail"))

    def _send_core(self, bytecode: Any) -> None:
        """Send the core: compiled, if the host has our kind of Python. It saves the host the work, and is done once."""
        core, announced = self._errand.payload, None
        if bytecode == BYTECODE:
            with _COMPILING:
                core = compiled(core)
            announced = {"bytes": len(core.content), "sha256": core.digest}
        self._send(json.dumps(announced).encode() + b"\n")
        self._send(core.content)

    def _sends_file(self, want: Event) -> bool:
        """Send a part of the tarball, until the core has had enough; what it says meanwhile is passed on.

        Says whether all of it was sent.
        """
        for part in _parts(self._errand.tarball, want):
            self._send(part)
            for line in self._lines.arrived():
                event = self._counted(line)
                if event["event"] in ("result", "want", "core"):
                    self._lines.put_back(line)
                    return False
                self._tell(event)
        return True

    def _send(self, data: bytes | memoryview) -> None:
        """Send unless the core is gone; why it went is then to be read."""
        rest = memoryview(data)
        try:
            while rest:
                # A host that takes a byte now and then holds us no longer than one that takes none.
                seconds = self._errand.deadline.within(self._errand.timeout)
                rest = rest[self._process.send(rest, seconds) :]
        except TimeoutError:
            raise
        except OSError:
            if self._process.is_cut_off():
                raise

    def _ended(self, err_type: str, noise: Sequence[bytes] = ()) -> Failure:
        """The failure for a core that says no more; ``noise`` is what came instead of it, as from a login shell."""
        if self._process.is_cut_off():
            return Failure("connection_lost")
        status = None
        with suppress(TimeoutError):
            status = self._process.wait(GRACE)
        self._stderr.join(GRACE)
        said = self._stderr.text()
        how = "a signal, or its output was closed" if status is None else f"exit status {status}"
        instead = [shown(line.decode("utf-8", "replace")).strip() for line in noise]
        words = [line for line in instead if line]
        message = hint = None
        if err_type == "become_failed" and self._stderr.is_refused:
            message = f"{_not_started(self._errand.user)}: sudo did not accept the password."
            hint = "Run the command again, and give the password that sudo wants of the SSH user."
        elif err_type == "become_failed":
            message, hint = _not_become(str(self._errand.user), said)
        elif err_type == "no_shell" and (words or said):
            last = words[-1] if words else shown(said).splitlines()[-1].strip()
            message = f"The host lets the SSH user in, but runs no commands for it. It said: {last}"
        elif words and not self._errand.user:
            message = f"Our program on the host could not start. The host said: {words[-1]}"
        detail = {"ended_by": how, "stderr": said, **({"said": "\n".join(words)} if words else {})}
        return Failure(err_type, message, hint=hint, detail=detail)

    def _garbage(self, message: str, line: bytes, err_type: str = "core_failed") -> Failure:
        said = line[:SHOWN].decode("utf-8", errors="replace")
        return Failure(err_type, message, detail={"said": said, "stderr": self._stderr.text()})


def _not_become(user: str, said: str) -> tuple[str, str | None]:
    """The message where the core could not be started as another user, and a hint if not the usual one will do."""
    by_sudo = [line.removeprefix("sudo:").strip() for line in said.splitlines() if line.startswith("sudo:")]
    # Plugins only repeat that something is wrong.
    by_sudo = [line for line in by_sudo if " plugin " not in line] or by_sudo
    why = f": sudo says: {by_sudo[-1]}" if by_sudo else "."
    hint = None
    if by_sudo and "must have a tty" in by_sudo[-1]:
        hint = f"No terminal is used. Set `Defaults:NAME !requiretty` in sudoers for the SSH user, or log in as {user}."
    return f"{_not_started(user)}{why}", hint


def _not_started(user: str | None) -> str:
    return f"Our program could not be started on the host as {user}"


@functools.cache
def compiled(core: Payload) -> Payload:
    """The core as hosts with the same `BYTECODE` need it, packed as the bootstrap expects it."""
    content = zlib.compress(bootstrap.compiled(core.content), 1)
    return Payload(content, hashlib.sha256(content).hexdigest())


class _Lines:
    """The lines that a process says, each within ``seconds`` and all before the ``deadline``."""

    def __init__(self, process: Process, deadline: Deadline = NEVER, seconds: float = 60.0) -> None:
        self._process = process
        self.limit(deadline, seconds)
        self._whole: deque[bytes] = deque()
        self._begun = bytearray()

    def limit(self, deadline: Deadline, seconds: float) -> None:
        """Go by other limits from now on."""
        self._deadline = deadline
        self._seconds = seconds

    def next(self) -> bytes | None:
        """The next line, or None if there will be none. Raises TimeoutError."""
        while not self._whole:
            if not self._receive():
                return None
        return self._whole.popleft()

    def arrived(self) -> Iterator[bytes]:
        """The lines that are here already, a limited number: a host may say more while these are looked at."""
        while len(self._whole) < AHEAD and self._process.has_output() and self._receive():
            pass
        while self._whole:
            yield self._whole.popleft()

    def put_back(self, line: bytes) -> None:
        """Let ``line`` be the next one again."""
        self._whole.appendleft(line)

    def _receive(self) -> bool:
        data = self._process.receive(self._deadline.within(self._seconds))
        *whole, rest = data.split(b"\n")
        if whole:
            whole[0] = bytes(self._begun) + whole[0]
            self._begun.clear()
        self._whole.extend(whole)
        self._begun += rest
        if len(self._begun) > boundary.LONGEST_LINE:
            longest = f"a line has more than {boundary.LONGEST_LINE >> 20} MB"
            raise boundary.malformed("", Unfit("", longest))
        return bool(data)


def _parts(tarball: Path | None, want: Event) -> Iterator[memoryview]:
    """What the core wants of the tarball. Raises `Failure`: ``core_failed`` if it wants something else."""
    left = want["bytes"]
    if tarball is None or want["file"] != "tarball":
        raise Failure("core_failed", "The host wants a file that it was not told of.", detail={"want": want})
    buffer = memoryview(bytearray(CHUNK))
    try:
        with os.fdopen(open_file(tarball), "rb", buffering=0) as file:
            file.seek(want["offset"])
            while left:
                got = file.readinto(buffer[:left])
                if not got:
                    raise Failure("bad_tarball", f"{tarball} became shorter while it was sent.", stage="stage")
                left -= got
                yield buffer[:got]
    except OSError as error:
        raise Failure("target_tarball_not_found", f"{tarball}: {error.strerror}.", stage="stage") from error
