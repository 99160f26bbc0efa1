"""What a lab decides before it starts anything, and what the demonstration runs."""

import json
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from lab import cluster, demo, node, sshd
from lab.cluster import Lab
from lab.errors import LabError
from lab.evidence import Evidence
from lab.layout import Host, Layout, Ports
from lab.ports import PortsInUse

GOOD = Evidence(
    clients=2, kept=2, reconnects=0, sent=9, acknowledged=9, received=18, lost=0, duplicated=0, longest_gap=0.2
)


def pretend_running(_host: Host) -> int:
    """A pid for every host."""
    return 4711


def test_a_lab_in_use_is_refused_before_anything_is_touched(tmp_path: Path) -> None:
    state = tmp_path / "lab"
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        lab = Lab(state, nodes=1, ports=Ports(ssh=port - 1), releases=tmp_path / "releases")
        with pytest.raises(PortsInUse, match=rf"{port} \(SSH of n1\)"):
            lab.up()
    assert list(tmp_path.iterdir()) == []


def test_a_lab_remembers_how_it_was_made(tmp_path: Path) -> None:
    cluster.save(Layout(tmp_path, 5, Ports().shifted(100), epmd=True))
    assert Lab(tmp_path).layout == Layout(tmp_path, 5, Ports().shifted(100), epmd=True)
    assert Lab(tmp_path, nodes=7).layout == Layout(tmp_path, 7, Ports().shifted(100), epmd=True)
    cluster.save(Layout(tmp_path, 3, replicants=1, size=64))
    assert Lab(tmp_path).layout == Layout(tmp_path, 3, replicants=1, size=64)


def test_a_lab_of_an_older_version_is_known(tmp_path: Path) -> None:
    ports = {"ssh": 22300, "mqtt": 18930, "dist": 4470}
    Layout(tmp_path).settings.write_text(json.dumps({"nodes": 5, "ports": ports, "epmd": False}))
    assert Lab(tmp_path).layout == Layout(tmp_path, 5, Ports().shifted(100))


@pytest.mark.parametrize(("nodes", "replicants", "hosts"), [(3, 3, 3), (3, -1, 3), (3, 0, 2), (0, 0, 1)])
def test_a_size_that_can_not_be_is_refused(tmp_path: Path, nodes: int, replicants: int, hosts: int) -> None:
    with pytest.raises(LabError) as caught:
        Lab(tmp_path, nodes, replicants=replicants, hosts=hosts)
    assert caught.value.err_type == "bad_size"


def test_a_new_lab_has_three_hosts(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    assert lab.hosts == ["n1", "n2", "n3"]
    assert lab.inventory_path == tmp_path / "inventory.yml"
    assert lab.root("n2") == tmp_path / "hosts" / "n2" / "root"
    assert lab.mqtt_port("n3") == 18833


def test_an_unknown_host_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="no host n4") as caught:
        Lab(tmp_path).root("n4")
    assert caught.value.err_type == "unknown_host"


@pytest.mark.parametrize(
    ("nodes", "ports", "epmd"),
    [(2, Ports(), False), (3, Ports().shifted(100), False), (3, Ports(), True)],
    ids=["smaller", "elsewhere", "epmd"],
)
def test_a_running_lab_keeps_its_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nodes: int, ports: Ports, epmd: bool
) -> None:
    cluster.save(Layout(tmp_path, 3))
    monkeypatch.setattr(sshd, "pid", pretend_running)
    lab = Lab(tmp_path, nodes, ports, epmd)
    with pytest.raises(LabError) as caught:
        lab.up()
    assert caught.value.err_type == "lab_differs"


@pytest.mark.parametrize(
    ("made", "wanted", "may"),
    [
        (Layout(Path(), 3), Layout(Path(), 6, replicants=2), True),
        (Layout(Path(), 3, replicants=1), Layout(Path(), 6, replicants=1), False),
        (Layout(Path(), 3, size=8), Layout(Path(), 3, size=64), True),
        (Layout(Path(), 3, size=8), Layout(Path(), 4, size=64), False),
    ],
    ids=["more nodes", "another role", "more hosts", "other nodes behind them"],
)
def test_a_running_lab_grows_around_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: Layout, wanted: Layout, may: bool
) -> None:
    class GotThere(Exception):
        pass

    def got_there(_claims: object) -> None:
        raise GotThere

    cluster.save(replace(made, state=tmp_path))
    monkeypatch.setattr(sshd, "pid", pretend_running)
    monkeypatch.setattr(cluster, "require_free", got_there)
    lab = Lab(tmp_path, wanted.nodes, replicants=wanted.replicants, hosts=wanted.size)
    with pytest.raises(GotThere if may else LabError):
        lab.up()


def test_a_lab_that_is_down_has_a_status(tmp_path: Path) -> None:
    first = Lab(tmp_path).status()[0]
    assert (first.host, first.node, first.role) == ("n1", "emqx1@127.0.0.1", "core")
    assert (first.sshd_pid, first.node_pid, first.running, first.boots, first.connections) == (None,) * 5


def test_status_says_which_tree_a_node_would_boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "pid", pretend_running)
    monkeypatch.setattr(node, "evaluate", lambda host, expression: '{"5.10.5-lab",12}')
    relup = tmp_path / "hosts" / "n1" / "root" / "relup"
    (relup / "5.10.5-lab").mkdir(parents=True)
    assert Lab(tmp_path).status()[0].boots == "first release"
    (relup / "current").write_text("5.10.5-lab")
    first = Lab(tmp_path).status()[0]
    assert (first.boots, first.running, first.connections) == ("relup/5.10.5-lab", "5.10.5-lab", "12")


def test_taking_down_what_never_was_up_is_harmless(tmp_path: Path) -> None:
    said: list[str] = []
    Lab(tmp_path, say=said.append).down()
    assert said == []


def test_the_demonstration_runs_the_operators_commands() -> None:
    places = (Path("releases/emqx-5.10.5-lab.tar.gz"), Path("inventory/lab.yml"), Path("report.html"))
    assert [" ".join(words) for words in demo.commands(*places)] == [
        "backup --inventory inventory/lab.yml",
        "upgrade --tarball releases/emqx-5.10.5-lab.tar.gz --inventory inventory/lab.yml --yes",
        "verify --target 5.10.5-lab --inventory inventory/lab.yml",
        "report -o report.html",
    ]
    _, upgrade, verify, _ = demo.commands(*places, "5.10.6-lab", Path("hops"))
    assert upgrade[3:] == ["--inventory", "inventory/lab.yml", "--catalogue", "hops", "--yes"]
    assert verify[:3] == ["verify", "--target", "5.10.6-lab"]


@pytest.mark.parametrize(
    ("succeeded", "evidence", "expected"),
    [
        (True, GOOD, "passed: no client noticed anything"),
        (True, replace(GOOD, lost=1), "failed: clients noticed"),
        (False, GOOD, "failed: a command did not succeed"),
    ],
)
def test_the_verdict(succeeded: bool, evidence: Evidence, expected: str) -> None:
    assert demo.verdict(succeeded, evidence) == expected
