"""A session of paramiko says that its connection is gone as any socket does, whatever paramiko raises for it."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from paramiko.channel import Channel
from paramiko.ssh_exception import SSHException

from relup_remote.host.transport.fabric import Process


def process(error: Exception) -> Process:
    """One whose connection is gone: all that writes to it, or makes room for more to read, raises."""

    def gone(*_given: object) -> Any:
        raise error

    names = ("recv", "recv_stderr", "send", "shutdown_write", "close")
    return Process(cast("Channel", SimpleNamespace(settimeout=lambda _seconds: None, **dict.fromkeys(names, gone))))


@pytest.mark.parametrize("error", [EOFError(), SSHException("Channel closed."), OSError("Socket is closed")])
def test_a_connection_that_is_gone_is_an_os_error(error: Exception) -> None:
    ended = process(error)
    calls: list[Callable[[], object]] = [lambda: ended.receive(1.0), lambda: ended.send(b"x", 1.0)]
    for call in calls:
        with pytest.raises(OSError, match=r"\w"):
            call()
    assert ended.receive_error() == b""
    ended.end_input()
    ended.close()
