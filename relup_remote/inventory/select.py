"""An inventory that was read, and which of its hosts are meant."""

import fnmatch
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from relup_remote.inventory.errors import InventoryError
from relup_remote.settings import HostSettings
from relup_remote.usage import UsageError

LABEL = "label:"
SEPARATOR = re.compile(r"(?<!\blabel)[:,](?![^\[\],]*\])")
"""What parts words; the colon of a label does not, nor does one in brackets."""

SUBSCRIPT = re.compile(r"(?P<word>[^~].*)\[(?:(?P<one>-?\d{1,9})|(?P<first>\d{1,9})[:-](?P<last>\d{0,9}))\]")
"""A word with which of its hosts are meant, as Ansible has it: the number of one, or of the first and the last."""

RANGE = re.compile(r"\[[^\]]*(?:\d:|:\d|\d\d-\d|\d-\d\d)[^\]]*\]")
"""Brackets in a glob that look like a range of numbers: in a glob they would mean some single digits."""

BY_EXPRESSION = "Name each, or write a regular expression for numbers in names: '~n(9|10|11)$'."


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

        A selector is a host, a group, a glob over both, a regular expression after ``~``, ``label:NAME=VALUE`` (a glob
        too), or a list of such, with commas or colons, as Ansible's patterns. After a word may be which of its hosts
        are meant: ``[0]``, ``[-1]``, ``[1:]``, or ``[0:2]`` for three of them. Of all that is meant, a word after ``&``
        keeps what it means too, and one after ``!`` takes that away. Raises `UsageError`: ``unknown_host`` if one
        means nothing, or nothing is left, or a range of numbers is in a name, ``ambiguous_host`` if one is a host and a
        group; `InventoryError` if a host that is meant can't be used.
        """
        words = [word.strip() for selector in selectors for word in SEPARATOR.split(selector)]
        plain = [word for word in words if not word.startswith(("&", "!"))]
        wanted = {name for word in plain for name in self._meant_by(word)} if plain else set(self._names)
        for word in words:
            if word.startswith("&"):
                wanted &= self._meant_by(word[1:])
            elif word.startswith("!"):
                wanted -= self._meant_by(word[1:])
        if not wanted:
            raise UsageError("unknown_host", f"no host is left of '{','.join(words)}'; {self.path} has {self._there()}")
        for name, error in self.unusable.items():
            if name in wanted:
                raise error
        return [host for host in self.hosts if host.name in wanted]

    @property
    def _names(self) -> list[str]:
        return [*(host.name for host in self.hosts), *self.unusable]

    def _meant_by(self, word: str) -> set[str]:
        subscript = None if word.startswith(LABEL) else SUBSCRIPT.fullmatch(word)
        if subscript is not None:
            hosts = self._found(subscript["word"])
            found = _part(hosts, subscript)
            if not hosts:
                what = f"'{word}' means some of the hosts of '{subscript['word']}', which no host or group matches"
                raise UsageError("unknown_host", f"{what}; {self.path} has {self._there()}", BY_EXPRESSION)
            if not found:
                what = f"'{subscript['word']}' means {len(hosts)} hosts, and '{word}' is none of them"
                raise UsageError("unknown_host", f"{what}; {self.path} has {self._there()}")
        elif not (found := self._found(word)):
            what = f"the group '{word}' has no hosts" if word in self.groups else f"no host or group matches '{word}'"
            raise UsageError("unknown_host", f"{what}; {self.path} has {self._there()}")
        return set(found)

    def _found(self, word: str) -> list[str]:
        """The hosts that a word means, each once: those of groups in the group's order, then others."""
        if not word.startswith("~") and (brackets := RANGE.search(word)):
            what = f"'{brackets[0]}' in '{word}' is no range: brackets in a glob mean one character"
            raise UsageError("unknown_host", f"{what}; {self.path} has {self._there()}", BY_EXPRESSION)
        if word.startswith(LABEL):
            return self._labelled(word.removeprefix(LABEL))
        if word in self.groups and word in self._names and set(self.groups[word]) != {word}:
            raise UsageError("ambiguous_host", f"'{word}' is a host and a group of {self.path}")
        try:
            fits = _fitting(word)
        except re.error as error:
            what = f"'{word}' is not a regular expression: {error}"
            raise UsageError("unknown_host", f"{what}; {self.path} has {self._there()}") from error
        of_groups = [name for group, members in self.groups.items() if fits(group) for name in members]
        return list(dict.fromkeys([*of_groups, *filter(fits, self._names)]))

    def _labelled(self, pattern: str) -> list[str]:
        pattern = pattern if "=" in pattern else f"{pattern}=*"
        return [host.name for host in self.hosts if any(fnmatch.fnmatchcase(each, pattern) for each in _labels(host))]

    def _there(self) -> str:
        """All that could be meant, in words."""
        parts = {
            "hosts": self._names,
            "groups": self.groups,
            "labels": sorted({label for host in self.hosts for label in _labels(host)}),
        }
        return "; ".join(f"{what}: {', '.join(names)}" for what, names in parts.items() if names)


def _part(hosts: Sequence[str], subscript: re.Match[str]) -> Sequence[str]:
    """Those of the hosts that a subscript means; none if there are not so many."""
    if subscript["one"]:
        number = int(subscript["one"])
        return [hosts[number]] if -len(hosts) <= number < len(hosts) else []
    last = int(subscript["last"]) if subscript["last"] else len(hosts)
    return hosts[int(subscript["first"]) : last + 1]


def _fitting(word: str) -> Callable[[str], object]:
    """What says whether a name fits a word: a glob, or a regular expression for its beginning. Raises re.error."""
    return re.compile(word[1:]).match if word.startswith("~") else lambda name: fnmatch.fnmatchcase(name, word)


def _labels(host: HostSettings) -> list[str]:
    return [f"{name}={value}" for name, value in host.labels.items()]
