"""Which run is taken up again, and with what it is not."""

from pathlib import Path

import pytest

from relup_remote.commands.invocation import Invocation
from relup_remote.commands.rolling import taken_up
from relup_remote.commands.wishes import Wishes
from relup_remote.rollout.ledger import Ledger
from relup_remote.usage import UsageError
from tests.unit.rollout.plans import RUN, plan


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Ledger:
    """The ledger of a run that its controller still holds."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return Ledger.create(plan(["n1"], ["n2"]).to_json())


def upgrade(*hosts: str) -> Invocation:
    return Invocation("upgrade", hosts, "", json=False, quiet=True)


def test_a_run_is_taken_up_with_its_hosts_and_its_inventory(ledger: Ledger) -> None:
    ledger.close()
    call = upgrade()
    assert taken_up(call, "last", Wishes(parallel="2", soak="1m")).run == RUN
    assert (call.run, call.selection, str(call.inventory_path)) == (RUN, ("n1", "n2"), "/etc/hosts.yml")


@pytest.mark.parametrize(
    ("hosts", "wishes", "named"),
    [(["n1"], Wishes(), "--host"), ([], Wishes(waves="2", order="inventory"), "--waves, --order")],
)
def test_what_would_change_its_waves_is_refused(ledger: Ledger, hosts: list[str], wishes: Wishes, named: str) -> None:
    ledger.close()
    with pytest.raises(UsageError, match=f"^{named}: ") as raised:
        taken_up(upgrade(*hosts), "last", wishes)
    assert raised.value.err_type == "bad_option"


def test_one_that_goes_on_is_not_taken_up(ledger: Ledger) -> None:
    with pytest.raises(UsageError, match=RUN) as raised:
        taken_up(upgrade(), "last", Wishes())
    assert raised.value.err_type == "run_in_progress"
    ledger.close()
