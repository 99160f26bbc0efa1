"""The system's `ssh`, with all that it knows of ways, keys and certificates.

A master connection is made once for a command (see ssh_config(5), "ControlMaster"), and each process on the host is a
session of it. Jump hosts have masters as well, which all hosts behind them share. All of it lies in a folder of ours,
which nobody else may enter. A master ends with its command: it lives as long as somebody is connected to its socket,
and we are. So it ends by itself some seconds after us if we are killed. Where a master of the operator's stands, that
is used instead, and left as it is.

`ssh` reads a configuration of ours, which begins with our rules and then includes the operator's, for the first value
counts. It holds for jump hosts too, to which `ssh` hands it down. What `ssh` itself says goes to a pipe of its own, so
that it is never taken for what a proxy command says, a jump host's `ssh`, or the host.
"""

import contextlib
import fcntl
import functools
import glob
import os
import re
import select
import shlex
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence, Set
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relup_remote.core.protocol import Failure
from relup_remote.deadline import Deadline
from relup_remote.files import read_bytes, write_private
from relup_remote.host import identities, route
from relup_remote.host.route import Station
from relup_remote.host.transport import SessionRefused, askpass, jumps, pipes
from relup_remote.host.transport.askpass import Answers
from relup_remote.host.transport.text import shown
from relup_remote.ways import LOGIN_TRIES, Ways

if TYPE_CHECKING:
    from relup_remote.inventory import HostSettings

LINGERS = 10
"""Seconds for which a master lives that nobody is connected to."""

KEPT = 4096
"""Bytes kept of what a program says."""

PREFIX = "relup-ssh-"
"""How our folders are called."""

LONGEST_FOLDER = 50
"""Characters of a folder's name: the path of a socket may have 104, and OpenSSH needs 60 for its own."""

PASSWORDS_SINCE = (8, 5)
"""The first version of OpenSSH that marks the questions of servers."""

SYSTEM_CONFIG = Path("/etc/ssh/ssh_config")
"""The configuration of all users."""

INCLUDE = re.compile(r'\s*("?)include\1(?:\s*=\s*|\s+)(.*?)\s*', re.IGNORECASE)
"""A line that includes files, and their names."""

DEEPEST = 16
"""How deep OpenSSH lets files include each other."""

SHELLS = ("sh", "ash", "bash", "dash", "ksh", "mksh", "zsh")
"""Shells that understand what we put before a proxy command."""

RULES = """\
StrictHostKeyChecking yes
NoHostAuthenticationForLocalhost no
UpdateHostKeys no
AddKeysToAgent no
NumberOfPasswordPrompts 1
RemoteCommand none
RequestTTY no
ClearAllForwardings yes
ForwardAgent no
ForwardX11 no
VisualHostKey no
PasswordAuthentication no
KbdInteractiveAuthentication no
"""
"""What holds whatever the operator's configuration says: jump hosts get no password either."""


class Connection:
    """A way to a host through a master of its own.

    Raises `Failure`: ``host_unreachable``, ``host_key_unknown``, ``host_key_changed``, ``host_key_revoked``,
    ``host_certificate_invalid``, ``auth_failed``, ``key_unusable``, ``ssh_timeout``, ``host_changed``; stage
    ``connect``.
    """

    def __init__(
        self, settings: "HostSettings", stations: Sequence[Station] | None = None, shared: "Shared | None" = None
    ) -> None:
        self._own = ExitStack()
        ways = settings.ways or self._own.enter_context(Ways())
        try:
            self._master = Master(settings, ways, stations or route.to(settings), shared or Shared(settings))
            self._own.callback(self._master.close)
            if settings.pin is not None and self._master.key is not None:
                settings.pin.meet(self._master.address, self._master.key)
        except BaseException as error:
            self._own.close()
            if isinstance(error, Failure):
                error.stage = "connect"
            if isinstance(error, OSError):
                raise _not_even_tried(error, settings) from None
            raise

    @property
    def is_active(self) -> bool:
        """Whether the master is there."""
        return self._master.is_active

    def start(self, command: str, seconds: float) -> "Process":
        """Have the host's login shell run a command. Raises TimeoutError, OSError."""
        deadline = Deadline(seconds)
        said = ""
        for _ in Ways.tries():
            process = Process(self._master, command)
            if process.begins(deadline):
                return process
            process.close()
            said = process.said()
            # A server that allows few sessions may still be about to free the last one.
            if not process.is_refused:
                break
        else:
            raise SessionRefused(said)
        raise ConnectionError(said or "the session was not opened")

    def close(self) -> None:
        """End the master. Safe to repeat."""
        self._own.close()


