"""Payload, shipped to hosts (Python 3.6 and up, standard library only): whatever we begin in a VM has an owner there.

The owner is a process in the VM (owner.erl has it). It takes back what a core has begun when the core leaves, when
its connection ends, however it ends, and, where the link is the node's wrapper and there is no connection, when nothing
has been heard of the core for `LEASE` seconds. What belongs to it has one of a few names: a VM never forgets a name.
"""

import time
from typing import Any, List, Sequence

from ..erlang.link import DistributionLink, Link
from ..erlang.term import Atom, Opaque, text
from ..protocol import Failure
from . import bundle

NAMES = tuple("relup_remote_owner_{}".format(number) for number in range(1, 9))
"""The registered names of owners, so many cores can have something in a VM at once."""

LEASE = 45.0
"""Seconds that an owner waits for the next call by the wrapper."""

_LIMIT = 20.0
"""Seconds that one thing may take to be taken back."""

_PATIENCE = 60.0
"""Seconds to wait for one of the names where others have them all: a look is over in less."""

_LOOK_AGAIN = 0.5
"""Seconds between two looks for a free name."""

_UNLOADING = 120.0
"""Seconds for the modules to go: every process is asked whether it runs them."""


class Owner:
    """An owner in the VM of `link`, of modules whose names end in `suffixes`; `prefix` is how all of them begin."""

    def __init__(self, link: Link, prefix: str, suffixes: Sequence[str]) -> None:
        """Raises `Failure`, too_many_cores where all names are taken and none comes free."""
        self._link = link
        source = bundle.resource("owner.erl")
        direct = isinstance(link, DistributionLink)
        values = {
            "Names": [Atom(name) for name in NAMES],
            "Prefix": Atom(prefix),
            "Suffixes": [Atom(suffix) for suffix in suffixes],
            "Node": Atom(link.name if isinstance(link, DistributionLink) else "none"),
            "Lease": Atom("infinity") if direct else int(LEASE * 1000),
            "Limit": int(_LIMIT * 1000),
        }
        tokens = link.call("erl_scan", "string", [source])
        parsed = link.call("erl_parse", "parse_exprs", [tokens[1]])
        bindings = [(Atom(name), value) for name, value in sorted(values.items())]
        arguments = [Atom("erl_eval"), Atom("exprs"), [parsed[1], bindings]]
        until = time.monotonic() + _PATIENCE
        while True:
            process: Opaque = link.call("erlang", "spawn", arguments)
            number, versions = link.call("gen_server", "call", [process, Atom("number"), 5000])
            if number != "none":
                break
            self._await_name(until)
        self.name = Atom(NAMES[number - 1])
        self.entry = "{}_{}".format(prefix, number)
        """How the names of its modules begin."""
        self.versions = [text(version) for version in versions]
        """Of the VM: that of Erlang/OTP, and that of the emulator."""
        link.owner = self.name

    def _await_name(self, until: float) -> None:
        """Waits until one of the names is free, as far as can be seen. Raises `Failure` too_many_cores."""
        while True:
            if time.monotonic() > until:
                raise Failure("too_many_cores")
            time.sleep(_LOOK_AGAIN)
            if not set(NAMES) <= set(self._link.call("erlang", "registered", [])):
                return

    def own(self, key: str, module: str, function: str, arguments: List[Any]) -> None:
        """Has the VM call that function when the core is gone. `key` is one of few: it becomes an atom."""
        self._ask((Atom("own"), Atom(key), Atom(module), Atom(function), arguments))

    def settle(self, key: str) -> None:
        """Has the VM call now what was given for the key, and no more later."""
        self._ask((Atom("settle"), Atom(key)), _LIMIT + 5)

    def outlast(self, name: str) -> None:
        """Keeps the modules until the process registered as `name` has ended, whatever becomes of the core."""
        self._ask((Atom("outlast"), Atom(name)))

    def leave(self) -> None:
        """Takes all back now; what a process still needs that it has to outlast goes after that. Raises `Failure`."""
        self._link.owner = None
        self._ask(Atom("leave"), _UNLOADING)

    def is_there(self) -> bool:
        """Whether it still is in the VM; one that has heard nothing for too long is not."""
        return bool(self._link.call("erlang", "whereis", [self.name]) != "undefined")

    def _ask(self, request: Any, timeout: float = 10.0) -> None:
        self._link.call("gen_server", "call", [self.name, request, int(timeout * 1000)], timeout + 5)
