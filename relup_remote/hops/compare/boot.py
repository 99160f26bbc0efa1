"""Which applications run once a node has booted a release.

The boot script starts those that the `.rel` file calls permanent, transient or temporary, and only loads those of type
`load`. In EMQX the application `emqx_machine` starts these, by the lists in its `priv/reboot_lists.eterm`, each after
those that it needs. What no list leads to may still be started later, by code: some connectors start their drivers.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from relup_remote.core.erlang.consult import Word
from relup_remote.core.erlang.term import Map
from relup_remote.hops.app_file import App

MACHINE = "emqx_machine"
"""The application that starts those of type `load`."""

_BOOTED = ("permanent", "transient", "temporary")
_STARTED_BY_SCRIPT = "system_apps"


def running(apps: Mapping[str, App], started: Mapping[str, str], lists: Any) -> dict[str, bool | None]:
    """Of each application whether it runs; None where only a node can tell.

    ``apps``: the applications of the release; ``started``: how its `.rel` file starts those that it names;
    ``lists``: the term of the machine's file, anything else where there is none.
    """
    loaded = {name for name in apps if started.get(name) == "load"}
    known = _closure([name for name in apps if started.get(name) in _BOOTED], apps)
    if MACHINE in apps:
        known |= _closure([name for name in _listed(lists) if name in loaded], apps)
    return {name: True if name in known else None if name in loaded and MACHINE in apps else False for name in apps}


def _closure(names: Iterable[str], apps: Mapping[str, App]) -> set[str]:
    """The applications of some names, those that they need, and so on: none is started before those."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in apps and name not in found:
            found.add(name)
            waiting += apps[name].applications
    return found


def _listed(lists: Any) -> Sequence[str]:
    pairs = lists.pairs if isinstance(lists, Map) else []
    return [
        str(name)
        for key, names in pairs
        if key != _STARTED_BY_SCRIPT and isinstance(names, list)
        for name in names
        if isinstance(name, Word)
    ]
