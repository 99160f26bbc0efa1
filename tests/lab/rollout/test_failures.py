"""Hosts that fail, and hosts that are not there: how many may, what it leaves, and how the run is taken up again."""

from pathlib import Path

import pytest

from lab.cluster import Lab
from tests.lab.cluster import BASE, FIRST, Ran, all_back
from tests.lab.rollout.controller import Controller, applied
from tests.lab.rollout.held import HeldHops
from tests.lab.rollout.state import cluster_lock, marked, results, successes

ORDER = ["n4", "n1", "n2", "n3"]

pytestmark = pytest.mark.xdist_group("rollout of four nodes")


@pytest.fixture(scope="module")
def lab(four: Lab) -> Lab:
    """The nodes, as they are after whatever test came before."""
    return four


@pytest.fixture
def fresh(lab: Lab, held: HeldHops) -> Lab:
    """The lab, put back before each test."""
    held.clear()
    all_back(lab)
    return lab


@pytest.fixture
def upgrade(controller: Controller, held: HeldHops, tarball: Path) -> "Upgrade":
    """Runs the command."""
    return Upgrade(controller, ["--tarball", str(tarball), "--catalogue", str(held.catalogue), "--yes", "--no-backup"])


class Upgrade:
    """`relup upgrade`, quick: all hosts but the canary at once, and no post-checks."""

    def __init__(self, controller: Controller, given: list[str]) -> None:
        self.controller = controller
        self._given = given

    def __call__(self, *options: str, parallel: int = 4) -> Ran:
        quick = ["--gates", "verify,cluster", "--parallel", str(parallel)]
        return self.controller.run("upgrade", *self._given, *quick, *options)

    def resume(self) -> Ran:
        """Take the last run up again."""
        return self.controller.run("upgrade", *self._given, "--resume", "last")


def outcomes(ran: Ran) -> dict[str, str]:
    """The outcome of each host."""
    return {row["host"]: row["outcome"] for row in ran.document["hosts"]}


def assert_complete(lab: Lab, ran: Ran, failed: set[str]) -> None:
    """All are upgraded, each once; the hosts that ``failed`` at first were the only ones tried twice."""
    assert ran.status == 0, ran.stderr + ran.stdout
    assert set(outcomes(ran).values()) == {"upgraded"}
    for host in lab.hosts:
        assert successes(lab, host) == [(BASE, FIRST)], host
        assert results(lab, host) == (["apply_failed", "success"] if host in failed else ["success"])
        assert cluster_lock(lab, host) is None


def test_no_host_may_fail(fresh: Lab, upgrade: Upgrade, held: HeldHops) -> None:
    held.fail(fresh.host("n4").node)
    ran = upgrade()
    assert ran.status == 1
    assert ran.error("n4")["err_type"] == "apply_failed"
    assert outcomes(ran) == {"n4": "failed", **dict.fromkeys(ORDER[1:], "skipped")}
    assert ran.document["rollout"]["err_type"] == "too_many_failures"
    assert ran.document["rollout"]["next"] == f"relup upgrade --resume {upgrade.controller.last.run}"
    assert set(marked(fresh).values()) == {None}
    assert [cluster_lock(fresh, host) for host in ORDER] == [None] * len(ORDER)
    assert fresh.eval("n4", "emqx_release:version()") == f'"{BASE}"'
    held.mend(fresh.host("n4").node)
    assert_complete(fresh, upgrade.resume(), failed={"n4"})


def test_one_host_may_fail(fresh: Lab, upgrade: Upgrade, held: HeldHops) -> None:
    held.fail(fresh.host("n4").node)
    held.fail(fresh.host("n2").node)
    ran = upgrade("--max-failures", "1", parallel=1)
    assert ran.document["rollout"]["err_type"] == "too_many_failures"
    assert outcomes(ran) == {"n4": "failed", "n1": "upgraded", "n2": "failed", "n3": "skipped"}
    assert applied(upgrade.controller.last) == ["n4", "n1", "n2"]
    for host in ("n4", "n2"):
        held.mend(fresh.host(host).node)
    assert_complete(fresh, upgrade.resume(), failed={"n4", "n2"})


def test_half_of_the_hosts_may_fail(fresh: Lab, upgrade: Upgrade, held: HeldHops) -> None:
    failing = ("n4", "n2")
    for host in failing:
        held.fail(fresh.host(host).node)
    ran = upgrade("--max-failures", "50%")
    assert ran.status == 1
    assert ran.document["rollout"]["outcome"] == "partly done"
    assert {host for host, outcome in outcomes(ran).items() if outcome == "failed"} == set(failing)
    assert {host for host, outcome in outcomes(ran).items() if outcome == "upgraded"} == set(ORDER) - set(failing)
    for host in failing:
        held.mend(fresh.host(host).node)
    assert_complete(fresh, upgrade.resume(), failed=set(failing))


def test_a_cluster_that_is_not_whole(fresh: Lab, upgrade: Upgrade) -> None:
    earlier = len(upgrade.controller.runs)
    fresh.stop_sshd("n3")
    refused = upgrade()
    assert refused.status == 3
    assert refused.document["rollout"]["err_type"] == "cluster_not_whole"
    assert "n3" in refused.document["rollout"]["reason"]
    assert len(upgrade.controller.runs) == earlier
    assert set(marked(fresh).values()) == {None}
    assert [cluster_lock(fresh, host) for host in ORDER] == [None] * len(ORDER)

    without = upgrade("--allow-missing")
    assert without.status == 1
    assert without.document["rollout"]["outcome"] == "partly done"
    assert outcomes(without) == {host: "failed" if host == "n3" else "upgraded" for host in ORDER}
    assert results(fresh, "n3") == []

    fresh.start_sshd("n3")
    assert_complete(fresh, upgrade.resume(), failed=set())
