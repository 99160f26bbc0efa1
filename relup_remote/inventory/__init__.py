"""The inventory: hosts, groups and their settings, checked before anything is contacted.

::

    locate ── which file it is
    load ──┬─ own        our own YAML
           └─ ansible    Ansible's INI, YAML and folders, read by `ansible-inventory`
                  └─ checking    settings by the one table, `relup_remote.settings`
    Inventory.select ── which hosts are meant
"""

from relup_remote.inventory.errors import InventoryError
from relup_remote.inventory.files import VARIABLE, load, locate
from relup_remote.inventory.select import Inventory
from relup_remote.settings import SETTINGS, HostSettings

__all__ = ["SETTINGS", "VARIABLE", "HostSettings", "Inventory", "InventoryError", "load", "locate"]
