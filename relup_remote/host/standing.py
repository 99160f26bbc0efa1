"""What stays on a host from one request of a command to the next: the connection, cores, and who they have to be."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from relup_remote.host import session
from relup_remote.host.transport import Connection, Process, choice
from relup_remote.ways import Ways

if TYPE_CHECKING:
    from relup_remote.inventory import HostSettings

Tell = Callable[[str], None]


class Standing:
    """A connection to a host that is made when it is first needed, and anew where it was lost; for several threads.

    ``waiting`` are the cores there that wait for a request, ``user`` is the one to become, as far as a core knows.
    """

    def __init__(self) -> None:
        self.user: str | None = None
        self.waiting = session.Waiting()
        self._lock = threading.Lock()
        self._connection: Connection | None = None

    def connect(self, settings: "HostSettings", tell: Tell) -> tuple[Connection, bool]:
        """The connection, and whether it is a new one. ``tell`` is as of `choice.connect`. Raises `Failure`."""
        with self._lock:
            if self._connection is not None and self._connection.is_active:
                return self._connection, False
            self._leave()
            self._connection = choice.connect(settings, tell)
            return self._connection, True

    def start(self, settings: "HostSettings", tell: Tell, command: str, seconds: float) -> Process:
        """Have the host's login shell run a command, over the connection that stands or a new one.

        Raises `Failure` where no connection comes about, else TimeoutError, OSError, as `Connection.start`.
        """
        connection, is_new = self.connect(settings, tell)
        if not is_new:
            try:
                # To connect anew would have as long for each of its parts.
                return connection.start(command, min(seconds, settings.connect_timeout))
            except OSError:
                # It was lost while nobody used it, or the server allows no more sessions on it. A command that has
                # begun all the same gets no input, and so does nothing.
                with self._lock:
                    if self._connection is connection:
                        self._leave()
            connection, _ = self.connect(settings, tell)
        return connection.start(command, seconds)

    def close(self) -> None:
        """Leave the host. Safe to repeat."""
        with self._lock:
            self._leave()

    def _leave(self) -> None:
        self.waiting.close()
        if self._connection is not None:
            self._connection.close()
            self._connection = None


@contextmanager
def on(settings: "HostSettings") -> Iterator[Standing]:
    """What stands on a host: for the time of the command, or of the context where the settings name no command."""
    # All that decides how the host is connected to, and by which keys it is known.
    way = (settings.transport, settings.ssh_config, settings.ssh_args, settings.known_hosts)
    key = ("host", settings.name, settings.address, settings.port, settings.user, settings.key, settings.become, *way)
    if settings.ways is None:
        with Ways() as ways, ways.lent(key, Standing) as standing:
            yield standing
    else:
        with settings.ways.lent(key, Standing) as standing:
            yield standing
