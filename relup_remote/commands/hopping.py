"""How an operator wants hops to be checked and run, and what a request says of it."""

from dataclasses import dataclass
from typing import Any

from relup_remote.commands import options
from relup_remote.core.harmless import allowed
from relup_remote.usage import UsageError

BACKUP_AGE = 24 * 3600
"""Seconds that the newest backup may be old, unless the operator says otherwise."""


@dataclass(frozen=True)
class Checked:
    """What `prepare` refuses a host for, as given: an empty text is the default, or what a run began with."""

    backup_age: str = ""
    force: bool = False
    kill_lingering: bool = False
    allow_calls: str = ""
    call_timeout: str = ""

    def request_options(self) -> dict[str, Any]:
        """The options of a request that were wished for. Raises `UsageError` (``bad_option``)."""
        return {
            **({"force": True} if self.force else {}),
            **({"kill_lingering": True} if self.kill_lingering else {}),
            **({"allow_calls": self._calls()} if self.allow_calls else {}),
            **self._backup(),
            **options.numbers(call_timeout=self.call_timeout),
        }

    def _calls(self) -> str:
        try:
            allowed(self.allow_calls)
        except ValueError as error:
            raise UsageError("bad_option", f"--allow-calls: {error} is not module:function/arity") from None
        return self.allow_calls

    def _backup(self) -> dict[str, int]:
        # To a host 0 means that it needs no backup, which is another wish.
        return {"backup_age": options.duration("backup_age", self.backup_age, 0, minimum=1)} if self.backup_age else {}


@dataclass(frozen=True)
class CheckedWithBackup(Checked):
    """The same for `plan` and `upgrade`, which require a backup unless it is said that none is needed."""

    no_backup: bool = False

    def request_options(self) -> dict[str, Any]:
        """As of `Checked`."""
        return {**super().request_options(), **({"backup_age": 0} if self.no_backup else {})}


@dataclass(frozen=True)
class Hopping:
    """How a hop is run, as given."""

    no_boot_check: bool = False
    on_failure: str = ""
    hop_timeout: str = ""
    step_timeout: str = ""
    boot_timeout: str = ""

    def request_options(self) -> dict[str, Any]:
        """The options of a request that were wished for. Raises `UsageError` (``bad_option``)."""
        chosen = options.choice("on_failure", self.on_failure, options.ON_FAILURE) if self.on_failure else ""
        return {
            **({"no_boot_check": True} if self.no_boot_check else {}),
            **({"on_failure": chosen} if chosen else {}),
            **options.numbers(
                hop_timeout=self.hop_timeout, step_timeout=self.step_timeout, boot_timeout=self.boot_timeout
            ),
        }


AS_CHECKED, AS_CHECKED_WITH_BACKUP, AS_HOPPED = Checked(), CheckedWithBackup(), Hopping()
"""No wishes."""
