"""The inventory: hosts, groups and their settings, from one YAML file, checked before anything is contacted.

::

    defaults: {user: emqx, key: ~/.ssh/id_ed25519}
    hosts:
      n1: {address: 10.0.0.1, root_dir: /opt/emqx}
      n2: {}
    groups:
      cores: [n1, n2]

The settings themselves are in `relup_remote.settings`.
"""

import difflib
import fnmatch
import os
import re
import reprlib
import sys
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from relup_remote.checkout import checkout
from relup_remote.settings import SETTINGS, HostSettings, Kind
from relup_remote.usage import UsageError

__all__ = ["SETTINGS", "HostSettings", "Inventory", "InventoryError", "load", "locate"]

VARIABLE = "RELUP_INVENTORY"
SECTIONS = ("defaults", "hosts", "groups")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

# A few lines of YAML may stand for billions of values.
_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother = 2, 100, 100


class InventoryError(UsageError):
    """The inventory is unusable. ``path`` is its file, ``where`` the place in it (``hosts.n1.port``, ``line 3``)."""

    def __init__(self, path: Path, where: str, message: str) -> None:
        super().__init__("bad_inventory", f"{path}: {where}: {message}" if where else f"{path}: {message}")
        self.path = path
        self.where = where


@dataclass(frozen=True)
class Inventory:
    """An inventory that was found good. ``hosts`` and ``groups`` are in the file's order."""

    path: Path
    hosts: tuple[HostSettings, ...]
    groups: Mapping[str, tuple[str, ...]]

    def select(self, selectors: Iterable[str] = ()) -> list[HostSettings]:
        """The hosts meant by ``selectors``, in the inventory's order, each once; all of them if there are none.

        A selector is a host, a group, a glob over both, or a comma list of such. Raises `UsageError`
        (``unknown_host``) if one means nothing.
        """
        words = [word.strip() for selector in selectors for word in selector.split(",")]
        if not words:
            return list(self.hosts)
        wanted = {name for word in words for name in self._meant_by(word)}
        return [host for host in self.hosts if host.name in wanted]

    def _meant_by(self, word: str) -> set[str]:
        names = [host.name for host in self.hosts]
        found = {name for name in names if fnmatch.fnmatchcase(name, word)}
        for group, members in self.groups.items():
            if fnmatch.fnmatchcase(group, word):
                found.update(members)
        if not found:
            there = f"hosts: {', '.join(names)}"
            if self.groups:
                there += f"; groups: {', '.join(self.groups)}"
            raise UsageError("unknown_host", f"no host or group fits '{word}'; {self.path} has {there}")
        return found


def locate(given: str | None = None) -> Path:
    """The inventory to use: ``given``, else $RELUP_INVENTORY, else the first that exists of the usual places.

    Those are `inventory/hosts.yml` and `inventory/lab.yml` of the working directory, the same of the checkout, and
    `~/.config/relup_remote/inventory.yml`. Raises `UsageError` (``no_inventory``).
    """
    named = given or os.environ.get(VARIABLE)
    if named:
        return Path(named).expanduser()
    places = _usual_places()
    for place in places:
        if place.is_file():
            print(f"inventory: {place}", file=sys.stderr)
            return place
    raise UsageError("no_inventory", f"no inventory: looked for {', '.join(str(place) for place in places)}")


def _usual_places() -> list[Path]:
    config = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
    bases = dict.fromkeys(base for base in (Path.cwd(), checkout()) if base)
    return [
        *(base / "inventory" / name for base in bases for name in ("hosts.yml", "lab.yml")),
        config / "relup_remote" / "inventory.yml",
    ]


def load(path: Path) -> Inventory:
    """Read and check an inventory. Raises `InventoryError` for the first thing that is wrong."""
    return _Reader(path).inventory()


