"""Checking what an inventory says, whatever its format: settings, names, and the words for what is wrong."""

import datetime
import difflib
import re
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relup_remote.inventory.errors import InventoryError
from relup_remote.settings import SETTINGS, HostSettings, Kind

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

# A few lines of YAML may stand for billions of values.
_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother = 2, 100, 100

QUOTES = "YAML takes it for a number, a date, yes, no or nothing; put it in quotes"

NAMES = "a name has only a-z, A-Z, 0-9, dots, dashes and underscores, and begins with a letter or digit"

Settings = dict[str, Any]


@dataclass(frozen=True)
class Checker:
    """Checks parts of the inventory in the file ``path``. All that is wrong is raised as `InventoryError`."""

    path: Path

    def settings(self, given: Any, where: str) -> Settings:
        """The settings in a mapping, as `HostSettings` has them; None is an empty one."""
        mapping = self.mapping(given, where) if given is not None else {}
        self.known(mapping, SETTINGS, where, "setting")
        return {name: self.value(name, value, f"{where}.{name}") for name, value in mapping.items()}

    def value(self, name: str, value: Any, where: str) -> Any:
        """The value of one setting."""
        setting = SETTINGS[name]
        if value is None and setting.default is None:
            return None
        kind: Kind = setting.metadata["kind"]
        try:
            return kind.read(value, self.path.parent.absolute())
        except ValueError as error:
            may_want_quotes = isinstance(value, dict) or (kind.is_text and value is not None)
            reason = str(error) or (QUOTES if may_want_quotes and _is_not_text(value) else "")
            found = f"expected {kind.label}, found {shown(value)}"
            raise self.wrong(where, f"{found}: {reason}" if reason else found) from error

    def mapping(self, value: Any, where: str) -> dict[Any, Any]:
        """``value``, which must be a mapping."""
        if not isinstance(value, dict):
            raise self.wrong(where, f"expected a mapping, found {shown(value)}")
        return value

    def known(self, mapping: Iterable[Any], known: Iterable[str], where: str, what: str) -> None:
        """All keys of ``mapping`` must be ``known``."""
        for key in mapping:
            if key not in known:
                raise self.wrong(where, f"unknown {what} {shown(key)}{nearest(key, known)}")

    def name(self, name: Any, where: str) -> None:
        """A name of a host or group: it is part of file names too."""
        if not isinstance(name, str) or not NAME.fullmatch(name):
            reason = QUOTES if _is_not_text(name) else NAMES
            raise self.wrong(where, f"{shown(name)} is not a name: {reason}", "Correct the name in this file.")

    def wrong(self, where: str, message: str, hint: str | None = None) -> InventoryError:
        """The error at a place of this inventory."""
        return InventoryError(self.path, where, message, hint=hint)


def merged(name: str, *levels: Mapping[str, Any]) -> HostSettings:
    """The host ``name`` with the settings of all ``levels``, the later before the earlier; labels one by one."""
    settings: Settings = {"address": name}
    for level in levels:
        settings |= {**level, "labels": {**settings.get("labels", {}), **level.get("labels", {})}}
    return HostSettings(name=name, **settings)


def _is_not_text(value: Any) -> bool:
    """Whether a value, or one right in it, is what YAML makes of a word that looks like something else."""
    # No deeper: a few lines of YAML may stand for billions of values, or for one without an end.
    values = [inner for pair in value.items() for inner in pair] if isinstance(value, dict) else [value]
    return any(inner is None or isinstance(inner, bool | int | float | datetime.date) for inner in values)


def shown(value: Any) -> str:
    """A value in a few words."""
    try:
        return _SHORT.repr(value)
    except ValueError:
        return "a number of thousands of digits"


def nearest(word: Any, known: Iterable[str]) -> str:
    """What of ``known`` was perhaps meant by ``word``, to be added to a sentence."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5) if isinstance(word, str) else []
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"
