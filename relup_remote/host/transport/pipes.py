"""A command as a process of this machine: run here, or by a program that brings it to a host."""

import os
import select
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress

ENOUGH = 1 << 20
"""Bytes that the kernel is asked to hold between us and the process."""

ENDS = 1.0
"""Seconds in which a program that is told to end usually does."""


class Process:
    """``command``, with ``env`` as its environment, started without a terminal and out of reach of its Ctrl-C.

    Its input and output are sockets: one can be shut by one thread while another writes. Raises OSError.
    """

    def __init__(self, command: Sequence[str], *, env: Mapping[str, str] | None = None) -> None:
        self._input, its_input = socket.socketpair()
        self._output, its_output = socket.socketpair()
        self._error, its_error = os.pipe()
        for end in (self._input, its_output):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ENOUGH)
        try:
            self._process = subprocess.Popen(
                command,
                stdin=its_input.fileno(),
                stdout=its_output.fileno(),
                stderr=its_error,
                env=env,
                start_new_session=True,
            )
        except OSError:
            self._input.close()
            self._output.close()
            os.close(self._error)
            raise
        finally:
            its_input.close()
            its_output.close()
            os.close(its_error)
        self._is_open = True

    def receive(self, seconds: float) -> bytes:
        """What it has said on standard output. Raises TimeoutError, OSError."""
        self._output.settimeout(seconds)
        return self._output.recv(1 << 16)

    def has_output(self) -> bool:
        """Whether `receive` would have something at once."""
        poll = select.poll()
        poll.register(self._output, select.POLLIN)
        return bool(poll.poll(0))

    def receive_error(self) -> bytes:
        """What it has said on standard error. Its last reader closes it."""
        if self._error < 0:
            return b""
        data = os.read(self._error, 1 << 16)
        if not data:
            os.close(self._error)
            self._error = -1
            with suppress(subprocess.TimeoutExpired):
                # So that it is no zombie, if it has ended.
                self._process.wait(ENDS)
        return data

    def send(self, data: bytes | memoryview, seconds: float) -> int:
        """Write to its standard input. Raises TimeoutError, OSError."""
        self._input.settimeout(seconds)
        return self._input.send(data)

    def end_input(self) -> None:
        """Close its standard input."""
        with suppress(OSError):
            self._input.shutdown(socket.SHUT_WR)

    def wait(self, seconds: float) -> int | None:
        """Its exit status; None if a signal has ended it. Raises TimeoutError."""
        try:
            status = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise TimeoutError from None
        return status if status >= 0 else None

    def is_cut_off(self) -> bool:
        """Nothing lies between us and it."""
        return False

    def close(self) -> None:
        """Close its input and output. It may go on."""
        self._input.close()
        self._output.close()

    def end(self) -> None:
        """Have it end as well."""
        if self._is_open:
            self._is_open = False
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(ENDS)
            self.close()
