"""Hosts that are lost in the middle of a run: their power goes, their link is cut. Nobody can say how they stand."""

from pathlib import Path
from threading import Event, Timer

import pytest
import yaml

from lab.hosts.lab import Hosts
from lab.hosts.network import OPERATOR
from relup_remote.core.protocol import STEPS
from tests.hosts.clients import watching
from tests.hosts.operator import Operator
from tests.hosts.steps import GATE, close_gate, during, open_gate, report_of
from tests.hosts.test_package import versions
from tests.lab.cluster import BASE, FIRST, Ran, until

SILENCE = 20.0
"""Seconds until a silent host counts as lost. By default it is a minute; what follows is the same."""

UNHEARD = ("connection_lost", "ssh_timeout")
UNREACHED = (*UNHEARD, "host_unreachable")
"""Where it was lost between two requests, there is no way to it for the next one."""


@pytest.fixture
def impatient(cluster: Hosts, tmp_path: Path) -> Operator:
    """An operator who waits for a silent host no longer than `SILENCE`."""
    inventory = yaml.safe_load(cluster.inventory.read_text())
    inventory["defaults"] |= {"command_timeout": SILENCE, "connect_timeout": SILENCE}
    path = tmp_path / "impatient.yml"
    path.write_text(yaml.safe_dump(inventory))
    return Operator(cluster, tmp_path / "impatient", path)


def test_power_goes_in_a_hop(cluster: Hosts, impatient: Operator, slow: tuple[str, ...]) -> None:
    first = cluster.nodes[0]
    reached = first.path(f"{GATE}.reached")
    for machine in cluster.nodes:
        close_gate(machine)
    for machine in cluster.nodes[1:]:
        open_gate(machine)

    def take_power() -> None:
        until("the hop waits", reached.exists)
        # A machine without power does not say goodbye.
        cluster.network.link(first.name, passes=False)
        first.power_off()

    lost = during(impatient, first.name, "apply", take_power, *slow)
    assert lost.status == 1
    assert lost.error()["err_type"] in UNHEARD
    assert lost.error()["detail"]["step"] == "apply"
    steps = {step["step"]: step["status"] for step in lost.row()["steps"]}
    # A tree may be there from an earlier test.
    assert steps.pop("extract") in ("ok", "unchanged")
    assert steps == {"stage": "ok", "checksum": "ok", "patches": "ok", "apply": "unknown"}
    # What runs there is not known. What was planned is.
    assert (lost.row()["running"], lost.row()["from"], lost.row()["target"]) == (None, BASE, FIRST)
    assert [row["outcome"] for row in lost.document["hosts"]] == ["failed", "skipped", "skipped"]
    told = report_of(impatient, first.name)
    assert (told["state"], told["steps"][-1]["step"], told["steps"][-1]["status"]) == ("failed", "apply", "unknown")
    seen = impatient.run("status", "--host", first.name)
    assert (seen.status, seen.row()["running"], seen.row()["facts"]) == (1, None, {})

    cluster.network.link(first.name)
    cluster.up()
    assert versions(cluster) == [BASE] * 3
    open_gate(first)
    ran = impatient.good("upgrade", "--resume", "last", *slow)
    assert [row["outcome"] for row in ran.document["hosts"]] == ["upgraded"] * 3
    assert versions(cluster) == [FIRST] * 3
    assert report_of(impatient, first.name)["state"] == "done"


CUTS = (
    ("stage", "n1", 90.0),
    ("checksum", "n1", 0.0),
    ("patches", "n1", 0.0),
    ("extract", "n1", 0.0),
    ("apply", "n2", 90.0),
    ("verify", "n3", 0.0),
    ("cleanup", "n1", 0.0),
)
"""At which step of which host the operator's cable is cut, and for how many seconds; 0: until the run has ended, after
`SILENCE`. Then the host may not know yet that its operator is gone, which `--resume` must cope with."""


def test_a_link_is_cut_in_each_step(cluster: Hosts, impatient: Operator, slow: tuple[str, ...]) -> None:
    """One upgrade is cut off in all of its steps, one after the other. The clients of the nodes notice nothing."""
    assert [step for step, *_ in CUTS] == list(STEPS)
    second = cluster.nodes[1]
    for machine in cluster.nodes:
        open_gate(machine)
    close_gate(second)
    reached = second.path(f"{GATE}.reached")
    resuming: tuple[str, ...] = ()
    with watching(cluster) as seen:
        for step, host, seconds in CUTS:
            ran = cut(cluster, impatient, step, host, seconds, *slow, *resuming)
            assert ran.status == 1, ran.stdout
            failed = ran.row(host)
            assert failed["error"]["err_type"] in UNREACHED, ran.stdout
            told = {each["step"]: each["status"] for each in failed["steps"]}
            # Some steps are over before the cut is felt. What was told is kept, and of the last no end is made up.
            assert list(told)[-1] in STEPS[STEPS.index(step) :], told
            assert "failed" not in told.values(), told
            assert (failed["from"], failed["target"]) == (BASE, FIRST)
            if step == "apply":
                assert told["apply"] == "unknown"
                assert reached.exists()
                open_gate(second)
            resuming = ("--resume", "last")
        ran = impatient.good("upgrade", *slow, *resuming)
    assert {row["outcome"] for row in ran.document["hosts"]} <= {"upgraded", "nothing to do"}
    assert versions(cluster) == [FIRST] * 3
    assert seen[0].held, seen[0]
    for machine in cluster.nodes:
        # Nothing is left behind, and no lock is held.
        ours = "/var/lib/emqx/relup_remote"
        assert machine.run("find", f"{ours}/staging", "/usr/lib/emqx/relup", "-name", "*.part") == ""
    free = impatient.good("status")
    assert [row["facts"].get("cluster_lock") for row in free.document["hosts"]] == [None] * 3


def cut(
    hosts: Hosts, operator: Operator, step: str, host: str, seconds: float, *options: str, cable: str = OPERATOR
) -> Ran:
    """An upgrade during which a cable is cut for so many seconds, at least until it ends, when a host begins a step."""
    over = Event()
    timer = Timer(seconds, over.set)

    def begin() -> None:
        hosts.network.link(cable, passes=False)
        timer.start()

    try:
        ran = during(operator, host, step, begin, *options)
        over.wait()
    finally:
        hosts.network.link(cable)
    return ran


def test_a_machine_is_cut_off_from_all_others(cluster: Hosts, operator: Operator, tarball: Path) -> None:
    """For 90 s, with the limits that there are by default: the nodes lose each other as well."""
    second = cluster.nodes[1].name
    options = ("--tarball", str(tarball), "--no-backup", "--yes")
    ran = cut(cluster, operator, "apply", second, 90.0, *options, cable=second)
    assert ran.status == 1, ran.stdout
    assert ran.error(second)["err_type"] in UNHEARD
    assert [row["outcome"] for row in ran.document["hosts"]] == ["upgraded", "failed", "skipped"]
    assert {step["step"]: step["status"] for step in ran.row(second)["steps"]}["apply"] == "unknown"
    cluster.await_cluster()
    ran = operator.good("upgrade", "--resume", "last", *options)
    assert [row["outcome"] for row in ran.document["hosts"]] == ["upgraded"] * 3
    assert versions(cluster) == [FIRST] * 3
