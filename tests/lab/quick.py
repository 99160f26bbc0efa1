"""A lab for tests, at a fraction of what others cost.

Its releases are lean. Its nodes are asked over the distribution protocol: asking by the wrapper costs a hundred times
as much. That is how they are awaited, too. The agent is compiled by one node, and all others find it in the caches of
their hosts.
"""

import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from lab import node, processes
from lab.cluster import FIRST_RELEASE, READY, Lab
from lab.errors import LabError
from lab.layout import LOOPBACK, Host
from lab.release.sources import LEAN, Traits
from relup_remote.core import running_node
from relup_remote.core.agent import _HOP, _LOOKS, Agent
from relup_remote.core.booting import starting
from relup_remote.core.erlang.distribution import Address, BadRpc, Connection, DistributionError
from relup_remote.core.erlang.link import connect, show
from relup_remote.core.erlang.term import text

CACHE = Path(".cache", "relup_remote")
"""Where the core keeps compiled agents, below the home of a host."""


class QuickLab(Lab):
    """A lab for tests, which look into nodes often. Arguments as those of `Lab`; ``traits`` are lean by default."""

    def __init__(self, *given: Any, traits: Traits = LEAN, **named: Any) -> None:
        super().__init__(*given, traits=traits, **named)

    def eval(self, name: str, expression: str) -> str:
        """As `Lab.eval`, which is asked where the node can't be reached, or is to be found by epmd."""
        host = self.host(name)
        if not self.layout.epmd:
            try:
                return evaluated(host, self.layout.cookie.read_text(), expression)
            except BadRpc as error:
                raise LabError("eval_failed", f"{host.node}: {show(error.reason)}", "See the expression.") from None
            except (DistributionError, OSError):
                # The wrapper says what is wrong.
                pass
        return super().eval(name, expression)

    def start_node(self, name: str) -> bool:
        """As `Lab.start_node`, without a VM that does nothing but wait for the node."""
        host = self.host(name)
        if self.layout.epmd:
            return super().start_node(name)
        _await_others(host)
        if node.pid(host) is not None:
            return False
        self._await_start(host, node.launch(host))
        return True

    def _await_start(self, host: Host, pid: int) -> None:
        cookie = self.layout.cookie.read_text()
        deadline = time.monotonic() + node.START_TIMEOUT
        while time.monotonic() < deadline and processes.lives(pid):
            try:
                if evaluated(host, cookie, READY) == "true":
                    return
            except (BadRpc, DistributionError, OSError):
                # It does not listen yet, or has not all of its code.
                pass
            time.sleep(node.POLL_INTERVAL)
        raise LabError("node_failed", f"Node {host.node} did not start.", f"See {host.start_log} and {host.log}.")

    def up(self, release: str = FIRST_RELEASE) -> None:
        """As `Lab.up`; nodes find the agent compiled, which otherwise each of them would do."""
        super().up(release)
        for host in self.layout.hosts:
            cache = host.home / CACHE
            if not cache.exists():
                cache.parent.mkdir(mode=0o700, exist_ok=True)
                cache.mkdir(mode=0o700)
                for name, content in _agents(self).items():
                    (cache / name).touch(mode=0o600)
                    (cache / name).write_bytes(content)


def _await_others(host: Host) -> None:
    """Wait until a node that somebody else starts, as by its wrapper, can be told by its VM, or is given up.

    A second VM of the same node would take its ports.
    """
    deadline = time.monotonic() + node.START_TIMEOUT
    while node.pid(host) is None and starting(str(host.root), str(host.wrapper)) and time.monotonic() < deadline:
        time.sleep(node.POLL_INTERVAL)


def _agents(lab: Lab) -> dict[str, bytes]:
    """The agent as the core keeps it, by file name: compiled once in this process, by the first node of a lab."""
    if not _compiled:
        found = running_node.find(str(lab.root(lab.hosts[0])), None)
        assert found
        with tempfile.TemporaryDirectory() as work, closing(connect(found.peer)) as link:
            kept = Path(work) / "kept"
            kept.mkdir(mode=0o700)
            agent = Agent(link, work, str(kept))
            try:
                for module in (_LOOKS, _HOP):
                    agent._need(module)
            finally:
                agent.unload()
            _compiled.update({path.name: path.read_bytes() for path in kept.iterdir()})
        assert len(_compiled) == 2
    return _compiled


_compiled: dict[str, bytes] = {}


def evaluated(host: Host, cookie: str, expression: str) -> str:
    """The value of an Erlang expression in a node, printed as its wrapper prints it. Raises what `Connection` does."""
    source = f'lists:flatten(io_lib:format("~p", [begin {expression.rstrip(". ")} end])).'
    with closing(Connection(host.node, cookie, Address(LOOPBACK, host.dist_port))) as node:
        tokens = node.call("erl_scan", "string", [source])
        parsed = node.call("erl_parse", "parse_exprs", [tokens[1]])
        assert parsed[0] == "ok", f"{expression}: {parsed}"
        return text(node.call("erl_eval", "exprs", [parsed[1], []])[1])
