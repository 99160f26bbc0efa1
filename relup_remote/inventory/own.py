"""Our own inventories, YAML::

    defaults: {user: emqx, key: ~/.ssh/id_ed25519}
    hosts:
      n1: {address: 10.0.0.1, root_dir: /opt/emqx}
      n2: {}
    groups:
      all: [n1, n2]
      cores: {hosts: [n1, n2], settings: {role: core}}

A host's own settings come before those of its groups, which come before the defaults. Two groups of a host may not
disagree on a setting that the host has not itself.
"""

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from relup_remote.inventory.checking import Checker, Settings, merged, nearest, shown
from relup_remote.inventory.select import Inventory

SECTIONS = ("defaults", "hosts", "groups")
GROUP_KEYS = ("hosts", "settings")


class Group(NamedTuple):
    """A group: its hosts, and what is set for them."""

    hosts: tuple[str, ...]
    settings: Settings


def inventory(path: Path, read: Any) -> Inventory:
    """The inventory that was `read` from ``path``. Raises `InventoryError` for the first thing wrong."""
    check = Checker(path)
    document = check.mapping(read, "")
    check.known(document, SECTIONS, "", "section")
    defaults = check.settings(document.get("defaults"), "defaults")
    hosts = _hosts(check, document.get("hosts"))
    groups = _groups(check, document.get("groups"), hosts)
    return Inventory(
        path,
        tuple(merged(name, defaults, _of_groups(check, name, own, groups), own) for name, own in hosts.items()),
        {name: group.hosts for name, group in groups.items()},
    )


def read(path: Path, text: str) -> Any:
    """What ``text``, out of ``path``, is as YAML in which no key is given twice. Raises `InventoryError`."""
    check = Checker(path)
    try:
        # A SafeLoader: it makes plain values and nothing else.
        document = yaml.load(text, _UniqueKeys)  # noqa: S506
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise check.wrong(f"line {mark.line + 1}" if mark else "", error.problem or "is not YAML") from error
    except yaml.YAMLError as error:
        raise check.wrong("", f"is not YAML: {error}".splitlines()[0]) from error
    except RecursionError as error:
        raise check.wrong("", "is nested too deep") from error
    if document is None:
        raise check.wrong("", "is empty")
    return document


def _hosts(check: Checker, section: Any) -> dict[str, Settings]:
    """Each host's own settings."""
    if not section:
        raise check.wrong("hosts", "no hosts are given")
    hosts = {}
    for name, given in check.mapping(section, "hosts").items():
        check.name(name, "hosts")
        hosts[name] = check.settings(given, f"hosts.{name}")
    return hosts


def _groups(check: Checker, section: Any, hosts: Mapping[str, Settings]) -> dict[str, Group]:
    groups = {}
    for name, given in (check.mapping(section, "groups") if section is not None else {}).items():
        check.name(name, "groups")
        where = f"groups.{name}"
        if name in hosts:
            raise check.wrong(where, "a host has this name too")
        members, settings = given, {}
        if isinstance(given, dict):
            check.known(given, GROUP_KEYS, where, "key")
            members, settings = given.get("hosts"), check.settings(given.get("settings"), f"{where}.settings")
        if not isinstance(members, list):
            raise check.wrong(where, f"expected a list of hosts, found {shown(members)}")
        for member in members:
            if not isinstance(member, str) or member not in hosts:
                if not isinstance(member, list | dict):
                    # A word that YAML takes for something else.
                    check.name(member, where)
                raise check.wrong(where, f"there is no host {shown(member)}{nearest(member, hosts)}")
        groups[name] = Group(tuple(members), settings)
    return groups


def _of_groups(check: Checker, host: str, own: Settings, groups: Mapping[str, Group]) -> Settings:
    """What its groups set for a host. They must agree on all that it does not set itself."""
    found: Settings = {"labels": {}}
    setters: dict[tuple[str, ...], tuple[str, Any]] = {}
    for name, group in groups.items():
        if host not in group.hosts:
            continue
        for path, value in _flat(group.settings).items():
            first, its_value = setters.setdefault(path, (name, value))
            if its_value != value and path not in _flat(own):
                raise check.wrong(
                    f"groups.{name}.settings.{'.'.join(path)}",
                    f"{host} is in the group '{first}' too, which sets something else; set it for the host itself",
                )
        found |= {**group.settings, "labels": {**found["labels"], **group.settings.get("labels", {})}}
    return found


def _flat(settings: Settings) -> dict[tuple[str, ...], Any]:
    """Settings by their path: each label is one of its own."""
    flat: dict[tuple[str, ...], Any] = {(name,): value for name, value in settings.items() if name != "labels"}
    return flat | {("labels", name): value for name, value in settings.get("labels", {}).items()}


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