class Log:
    """What programs say, by a named pipe: `ssh` closes all descriptors but its streams, and drops what others say."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path, 0o600)
        self.reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        os.set_blocking(self.reading, True)
        # As long as this is open there is no end, even if nobody else has opened it yet.
        self.writing = os.open(path, os.O_WRONLY | os.O_CLOEXEC)

    def is_ready(self) -> None:
        """The `ssh` has opened it, or has ended: there is an end when it ends."""
        if self.writing >= 0:
            os.close(self.writing)
            self.writing = -1
            self.path.unlink(missing_ok=True)

    def read(self, take: Callable[[bytes], None]) -> None:
        """Read it to its end, which closes it."""
        while data := os.read(self.reading, 1 << 16):
            take(data)
        os.close(self.reading)


class Process(pipes.Process):
    """A session of a master, as an `ssh` that is its client."""

    def __init__(self, master: "Master", command: str) -> None:
        self._master = master
        self._log = Log(master.folder.file("log"))
        self._said = b""
        self.is_refused = False
        # Without a master it must not go anywhere: it would by default.
        options = ["-F", os.devnull, "-o", "ProxyCommand=false", "-o", "LogLevel=DEBUG1", "-E", str(self._log.path)]
        options += ["-S", _escaped(master.socket), "-T", "-e", "none", "--", "relup", command]
        try:
            super().__init__(["ssh", *options])
        except OSError:
            self._log.is_ready()
            os.close(self._log.reading)
            raise

    def begins(self, deadline: Deadline) -> bool:
        """Whether the session is opened. Raises TimeoutError."""
        poll = select.poll()
        poll.register(self._log.reading, select.POLLIN)
        poll.register(self._output, 0)
        try:
            while OPENED not in self._said:
                ready = dict(poll.poll(deadline.within(deadline.seconds) * 1000))
                if not ready:
                    raise TimeoutError
                if self._log.reading in ready:
                    self._take(os.read(self._log.reading, 1 << 12))
                elif OPENED not in self._said:
                    # It has ended, and has nothing more to say.
                    return False
            return True
        except TimeoutError:
            self.close()
            raise
        finally:
            self._log.is_ready()
            threading.Thread(target=self._log.read, args=[self._take], daemon=True).start()

    def _take(self, data: bytes) -> None:
        self._said = (self._said + data)[-KEPT:]
        self.is_refused = self.is_refused or b"refused by peer" in self._said

    def said(self) -> str:
        """What `ssh` said of it."""
        return _shown(_lines(self._said.decode("utf-8", "replace")))

    def wait(self, seconds: float) -> int | None:
        """The exit status. Raises TimeoutError."""
        status = super().wait(seconds)
        # This is how `ssh` says that there is none.
        return None if status == UNKNOWN else status

    def is_cut_off(self) -> bool:
        """Whether the master is gone; its client ends in the same way as many commands do."""
        with suppress(TimeoutError):
            return self.wait(pipes.ENDS) is None and self._master.ends(pipes.ENDS)
        return False

    def close(self) -> None:
        """End it: the master closes the session."""
        self.end()


UNKNOWN = 255

OPENED = b"master session id"
"""What an `ssh` says once the host has taken its command."""


class Master:
    """The connection itself. Raises `Failure`."""

    def __init__(self, settings: "HostSettings", ways: Ways, stations: Sequence[Station], shared: "Shared") -> None:
        self._settings = settings
        self._stations = stations
        self._shared = shared
        self.folder = ways.kept(("folder",), Folder, lambda _folder: True)
        self.key: str | None = None
        self.address: str | None = None
        self._tether: socket.socket | None = None
        self._looking = threading.Lock()
        theirs = shared.at(self._stations[-1])
        with suppress(OSError):
            # It may have ended since it was asked.
            self._tether = _tether(theirs, settings.connect_timeout) if theirs else None
        self._is_ours = self._tether is None
        self.socket = self.folder.file("s") if self._is_ours or theirs is None else theirs
        if self._is_ours:
            self._connect(ways)
            try:
                self._tether = _tether(self.socket, settings.connect_timeout)
            except OSError as error:
                raise Failure("host_unreachable", detail={"error": f"the master connection is gone: {error}"}) from None

    def _connect(self, ways: Ways) -> None:
        """Make it. Raises `Failure`."""
        settings = self._settings
        self._config = self.folder.file("conf")
        write_private(self._config, self._configuration())
        passed = self._stations[:-1]
        with ways.first(("jump", *self._way(len(passed))) if passed else None, settings.connect_timeout):
            for _ in Ways.tries(LOGIN_TRIES):
                with ways.login(settings.connect_timeout):
                    attempt, failure = self._attempt()
                if failure is None or not attempt.may_be_busy:
                    break
            if attempt.refused_by is not None:
                with ways.login(settings.connect_timeout):
                    failure = self._refused(attempt.refused_by)
            if failure is not None:
                raise failure
        self.key, self.address = attempt.key, None if passed or self._stations[-1].command else attempt.address

    def _attempt(self) -> tuple["_Attempt", Failure | None]:
        """Try it, and where the password was in the way of the keys once more without it."""
        make = functools.partial(_Attempt, self._stands, self._settings, self._stations, self.folder)
        attempt = make(self._command)
        failure = attempt.run()
        if failure is not None and attempt.is_password_refused and _asks_first(self._stations[-1]):
            by_keys = make(functools.partial(self._command, may_ask=False))
            other = by_keys.run()
            if other is None or other.err_type != "auth_failed":
                return by_keys, other
        return attempt, failure

    @property
    def is_active(self) -> bool:
        """Whether it stands."""
        return not self.ends(0)

    def ends(self, seconds: float) -> bool:
        """Whether it has ended, or does within so many seconds: it closes its socket then."""
        with self._looking:
            if self._tether is None:
                return True
            poll = select.poll()
            poll.register(self._tether, select.POLLIN)
            if poll.poll(seconds * 1000):
                with suppress(OSError):
                    # It has nothing to say to who asks nothing.
                    if self._tether.recv(1 << 12):
                        return False
                self._tether.close()
                self._tether = None
            return self._tether is None

    def close(self) -> None:
        """End it at once, if it is ours."""
        if self._tether is None:
            return
        if self._is_ours:
            _control(self.socket, "exit")
        self._tether.close()
        self._tether = None

    def _command(self, others: Path, may_ask: bool = True) -> list[str]:
        """What makes it; the password is asked for only if it ``may_ask``.

        ``others`` is where the programs on the way say what they have to say: `ssh` would drop it.
        """
        settings, host = self._settings, self._stations[-1]
        words = ["ssh", "-F", str(self._config), "-f", "-N", "-M", "-S", str(self.socket)]
        words += ["-o", f"ControlPersist={LINGERS}", "-o", "LogLevel=DEBUG1"]
        if settings.key:
            words += ["-o", f"IdentityFile={_quoted(settings.key)}", "-o", "IdentitiesOnly=yes"]
        if settings.known_hosts:
            words += ["-o", f"UserKnownHostsFile={_quoted(settings.known_hosts)}", "-o", "GlobalKnownHostsFile=none"]
            words += ["-o", "KnownHostsCommand=none"]
        if may_ask and settings.secrets.login is not None and version() >= PASSWORDS_SINCE:
            for option in ("passwordauthentication", "kbdinteractiveauthentication"):
                words += ["-o", f"{option}={host.options.get(option, ['yes'])[0]}"]
        before = self._before(others) if Path(os.environ.get("SHELL") or "/bin/sh").name in SHELLS else None
        if before is not None:
            words += ["-o", f"ProxyCommand={before}"]
        words += [*_option("-p", settings.port), *_option("-l", settings.user)]
        words += [*_without(settings.ssh_args, "-F", *(["-J"] if before else [])), "--", settings.address]
        return words

    def _before(self, others: Path) -> str | None:
        """The command that leads to the host, as `ssh` would make it of its jump hosts; with its tokens."""
        host = self._stations[-1]
        if host.command is not None:
            return _heard(host.options["proxycommand"][0], others)
        if len(self._stations) == 1:
            return None
        return self._beyond(len(self._stations) - 2, others)

    def _beyond(self, number: int, others: Path) -> str:
        """The proxy command that leads on from the jump host of that number."""
        words = shlex.join(self._through(number, others)).replace("%", "%%")
        name = shlex.quote(self._stations[number].name).replace("%", "%%")
        return _heard(f"{words} -W '[%h]:%p' -- {name}", others)

    def _through(self, number: int, others: Path, *options: str) -> list[str]:
        """The `ssh` that connects to the jump host of that number by way of those before it; its name comes after it.

        Those before it say what they have to say to ``others``.
        """
        jump = self._stations[number]
        words = ["ssh", *jump.given, *options, "-F", str(self._config)]
        if shared := self._shared.at(jump):
            words += ["-o", "ControlMaster=no", "-o", f"ControlPath={_quoted(shared)}"]
        else:
            words += ["-o", f"ControlPath={self.folder.path}/j{self.folder.number(self._way(number + 1))}"]
        if number:
            words += ["-o", f"ProxyCommand={self._beyond(number - 1, others)}"]
        return words

    def _way(self, count: int) -> Sequence[Hashable]:
        """All that decides how the first ``count`` jump hosts are passed: who has the same has the same connections."""
        return self._settings.known_hosts, *self._included(), *(each.key for each in self._stations[:count])

    def _stands(self, number: int) -> bool:
        """Whether there is a connection to the jump host of that number."""
        return _ends_well([*self._through(number, Path(os.devnull)), "-O", "check", "--", self._stations[number].name])

    def _refused(self, number: int) -> Failure:
        """The failure where the jump host of that number makes no connection to the next station.

        Its master is told why, and says it to nobody. So the same is asked once more, without a master.
        """
        jump, there = self._stations[number : number + 2]
        alone = ("-o", "ControlMaster=no", "-o", "ControlPath=none")
        words = self._through(number, Path(os.devnull), *alone)
        said = b""
        with suppress(OSError, subprocess.TimeoutExpired):
            said = subprocess.run(
                [*words, "-W", f"[{there.address}]:{there.port}", "--", jump.name],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                timeout=self._settings.connect_timeout,
                env=self.folder.environment(self.folder.path / "nobody"),
                start_new_session=True,
            ).stderr
        return _not_opened(jump, there, said.decode("utf-8", "replace")[-KEPT:])

    def _configuration(self) -> str:
        settings = self._settings
        is_asked = bool(settings.secrets.passphrase or settings.secrets.login) and version() >= PASSWORDS_SINCE
        lines = [
            *RULES.splitlines(),
            f"BatchMode {'no' if is_asked else 'yes'}",
            f"ConnectTimeout {max(1, round(settings.connect_timeout))}",
            f"ServerAliveInterval {max(1, round(settings.keepalive))}",
        ]
        names = [station.name for station in self._stations]
        for jump in self._stations[:-1]:
            shared = self._shared.at(jump)
            if shared and names.count(jump.name) == 1:
                lines += [f"Match originalhost {jump.name}", "ControlMaster no", f"ControlPath {_quoted(shared)}"]
        lines += [
            "Match all",
            "ControlMaster auto",
            # For the jump hosts that `ssh` passes by itself.
            f"ControlPath {self.folder.path}/{self.folder.number(self._way(len(names) - 1))}-%C",
            f"ControlPersist {LINGERS}",
        ]
        if settings.known_hosts:
            for jump in self._stations[:-1]:
                files = " ".join(map(_quoted, (settings.known_hosts, *jump.known_hosts)))
                lines += [f"Match originalhost {jump.name}", f"UserKnownHostsFile {files}", "GlobalKnownHostsFile none"]
        return "\n".join([*lines, "Match all", *(f"Include {each}" for each in self._included()), ""])

    def _included(self) -> list[str]:
        """The configuration that `ssh` would read by itself."""
        settings = self._settings
        given = list(route.configuration(settings.ssh_args))
        file = given[-1].removeprefix("-F") if given else settings.ssh_config and str(settings.ssh_config)
        if file is None:
            return ["~/.ssh/config", _pattern(self.folder.system_config)]
        return [] if str(file).lower() == "none" else [_pattern(Path(file).expanduser().absolute())]


class Folder:
    """A folder for sockets, ours alone. Those that a controller left that was killed are removed."""

    def __init__(self) -> None:
        parent = Path(tempfile.gettempdir())
        if len(str(parent)) > LONGEST_FOLDER or not re.fullmatch(r"[\w/.-]+", str(parent)):
            parent = Path("/tmp")  # noqa: S108  # A folder of a name of its own is made in it.
        _tidy(parent)
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        self._lock = _locked(self.path)
        askpass.program(self.path / "askpass")
        self._count = 0
        self._numbers: dict[Hashable, int] = {}
        self._change = threading.Lock()

    @functools.cached_property
    def system_config(self) -> Path:
        """The system's configuration, as a user's may include it."""
        return _rooted(SYSTEM_CONFIG, self, set())

    def environment(self, ask: Path) -> dict[str, str]:
        """The environment of an `ssh` that asks at the socket ``ask``; where that is none, it is answered nothing."""
        program = str(self.path / "askpass")
        return {**os.environ, "SSH_ASKPASS": program, "SSH_ASKPASS_REQUIRE": "force", askpass.SOCKET: str(ask)}

    def file(self, suffix: str) -> Path:
        """The path of a new file."""
        with self._change:
            self._count += 1
            return self.path / f"{self._count}.{suffix}"

    def number(self, key: Hashable) -> int:
        """The number of a key: another for each."""
        with self._change:
            return self._numbers.setdefault(key, len(self._numbers))

    def close(self) -> None:
        """Remove it."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)


