"""One host, as the controller sees it: connect by SSH, ship the core, run a request, stream a tarball.

::

    Host ── transport    the connection: who the host is (known_hosts), who we are (identities), the way (route)
     │   └─ payload      the core as a zipapp, named by its digest
     ├─ standing         what stays there for the command's next request: the connection, cores that wait
     └─ session          a request to the core: launcher, bootstrap, then the request, events and the tarball's bytes

Everything that the network or the host does wrong is a `relup_remote.core.protocol.Failure`.
"""

from relup_remote.host.host import Host

__all__ = ["Host"]
