"""Each gate closes for a real reason, and the run goes on once the reason is gone: in this order, one run of six nodes.

The hop waits on a node until the test has done its mischief, so that it always comes after what is looked at before
the gate, and before the gate.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.clients import Traffic
from lab.cluster import Lab
from tests.lab.cluster import BASE, FIRST, Ran, ended, ours
from tests.lab.rollout.controller import Controller, applied, gates, is_event
from tests.lab.rollout.held import HeldHops
from tests.lab.rollout.state import cluster_lock, marked, results, successes

WAVES = [["n5", "n6"], ["n1"], ["n2"], ["n3"], ["n4"]]
LAST_WAVE = str(len(WAVES))


@pytest.fixture(scope="module")
def go(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The operator's command opens its gate after the last wave where this file is."""
    return tmp_path_factory.mktemp("command") / "go"


def upgraded(*waves: int) -> list[str]:
    """The hosts of some waves, by number."""
    return [host for number in waves for host in WAVES[number - 1]]


class Rollout:
    """The one run of this module, taken up again and again."""

    def __init__(self, lab: Lab, controller: Controller, held: HeldHops, tarball: Path) -> None:
        self.lab = lab
        self.controller = controller
        self.held = held
        self._given = ("--tarball", str(tarball), "--catalogue", str(held.catalogue), "--yes", "--no-backup")

    def begin(self, *options: str) -> None:
        """Begin it, and leave it running."""
        self.process = self.controller.start("upgrade", *self._given, *options)

    def resume(self) -> None:
        """Take it up again, and leave it running."""
        self.begin("--resume", "last")

    def await_event(self, kind: str, **facts: object) -> None:
        """Wait until the run has told of something that it has not told before."""
        seen = len(self.controller.last.events) if self.controller.runs else 0
        self.controller.await_event(self.process, f"{kind} {facts}", is_event(kind, **facts), since=seen)

    @contextmanager
    def meanwhile(self, host: str) -> Iterator[None]:
        """What is done in the block happens while the hop is under way on a host."""
        node = self.lab.host(host).node
        self.held.await_reached(node, self.process)
        yield
        self.held.release(node)

    def closed(self, gate: str, wave: int, why: str) -> Ran:
        """The end of the command, which a gate has stopped, and says ``why``; what holds of each such end."""
        ran = ended(self.process)
        assert ran.status == 1, ran.stderr + ran.stdout
        record = self.controller.last
        assert len(self.controller.runs) == 1
        assert gates(record, "closed")[-1] == (wave, gate)
        assert record.end is not None
        assert (record.end["outcome"], record.end["err_type"]) == ("stopped", "gate_closed")
        assert record.end["next"] == f"inv upgrade --resume {record.run}"
        assert why in record.end["reason"]
        # What is shown has the name of the program that runs.
        shown = {**record.end, "next": record.end["next"].replace("inv ", "relup ", 1)}
        assert ran.document.get("rollout") == {key: shown[key] for key in shown if key not in ("event", "at")}, ran
        through = upgraded(*range(1, wave + 1))
        assert marked(self.lab) == {host: FIRST if host in through else None for host in self.lab.hosts}
        for host in through:
            assert successes(self.lab, host) == [(BASE, FIRST)], host
        for host in self.lab.hosts:
            assert cluster_lock(self.lab, host) is None
        return ran

    def done(self) -> Ran:
        """The end of the command, with which the run is complete."""
        ran = ended(self.process)
        assert ran.status == 0, ran.stderr + ran.stdout
        return ran


@pytest.fixture(scope="module")
def rollout(lab: Lab, controller: Controller, held: HeldHops, tarball: Path) -> Rollout:
    """The run, with the hop held on the last host of each wave in which something is to go wrong."""
    for host in ("n6", "n1", "n2", "n3"):
        held.hold(lab.host(host).node)
    return Rollout(lab, controller, held, tarball)


def test_verify(rollout: Rollout, lab: Lab, go: Path) -> None:
    command = (
        f"echo $RELUP_WAVE of $RELUP_WAVES: $RELUP_HOSTS; test $RELUP_WAVE != {LAST_WAVE} || test -e {go} || exit 3"
    )
    rollout.begin("--waves", "2,1", "--gate-timeout", "4s", "--soak", "3s", "--gate-command", command)
    with rollout.meanwhile("n6"):
        assert lab.eval("n5", "sys:suspend(emqx_metrics)") == "ok"
    rollout.closed("verify", wave=1, why="n5: suspended: 1 process is suspended")
    lab.eval("n5", "sys:resume(emqx_metrics)")


def test_connections(rollout: Rollout, lab: Lab) -> None:
    with Traffic({"n1": lab.mqtt_port("n1")}, clients=5) as traffic:
        rollout.resume()
        with rollout.meanwhile("n1"):
            traffic.stop()
        rollout.closed("connections", wave=2, why="n1: 0 of 5 connections are left, 90 % are required")
    assert gates(rollout.controller.last, "open").count((1, "soak")) == 1


def test_cluster(rollout: Rollout, lab: Lab) -> None:
    with Traffic({"n1": lab.mqtt_port("n1")}, clients=5):
        rollout.resume()
        with rollout.meanwhile("n2"):
            lab.kill_node("n4")
        rollout.closed("cluster", wave=3, why="n2: does not see emqx4@127.0.0.1")
    # Its wave is through, and is not looked at again.
    assert gates(rollout.controller.last, "open").count((2, "connections")) == 1
    lab.up()


def test_postcheck(rollout: Rollout, lab: Lab) -> None:
    left = ours(lab, "n3") / "staging" / "emqx-5.10.7-lab.tar.gz.part"
    rollout.resume()
    with rollout.meanwhile("n3"):
        left.touch()
    rollout.closed("postcheck", wave=4, why=left.name)
    left.unlink()


def test_soak(rollout: Rollout, lab: Lab) -> None:
    rollout.resume()
    rollout.await_event("gate", gate="soak", wave=4, status="start")
    lab.kill_node("n6")
    rollout.closed("soak", wave=4, why="n3: does not see emqx6@127.0.0.1")
    lab.up()
    assert lab.eval("n6", "emqx_release:version()") == f'"{FIRST}"'


def test_command(rollout: Rollout, go: Path) -> None:
    rollout.resume()
    rollout.closed("command", wave=5, why="exit status 3: 5 of 5: n4")
    go.touch()


def test_every_host_is_upgraded_once(rollout: Rollout, lab: Lab) -> None:
    rollout.resume()
    rollout.done()
    (record,) = rollout.controller.runs
    assert [event["status"] for event in record.events if event["event"] == "run"] == ["begin", *["resume"] * 6]
    assert record.end is not None
    assert record.end["outcome"] == "done"
    assert applied(record) == upgraded(1, 2, 3, 4, 5)
    for host in lab.hosts:
        assert (results(lab, host), successes(lab, host)) == (["success"], [(BASE, FIRST)])
        assert cluster_lock(lab, host) is None
        assert not list((ours(lab, host) / "staging").iterdir())
    assert rollout.controller.run("verify", "--target", FIRST).status == 0


def test_nothing_is_left_to_resume(rollout: Rollout, lab: Lab) -> None:
    rollout.resume()
    ran = ended(rollout.process)
    assert (ran.status, ran.document["rollout"]["outcome"]) == (0, "nothing to do")
    assert [results(lab, host) for host in lab.hosts] == [["success"]] * len(lab.hosts)
