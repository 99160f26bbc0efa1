"""What is wrong with an inventory."""

from pathlib import Path

from relup_remote.usage import UsageError


class InventoryError(UsageError):
    """The inventory is unusable. ``path`` is its file, ``where`` the place in it (``hosts.n1.port``, ``line 3``)."""

    def __init__(
        self, path: Path, where: str, message: str, err_type: str = "bad_inventory", hint: str | None = None
    ) -> None:
        super().__init__(err_type, f"{path}: {where}: {message}" if where else f"{path}: {message}", hint)
        self.path = path
        self.where = where
