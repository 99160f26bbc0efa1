"""Ways to run a command on a host. All that is built on top knows only `Connection` and `Process`.

A way has a file of its own, with a class that makes a `Connection` of a host's settings:

- `fabric`: SSH by Fabric and paramiko,
- `openssh`: the system's `ssh` as a program,
- `local`: this very machine.

`choice` says which one is taken, from `options`: what of ssh_config each of them honours.

What goes wrong while a connection is made is a `relup_remote.core.protocol.Failure`. What goes wrong later is an
OSError, or a TimeoutError where the host was silent for too long.
"""

from collections.abc import Callable
from typing import Protocol


class SessionRefused(ConnectionError):
    """The SSH server lets the user in, and opens no session: nothing was run."""


class Process(Protocol):
    """A command that runs on a host. Its standard error is read by a thread of its own."""

    def receive(self, seconds: float) -> bytes:
        """What the command has said on standard output since the last call; nothing if it will say no more.

        Raises TimeoutError if it says nothing for so many seconds, OSError.
        """

    def has_output(self) -> bool:
        """Whether `receive` would have something at once."""

    def receive_error(self) -> bytes:
        """As `receive`, for standard error. It waits until the command or the connection ends, and raises nothing."""

    def send(self, data: bytes | memoryview, seconds: float) -> int:
        """Write to the command's standard input; returns how many bytes were taken.

        Raises TimeoutError if none is for so many seconds, OSError if it takes no more.
        """

    def end_input(self) -> None:
        """Close the command's standard input. Safe to repeat."""

    def wait(self, seconds: float) -> int | None:
        """The command's exit status; None if it has none, being ended by a signal.

        Raises TimeoutError if it has not ended within so many seconds.
        """

    def is_cut_off(self) -> bool:
        """Whether the connection was lost, once `receive` has nothing or `send` fails: the command did not end it."""

    def close(self) -> None:
        """Close the command's input and outputs. Safe to repeat."""


class Connection(Protocol):
    """A way to a host that stands."""

    @property
    def is_active(self) -> bool:
        """Whether it still stands, as far as is known."""

    def start(self, command: str, seconds: float) -> Process:
        """Have the host's login shell run a command.

        Raises TimeoutError if it has not begun within so many seconds, `SessionRefused`, OSError.
        """

    def close(self) -> None:
        """Close it, and all that was started through it. Safe to repeat."""


Start = Callable[[str, float], Process]
"""What starts a command on a host, as `Connection.start` does."""
