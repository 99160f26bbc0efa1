"""Which file is the inventory, and in which format it is."""

import os
import re
import sys
from contextlib import suppress
from pathlib import Path

from relup_remote import files
from relup_remote.checkout import checkout
from relup_remote.files import below_home, expanded
from relup_remote.inventory import ansible, own
from relup_remote.inventory.errors import InventoryError
from relup_remote.inventory.select import Inventory
from relup_remote.usage import UsageError

VARIABLE = "RELUP_INVENTORY"
YAML = (".yml", ".yaml", ".json")
ALL = re.compile(r"""^(all|'all'|"all")\s*:""", re.MULTILINE)
"""How an Ansible inventory in YAML begins: its groups are below `all`."""


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
        if place.is_file():
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


def load(path: Path) -> Inventory:
    """Read and check an inventory. Raises `InventoryError` for the first thing that is wrong.

    A folder, a file with the suffix `.ini` or none, and a YAML file with `all:` at the start of a line are Ansible's;
    any other file is our own YAML.
    """
    if path.is_dir():
        return ansible.load(path)
    text = _text(path)
    if path.suffix in YAML and not ALL.search(text):
        return own.load(path, text)
    if path.suffix in (*YAML, ".ini", ""):
        return ansible.load(path)
    return own.load(path, text)


def _text(path: Path) -> str:
    try:
        return files.read_text(path)
    except OSError as error:
        raise InventoryError(path, "", f"can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InventoryError(path, "", f"is not UTF-8 text: byte {error.start}") from error