def _locked(folder: Path) -> int | None:
    """A lock on a folder, for as long as we are; None if somebody else has it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _tidy(parent: Path) -> None:
    for folder in parent.glob(f"{PREFIX}*"):
        with suppress(OSError):
            if folder.lstat().st_uid == os.geteuid() and time.time() - folder.lstat().st_mtime > LINGERS:
                lock = _locked(folder)
                if lock is not None:
                    shutil.rmtree(folder, ignore_errors=True)
                    os.close(lock)


class _Attempt:
    """One `ssh` that is to become a master: what it says, and what comes of it."""

    def __init__(
        self,
        stands: Callable[[int], bool],
        settings: "HostSettings",
        stations: Sequence[Station],
        folder: Folder,
        command: Callable[[Path], Sequence[str]],
    ) -> None:
        self._command = command
        self._stands = stands
        self._settings = settings
        self._stations = stations
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._log = b""
        self._begun = b""
        self._others = b""
        self._facts: dict[str, str] = {}
        self.may_be_busy = False
        self.refused_by: int | None = None
        self.is_password_refused = False
        self._is_in = threading.Event()

    @property
    def key(self) -> str | None:
        """The fingerprint of the host's key."""
        return self._facts.get("key")

    @property
    def address(self) -> str | None:
        """What was connected to."""
        return self._facts.get("address")

    def run(self) -> Failure | None:
        """Make the connection; returns the failure if there is none."""
        settings = self._settings
        seconds = settings.connect_timeout * (len(self._stations) + 1)
        user = self._stations[-1].user
        log, others = (Log(self._folder.file("log")) for _ in range(2))
        ask = self._folder.file("ask")
        readers = [
            threading.Thread(target=log.read, args=[self._note], daemon=True),
            threading.Thread(target=others.read, args=[self._hear], daemon=True),
        ]
        for reader in readers:
            reader.start()
        with Answers(ask, settings.secrets, settings.name, user, seconds, self._pid, self._hang_up) as answers:
            is_late, status = False, None
            try:
                program, *arguments = self._command(others.path)
                self._process = subprocess.Popen(
                    [program, "-E", str(log.path), *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=others.writing,
                    env=self._folder.environment(ask),
                    start_new_session=True,
                )
                status = self._process.wait(seconds)
            except OSError as problem:
                return Failure("host_unreachable", detail={"error": f"ssh can't be run: {problem.strerror}"})
            except subprocess.TimeoutExpired:
                is_late = True
                self._hang_up()
            finally:
                log.is_ready()
                others.is_ready()
            if status == 0:
                # Keys may have let us in after a wrong password. What it says of that may still be on its way.
                self._is_in.wait(pipes.ENDS)
                answers.ended("password" in self._facts)
                return None
            # What it has said is soon read; a proxy command may keep its end open.
            for reader in readers:
                reader.join(pipes.ENDS)
            is_denied = b"Permission denied" in self._log or answers.is_refused
            self.is_password_refused = answers.is_refused or bool(answers.not_tried)
            answers.ended(True if "password" in self._facts else False if is_denied else None)
            failure = self._failure(is_late, answers)
            if "jump_host" in failure.detail:
                jumps.blamed(failure, failure.detail["jump_host"], settings.connect_timeout)
            return failure

    def _pid(self) -> int | None:
        return self._process.pid if self._process else None

    def _hang_up(self) -> None:
        if self._process is not None:
            self._process.kill()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(pipes.ENDS)

    def _hear(self, data: bytes) -> None:
        """Take note of what other programs say on the way; it is read, so that they never have to wait for us."""
        self._others = (self._others + data)[-KEPT:]

    def _note(self, data: bytes) -> None:
        """Take note of what `ssh` says."""
        *lines, rest = (self._begun + data).split(b"\n")
        self._begun = rest[-KEPT:]
        for line in lines:
            text = line.decode("utf-8", "replace").strip("\r")
            for fact, pattern in FACTS.items():
                if found := pattern.match(text):
                    self._facts.setdefault(fact, found[1])
            if "way_in" in self._facts:
                self._is_in.set()
            if not _is_detail(text):
                self._log = (self._log + line + b"\n")[-KEPT:]

    def _blamed(self, said: str, others: str) -> int | None:
        """The number of the jump host that a reason is about, if it is none of the host."""
        passed = self._stations[:-1]
        # Each `ssh` behind the one that failed says that it lost it.
        behind = len(re.findall(r"\bUNKNOWN port\b", others))
        if behind:
            return max(0, len(passed) - 1 - behind)
        named = [
            number
            for number, jump in enumerate(passed)
            if re.search(rf"(?<![\w.]){re.escape(jump.address)}(?![\w.])", said)
        ]
        if not named and not others.strip() and self._stands(len(passed) - 1):
            # It is the host behind it that does not answer.
            return None
        return named[-1] if named else len(passed) - 1

    def _failure(self, is_late: bool, answers: Answers) -> Failure:
        own = self._log.decode("utf-8", "replace")
        others = self._others.decode("utf-8", "replace")
        host, passed = self._stations[-1], self._stations[:-1]
        has_spoken = "protocol" in self._facts
        # Until the host itself has spoken, whatever is wrong is wrong on the way.
        said = own if has_spoken or not (passed or host.command) else f"{others}\n{own}"
        at: dict[str, Any] = {"stderr": _shown(_lines(f"{others}\n{own}"))}
        number = None if has_spoken or not passed else self._blamed(said, others)
        jump = None if number is None else passed[number]
        if jump:
            at["jump_host"] = jump.name
        if number is not None and NOT_OPENED in others:
            if not re.search(REFUSAL, others):
                self.refused_by = number
            return _not_opened(self._stations[number], self._stations[number + 1], others)
        settings = self._settings
        where = settings.address if settings.port is None else f"{settings.address} port {settings.port}"
        station = jump or host
        if jump:
            where = f"{jump.address} port {jump.port}"
        seen = f": {self.key}" if self.key and not jump else ""
        if answers.not_tried:
            return Failure("auth_failed", detail={"note": f"the password was not tried: {answers.not_tried}", **at})
        if answers.is_refused:
            return Failure("auth_failed", detail={"user": station.user, "note": "the password was refused", **at})
        if answers.is_asked_by_others and not has_spoken:
            return Failure("host_unreachable", detail={"address": where, "error": askpass.NOTHING, **at})
        late = f"{where} did not answer within {settings.connect_timeout:g} s."
        if is_late:
            return Failure("ssh_timeout", late, detail={"error": "ssh had not ended", **at})
        files = [str(file) for file in ([settings.known_hosts] if settings.known_hosts else host.known_hosts)]
        for err_type, pattern in REASONS:
            if not re.search(pattern, said):
                continue
            message: str | None = None
            if err_type in HOST_KEYS:
                # The name that was looked up, which may be an alias.
                name = station.key_name or station.address
                at |= {"host": name, "files": files, **({"key_shown": self.key} if self.key else {})}
                found = re.search(CERTIFICATE, said)
                fault = CERTIFICATE_FAULTS.get(found[1].strip(), found[1].strip()) if found else ""
                message = HOST_KEYS[err_type].format(host=name, key=seen, fault=fault.format(host=name))
            elif err_type == "ssh_timeout":
                message = late
            elif err_type == "auth_failed":
                at["user"] = station.user
                if "partial" in self._facts:
                    what = "a key" if self._facts["partial"] == "publickey" else "the password"
                    message = f"The SSH server accepted {what}, which is not all that it wants to see."
                elif answers.is_tried:
                    at["note"] = "the password was refused"
                if settings.key and not jump and str(settings.key) in said:
                    at["key"] = str(settings.key)
                    message = f"The private key {settings.key} can't be used: {_about(settings.key, said)}."
                    return Failure("key_unusable", message, detail=at)
            return Failure(err_type, message, detail=at)
        # What says more is not about being busy.
        self.may_be_busy = not has_spoken and all(re.search(BUSY, line) for line in _lines(f"{others}\n{own}"))
        return Failure("host_unreachable", detail={"address": where, "error": _reason(said), **at})


FACTS = {
    "address": re.compile(r"debug1: Connecting to \S+ \[([^]]+)\] port"),
    "protocol": re.compile(r"debug1: Remote protocol version (\S+)"),
    "password": re.compile(r'(?:debug1: )?Authenticated .*using "(password|keyboard-interactive)"'),
    "partial": re.compile(r'(?:debug1: )?Authenticated using "([\w-]+)" with partial success'),
    "way_in": re.compile(r'(?:debug1: )?Authenticated to .* using "([\w-]+)"'),
    "key": re.compile(r"debug1: Server host (?:key|certificate): \S+ (SHA256:\S+?),?(?: |$)"),
}
"""What of ssh's details tells us something."""

HOST_KEYS = {
    "host_key_revoked": "The SSH key of {host} is revoked{key}.",
    "host_key_changed": "The SSH key of {host} is not the one in known_hosts{key}.",
    "host_key_unknown": "The SSH key of {host} is in no known_hosts file{key}.",
    "host_certificate_invalid": "The SSH certificate of {host} is not valid: {fault}.",
}

CERTIFICATE = r"Certificate invalid: ([^\n]*)"
CERTIFICATE_FAULTS = {
    "expired": "it has expired",
    "not yet valid": "its time has not come yet",
    "name is not a listed principal": "it is for other names, not for {host}",
}
"""What `ssh` says of the certificate of a host, and what we make of it."""


REASONS = (
    ("host_key_revoked", r"REVOKED HOST KEY|revoked by file|marked as revoked|in revoked keys file|key is revoked"),
    ("host_key_changed", r"REMOTE HOST IDENTIFICATION HAS CHANGED|host key .* has changed"),
    ("host_certificate_invalid", CERTIFICATE),
    ("host_key_unknown", r"host key is known for|Host key verification failed|authenticity of host|KnownHostsCommand"),
    ("auth_failed", r"Permission denied \(|Too many authentication failures|No more authentication methods"),
    ("ssh_timeout", r"[Tt]imed out|timeout, server"),
)
"""Which failure is meant by what `ssh` says, the first that fits."""

BUSY = (
    r"kex_exchange_identification|banner exchange|[Cc]onnection (?:reset|closed)|MaxStartups|Not allowed at this time"
)
"""What `ssh` says where a server has hung up before it said anything."""


def _asks_first(host: Station) -> bool:
    """Whether the configuration has passwords tried before keys."""
    order = host.options.get("preferredauthentications", [""])[0].split(",")
    return "publickey" in order and bool(identities.PASSWORD_WAYS & set(order[: order.index("publickey")]))


def _not_even_tried(error: OSError, settings: "HostSettings") -> Failure:
    """The failure where it was not `ssh` that failed: there was no turn for it, or no room for its files."""
    if isinstance(error, TimeoutError):
        message = f"{settings.address} had to wait too long for the logins of other hosts."
        return Failure("ssh_timeout", message, stage="connect")
    return Failure("host_unreachable", detail={"address": settings.address, "error": str(error)}, stage="connect")


def _is_detail(line: str) -> bool:
    return re.match(r"debug\d:", line) is not None


def _lines(text: str) -> Iterator[str]:
    return (line for line in text.splitlines() if line.strip() and not _is_detail(line))


def _shown(lines: Iterator[str]) -> str:
    """Lines without what would move a terminal's cursor, or colour it."""
    return shown("\n".join(lines))


def _reason(said: str) -> str:
    """The line that tells most: the first that is not about how it went on from there."""
    lines = [line for line in _shown(_lines(said)).splitlines() if line.strip()]
    telling = [line for line in lines if not re.search(BESIDE, line)]
    line = (telling or lines or ["ssh gives no reason"])[0].strip()
    return re.sub(r"^ssh: (connect to host \S+ port \d+: )?", "", line)


BESIDE = r"UNKNOWN port|kex_exchange_identification|^Killed by|^ControlSocket .* already exists"


def _about(key: Path, said: str) -> str:
    """What `ssh` says of a key, in a few words."""
    with suppress(OSError):
        if f'"{key}": bad permissions' in said:
            return identities.open_to_others(key, key.stat().st_mode)
    found = re.search(rf"{re.escape(str(key))}\S*[:\s]+([^\n]+)", said)
    return found[1].strip().rstrip(".") if found else "it is refused"


def _not_opened(jump: Station, there: Station, said: str) -> Failure:
    """The failure where a jump host leads no further, after what an `ssh` said of it."""
    found = re.search(REFUSAL, _shown(_lines(said)))
    to = f"{there.address} port {there.port}"
    failure = jumps.refused(jump.name, to, jumps.PHRASES.get(found[1]) if found else None, found[2] if found else "")
    failure.detail["stderr"] = _shown(_lines(said))
    return failure


REFUSAL = r"channel \d+: open failed: ([\w ]+): ([^\r\n]*)"
"""Why it does not, in two parts; a client of a master is not told."""

NOT_OPENED = "tdio forwarding"
"""What an `ssh` says where the server that it is connected to leads no further."""


def _heard(command: str, others: Path) -> str:
    """A proxy command that says to a file what it has to say; `ssh` puts `exec` before it."""
    return f"2>>{others}; exec {command}"


def _tether(master: Path, seconds: float) -> socket.socket:
    """A connection to a master. Raises OSError."""
    tether = socket.socket(socket.AF_UNIX)
    try:
        tether.settimeout(seconds)
        tether.connect(str(master))
        # Its greeting.
        if not tether.recv(1 << 12):
            raise ConnectionError("it has ended")
    except OSError:
        tether.close()
        raise
    return tether


class Shared:
    """The sockets of the master connections of the operator's on the way to a host; each is asked for once."""

    def __init__(self, settings: "HostSettings") -> None:
        self._settings = settings
        self._found: dict[Hashable, Path | None] = {}

    def at(self, station: Station) -> Path | None:
        """The one that `ssh` would use to a station, if there is one."""
        if station.key not in self._found:
            self._found[station.key] = _shared_socket(self._settings, station)
        return self._found[station.key]


def _shared_socket(settings: "HostSettings", station: Station) -> Path | None:
    """The socket of a master that lives.

    What host key it has seen is not known. So it is not used where the inventory says which ones are.
    """
    named = station.options.get("controlpath", ["none"])[0]
    if settings.known_hosts is not None or named.lower() == "none":
        return None
    with suppress(OSError):
        if Path(named).is_socket() and _control(Path(named), "check"):
            return Path(named)
    return None


def _control(master: Path, order: str) -> bool:
    """Whether a master does as it is told."""
    return _ends_well(["ssh", "-F", os.devnull, "-S", _escaped(master), "-O", order, "--", "relup"])


def _ends_well(command: Sequence[str]) -> bool:
    """Whether an `ssh` that asks a master does what it is to do."""
    with suppress(OSError, subprocess.TimeoutExpired):
        ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=pipes.ENDS)
        return ended.returncode == 0
    return False


