"""Which file is the inventory, and in which format it is."""

import codecs
import os
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from relup_remote import files
from relup_remote.checkout import checkout
from relup_remote.files import below_home, expanded, is_file, is_folder
from relup_remote.inventory import ansible, own
from relup_remote.inventory.errors import InventoryError
from relup_remote.inventory.select import Inventory
from relup_remote.usage import UsageError

VARIABLE = "RELUP_INVENTORY"
YAML = (".yml", ".yaml", ".json")
ALL = re.compile(r"""^(all|'all'|"all")\s*:""", re.MULTILINE)
"""How an Ansible inventory in YAML usually begins: its groups are below `all`."""

SECTION = re.compile(r"^\s*\[[^\[\]{}\"',]+\]\s*(?:[#;].*)?$")
"""The line that begins a group of an Ansible inventory in INI."""

OF_GROUPS = ("hosts", "children", "vars")
"""What a group of an Ansible inventory in YAML has."""

MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte order marks, and the coding that each stands for."""


def locate(given: str | None = None) -> Path:
    """The inventory to use: ``given``, else $RELUP_INVENTORY, else the first that exists of the usual places.

    Those are `inventory/hosts.yml` and `inventory/lab.yml` of the working directory, the same of the checkout, and
    `~/.config/relup_remote/inventory.yml`. Raises `UsageError` (``no_inventory``).
    """
    named = given or os.environ.get(VARIABLE)
    if named:
        return expanded(named)
    places = _usual_places()
    for place in places:
        if is_file(place):
            print(f"inventory: {place}", file=sys.stderr)
            return place
    raise UsageError("no_inventory", f"no inventory: looked for {', '.join(str(place) for place in places)}")


def _usual_places() -> list[Path]:
    config: list[Path] = []
    with suppress(OSError):
        config = [below_home("XDG_CONFIG_HOME", ".config") / "relup_remote" / "inventory.yml"]
    bases = dict.fromkeys(base for base in (Path.cwd(), checkout()) if base)
    return [
        *(base / "inventory" / name for base in bases for name in ("hosts.yml", "lab.yml")),
        *config,
    ]


def load(path: Path, allow_code: bool = False) -> Inventory:
    """Read and check an inventory. Raises `InventoryError` for the first thing that is wrong.

    What is in it says whose it is, not its name. A folder is Ansible's. So is a program, and a configuration of a
    plugin: these are run by `ansible-inventory`, but only if ``allow_code``. YAML, or JSON, is our own unless it has
    Ansible's groups. Everything else is Ansible's INI.
    """
    if is_folder(path):
        return ansible.load(path, allow_code=allow_code)
    content = _content(path)
    if content.startswith(b"#!"):
        return ansible.run(path, allow_code)
    text = _text(path, content)
    trouble = None
    try:
        # Most are our own, and large ones take long to read: once will do.
        document = own.read(path, text)
    except InventoryError as error:
        document, trouble = _parsed(text), error
    if isinstance(document, dict):
        if "plugin" in document:
            return ansible.run(path, allow_code)
        if "_meta" in document and not {*own.SECTIONS} & {*document}:
            # What `ansible-inventory --list` has said, and dynamic inventories say.
            if trouble is not None:
                raise trouble
            return ansible.inventory(path, document)
        is_ansibles = _is_ansibles(document)
    elif path.suffix in YAML and not _is_ini(text):
        # It can't be read, or is no mapping: the words for that are those of its kind.
        is_ansibles = ALL.search(text) is not None
    else:
        return ansible.load(path, text, ".ini")
    if is_ansibles:
        return ansible.load(path, text, ".yml")
    if trouble is not None:
        raise trouble
    return own.inventory(path, document)


def _parsed(text: str) -> Any:
    """What a text is as YAML; None if it is none, or empty. Nothing is made of it but plain values."""
    try:
        return yaml.load(text, _Plain)  # noqa: S506  # A SafeLoader.
    except (yaml.YAMLError, RecursionError, ValueError, LookupError, AttributeError, TypeError):
        return None


class _Plain(yaml.SafeLoader):
    """YAML in which values with tags of others, as `!vault`, are nothing: it is only asked what there is."""


_Plain.add_multi_constructor("!", lambda _loader, _tag, _node: None)


def _is_ansibles(document: Mapping[Any, Any]) -> bool:
    """Whether a document has Ansible's groups: `all`, or nothing but groups."""
    if {*own.SECTIONS} & {*document}:
        return False
    groups = [group for group in document.values() if group is not None]
    return "all" in document or (
        bool(groups) and all(isinstance(group, dict) and {*group} and {*group} <= {*OF_GROUPS} for group in groups)
    )


def _is_ini(text: str) -> bool:
    """Whether a text begins with a group of an INI file, or a host with variables."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith(("#", ";"))]
    return bool(lines) and (SECTION.match(lines[0]) is not None or re.match(r"[\w.:-]+\s+\w+=", lines[0]) is not None)


def _content(path: Path) -> bytes:
    try:
        return files.read_bytes(path)
    except OSError as error:
        raise InventoryError(path, "", f"can't be read: {error.strerror}") from error


def _text(path: Path, content: bytes) -> str:
    coding = next((coding for mark, coding in MARKS if content.startswith(mark)), "utf-8")
    try:
        return content.decode(coding)
    except UnicodeDecodeError as error:
        name = coding.upper().removesuffix("-SIG")
        raise InventoryError(path, "", f"is not {name} text: byte {error.start}") from error
