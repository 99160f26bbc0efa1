"""An inventory that was read, and which of its hosts are meant."""

import fnmatch
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from relup_remote.inventory.errors import InventoryError
from relup_remote.settings import HostSettings
from relup_remote.usage import UsageError

LABEL = "label:"


@dataclass(frozen=True)
class Inventory:
    """An inventory that was found good. ``hosts`` and ``groups`` are in the file's order.

    ``unusable`` are hosts that can't be used, by name: an error only for who means them. ``notes`` is what the operator
    should know, a sentence each.
    """

    path: Path
    hosts: tuple[HostSettings, ...]
    groups: Mapping[str, tuple[str, ...]]
    unusable: Mapping[str, InventoryError] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def select(self, selectors: Iterable[str] = ()) -> list[HostSettings]:
        """The hosts meant by ``selectors``, in the inventory's order, each once; all of them if there are none.

        A selector is a host, a group, a glob over both, ``label:NAME=VALUE`` (a glob too), or a comma list of such.
        Raises `UsageError`: ``unknown_host`` if one means nothing, ``ambiguous_host`` if one is a host and a group;
        `InventoryError` if a host that is meant can't be used.
        """
        words = [word.strip() for selector in selectors for word in selector.split(",")]
        wanted = {name for word in words for name in self._meant_by(word)} if words else set(self._names)
        for name, error in self.unusable.items():
            if name in wanted:
                raise error
        return [host for host in self.hosts if host.name in wanted]

    @property
    def _names(self) -> list[str]:
        return [*(host.name for host in self.hosts), *self.unusable]

    def _meant_by(self, word: str) -> set[str]:
        if word.startswith(LABEL):
            found = self._labelled(word.removeprefix(LABEL))
        elif word in self.groups and word in self._names and set(self.groups[word]) != {word}:
            raise UsageError("ambiguous_host", f"'{word}' is a host and a group of {self.path}")
        else:
            found = {name for name in self._names if fnmatch.fnmatchcase(name, word)}
            for group, members in self.groups.items():
                if fnmatch.fnmatchcase(group, word):
                    found.update(members)
        if not found:
            what = f"the group '{word}' has no hosts" if word in self.groups else f"no host or group matches '{word}'"
            raise UsageError("unknown_host", f"{what}; {self.path} has {self._there()}")
        return found

    def _labelled(self, pattern: str) -> set[str]:
        pattern = pattern if "=" in pattern else f"{pattern}=*"
        return {host.name for host in self.hosts if any(fnmatch.fnmatchcase(each, pattern) for each in _labels(host))}

    def _there(self) -> str:
        """All that could be meant, in words."""
        parts = {
            "hosts": self._names,
            "groups": self.groups,
            "labels": sorted({label for host in self.hosts for label in _labels(host)}),
        }
        return "; ".join(f"{what}: {', '.join(names)}" for what, names in parts.items() if names)


def _labels(host: HostSettings) -> list[str]:
    return [f"{name}={value}" for name, value in host.labels.items()]