def _escaped(file: Path) -> str:
    return str(file).replace("%", "%%")


def _quoted(file: Path) -> str:
    return _in_quotes(_escaped(file))


def _in_quotes(text: str) -> str:
    """A word of the configuration; within quotes a backslash takes away what a quote or a backslash means."""
    escaped = re.sub(r'(["\\])', r"\\\1", text)
    return f'"{escaped}"'


def _option(flag: str, value: object) -> list[str]:
    return [] if value is None else [flag, str(value)]


def _without(arguments: Sequence[str], *flags: str) -> list[str]:
    """``arguments`` without these flags and their values, for which ours stand."""
    words, rest = list[str](), iter(arguments)
    for word in rest:
        if word in flags:
            next(rest, "")
        elif not word.startswith(flags):
            words.append(word)
    return words


def _pattern(file: Path) -> str:
    """A file, as an argument of `Include`."""
    return _in_quotes(glob.escape(str(file)))


def _rooted(file: Path, folder: "Folder", above: Set[Path]) -> Path:
    """A file of the system's configuration that may be included by a user's; a copy if need be.

    In the system's, `Include` looks relative names up beside it; in a user's it would look in ``~/.ssh``. ``above`` are
    the files that include it.
    """
    try:
        text = read_bytes(file).decode("utf-8", "surrogateescape")
    except OSError:
        return file
    lines = text.split("\n")
    for number, line in enumerate(lines):
        found = INCLUDE.fullmatch(line)
        if found and len(above) < DEEPEST:
            names = _rooted_names(found[2], folder, {*above, file})
            lines[number] = line if names == found[2] else f"Include {names}"
    if lines == text.split("\n"):
        return file
    copy = folder.file("conf")
    write_private(copy, "\n".join(lines))
    return copy


def _rooted_names(names: str, folder: "Folder", above: Set[Path]) -> str:
    """The arguments of an `Include`, as a user's configuration has to have them; as they are if that is the same."""
    try:
        words = shlex.split(names, comments=True)
    except ValueError:
        return names
    rooted, is_same = list[str](), True
    for word in words:
        pattern = str(SYSTEM_CONFIG.parent / word)
        found = sorted(glob.glob(pattern))  # noqa: PTH207  # As OpenSSH: no hidden files.
        files = [Path(each) for each in found if Path(each) not in above]
        copies = [_rooted(each, folder, above) for each in files]
        rooted += [_pattern(each) for each in copies] if copies != files else [f'"{pattern}"']
        is_same = is_same and copies == files and pattern == word
    return names if is_same else " ".join(rooted)


@functools.cache
def version() -> tuple[int, int]:
    """The version of the installed OpenSSH; zeros if it is not known."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        ended = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=False, timeout=10)
        if found := re.search(r"OpenSSH_(\d+)\.(\d+)", ended.stderr + ended.stdout):
            return int(found[1]), int(found[2])
    return 0, 0
