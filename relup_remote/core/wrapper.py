"""Payload, shipped to hosts (Python 3.6 and up, standard library only): running the node's own wrapper script.

Settings of a node may be in its environment (EMQX_NODE__NAME and the like), which a session of ours does not have. So
whatever is to boot the node, or to read its configuration, gets those of the VM that runs.
"""

import os
import re
import signal
import time
from contextlib import suppress
from typing import Dict, Iterable, List, NamedTuple, Optional

from . import processes
from .files import writing_failure
from .opening import create
from .site import Site

_SAID_BYTES = 2000
_KILLED_WITHIN = 10.0  # seconds

_LOOK = 0.1
"""Seconds between two looks at how much a wrapper has written."""

_MOST_SAID = 64 << 20
"""Bytes: one that writes more would fill the disk in the time that it has."""

_OF_THE_WRAPPER = ("EMQX_BOOT_CONFIGS", "EMQX_ETC_DIR", "EMQX_LOG_DIR", "EMQX_PLUGINS_DIR", "EMQX_DESCRIPTION")
"""What a wrapper works out and may leave in the environment of its VM: of the tree that it ran from."""


_OF_A_NODE = re.compile(r"EMQX_(NODE|CLUSTER|RPC)_\w+\Z")
"""Settings without which a node would be another one: its name, its cookie, its data, its cluster."""


class Ran(NamedTuple):
    """A command that was run: its exit `status`, and the end of what it `said`.

    The status is None where it did not end, or where it could not be run (`began` is False).
    """

    status: Optional[int]
    said: str
    began: bool = True

    @property
    def ended(self) -> str:
        """How it ended, in words that follow its name."""
        if not self.began:
            return "could not be run"
        return "did not end" if self.status is None else "ended with {}".format(self.status)


def environment(site: Site) -> Dict[str, str]:
    """What a wrapper is run with: our environment, with the settings that the running VM has in its own."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("EMQX_")}
    if site.node is None:
        return ours
    theirs = processes.environment("/proc/{}".format(site.node.os_pid)) or {}
    ours.update(
        {name: value for name, value in theirs.items() if re.match(r"EMQX_\w+\Z", name) and name not in _OF_THE_WRAPPER}
    )
    return ours


def hides_environment(site: Site) -> bool:
    """Whether the running VM has an environment that we can't see, so that its settings can't be taken from there."""
    return site.node is not None and processes.environment("/proc/{}".format(site.node.os_pid)) is None


def of_a_node(env: Iterable[str]) -> List[str]:
    """Those names in an environment without which a node would be another one."""
    return sorted(filter(_OF_A_NODE.match, env))


def run(command: List[str], env: Dict[str, str], cwd: str, timeout: float, log: str, whole: bool = False) -> Ran:
    """Runs a command to its end, for at most `timeout` seconds; what it writes goes to the new file `log`.

    One that writes without end is ended as well, with all that it has started, but for a VM, which has a session of its
    own. It does not inherit our pipes: a node that it starts would keep the SSH session open. With `whole`, whatever it
    has started is ended with it when its time is over, too. Raises `Failure` where the log can't be written.
    """
    # Late, for it is slow to import, and most requests run nothing.
    import subprocess  # noqa: PLC0415

    try:
        descriptor = create(log)
    except OSError as error:
        raise writing_failure(error, log)
    with os.fdopen(descriptor, "w+b") as output:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=cwd,
                env=env,
                start_new_session=True,
            )
        except OSError as error:
            return Ran(None, "{}: {}".format(command[0], error.strerror), began=False)
        deadline, why, too_much = time.monotonic() + timeout, "", False
        status = process.poll()
        try:
            while status is None and not why:
                with suppress(subprocess.TimeoutExpired):
                    status = process.wait(max(0.0, min(_LOOK, deadline - time.monotonic())))
                too_much = os.fstat(output.fileno()).st_size > _MOST_SAID
                if too_much:
                    why = "It wrote more than {} MB.\n".format(_MOST_SAID >> 20)
                elif time.monotonic() >= deadline:
                    why = "It did not end within {:g} s.\n".format(timeout)
        except BaseException:
            # Our own time may be over.
            if whole:
                os.killpg(process.pid, signal.SIGKILL)
            raise
        if status is None:
            (os.killpg if whole or too_much else os.kill)(process.pid, signal.SIGKILL)
            # One that hangs in the kernel does not end even so.
            with suppress(subprocess.TimeoutExpired):
                process.wait(_KILLED_WITHIN)
        output.seek(0, os.SEEK_END)
        output.seek(max(0, output.tell() - _SAID_BYTES))
        said = output.read().decode("utf-8", "replace")
    return Ran(status, said if status is not None else said + why)