class _Reader:
    """Turns one file into an `Inventory`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def inventory(self) -> Inventory:
        document = self._mapping(self._document(), "")
        self._known(document, SECTIONS, "", "section")
        defaults = self._settings(document.get("defaults"), "defaults")
        hosts = self._hosts(document.get("hosts"), defaults)
        return Inventory(self.path, hosts, self._groups(document.get("groups"), {host.name for host in hosts}))

    def _document(self) -> Any:
        try:
            text = self.path.read_text(encoding="utf-8")
        except OSError as error:
            raise self._error("", f"can't be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise self._error("", f"is not UTF-8 text: byte {error.start}") from error
        try:
            # A SafeLoader: it makes plain values and nothing else.
            document = yaml.load(text, _UniqueKeys)  # noqa: S506
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark
            raise self._error(f"line {mark.line + 1}" if mark else "", error.problem or "is not YAML") from error
        except yaml.YAMLError as error:
            raise self._error("", f"is not YAML: {error}".splitlines()[0]) from error
        except RecursionError as error:
            raise self._error("", "is nested too deep") from error
        if document is None:
            raise self._error("", "is empty")
        return document

    def _hosts(self, section: Any, defaults: dict[str, Any]) -> tuple[HostSettings, ...]:
        if not section:
            raise self._error("hosts", "no hosts are given")
        hosts = []
        for name, given in self._mapping(section, "hosts").items():
            self._name(name, "hosts")
            own = self._settings(given, f"hosts.{name}")
            hosts.append(HostSettings(name=name, **{"address": name, **defaults, **own}))
        return tuple(hosts)

    def _settings(self, given: Any, where: str) -> dict[str, Any]:
        mapping = self._mapping(given, where) if given is not None else {}
        self._known(mapping, SETTINGS, where, "setting")
        return {name: self._value(name, value, where) for name, value in mapping.items()}

    def _value(self, name: str, value: Any, where: str) -> Any:
        setting = SETTINGS[name]
        if value is None and setting.default is None:
            return None
        kind: Kind = setting.metadata["kind"]
        try:
            return kind.read(value, self.path.parent.absolute())
        except ValueError as error:
            raise self._error(f"{where}.{name}", f"expected {kind.label}, found {_shown(value)}") from error

    def _groups(self, section: Any, hosts: set[str]) -> dict[str, tuple[str, ...]]:
        groups = {}
        for name, members in (self._mapping(section, "groups") if section is not None else {}).items():
            self._name(name, "groups")
            where = f"groups.{name}"
            if name in hosts:
                raise self._error(where, "a host has this name too")
            if not isinstance(members, list):
                raise self._error(where, f"expected a list of hosts, found {_shown(members)}")
            for member in members:
                if not isinstance(member, str) or member not in hosts:
                    raise self._error(where, f"there is no host {_shown(member)}{_nearest(member, hosts)}")
            groups[name] = tuple(members)
        return groups

    def _mapping(self, value: Any, where: str) -> dict[Any, Any]:
        if not isinstance(value, dict):
            raise self._error(where, f"expected a mapping, found {_shown(value)}")
        return value

    def _known(self, mapping: Mapping[Any, Any], known: Iterable[str], where: str, what: str) -> None:
        for key in mapping:
            if key not in known:
                raise self._error(where, f"unknown {what} {_shown(key)}{_nearest(key, known)}")

    def _name(self, name: Any, where: str) -> None:
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise self._error(where, f"{_shown(name)} is not a name: letters, digits, dots, dashes and underscores")

    def _error(self, where: str, message: str) -> InventoryError:
        return InventoryError(self.path, where, message)


class _UniqueKeys(yaml.SafeLoader):
    """YAML that refuses a key given twice, where PyYAML lets the last one win, and names the place of a bad value."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError, TypeError) as error:
            # What PyYAML lets pass where it makes a number, a time or the like of what is none.
            raise yaml.MarkedYAMLError(problem=f"no {node.tag}", problem_mark=node.start_mark) from error

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.MarkedYAMLError(problem=f"{key.value!r} is given twice", problem_mark=key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _shown(value: Any) -> str:
    try:
        return _SHORT.repr(value)
    except ValueError:
        return "a number of thousands of digits"


def _nearest(word: Any, known: Iterable[str]) -> str:
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5) if isinstance(word, str) else []
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"
