"""No connection at all: the node is on this very machine, and commands run here, as who we are.

Other users are become as on any host, by sudo.
"""

from typing import TYPE_CHECKING

from relup_remote.host.transport import pipes

if TYPE_CHECKING:
    from relup_remote.inventory import HostSettings


class Connection:
    """This machine."""

    def __init__(self, settings: "HostSettings") -> None:
        if settings.pin is not None:
            settings.pin.meet(None, HERE)

    @property
    def is_active(self) -> bool:
        """It always is."""
        return True

    def start(self, command: str, seconds: float) -> pipes.Process:
        """Have a shell run a command, at once. Raises OSError."""
        return pipes.Process(["/bin/sh", "-c", command])

    def close(self) -> None:
        """There is nothing to close."""


HERE = "this machine"
"""What stands for the host key where there is none."""
