"""The controller killed at moments spread over a whole rollout, each time taken up again: all are upgraded, each once.

It is killed as soon as its ledger holds the event that is the moment. On a busy machine that may be too late for a
moment near the end: the run is over then, and nothing must be left to do. Every second rollout goes on from where the
one before has ended, so that nodes have to be put back half as often.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.cluster import Lab
from tests.lab.cluster import BASE, FIRST, SECOND, Ran, all_back, running_lab
from tests.lab.rollout.controller import Controller
from tests.lab.rollout.moments import Moment, Watch, moments, spread
from tests.lab.rollout.state import cluster_lock, marked, successes
from tests.points import Points

POINTS = 20
PHASES = ("prepare", "waves", "cleanup")
HOPS = ((FIRST, SECOND), (BASE, FIRST))
"""In turn, and from where the rollout that tells of the moments ends."""

AN_UPGRADE = ("--yes", "--no-backup", "--gates", "verify,cluster,connections")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Three nodes."""
    with running_lab(tmp_path_factory.mktemp("three"), 3) as made:
        yield made


@pytest.fixture(scope="module")
def controller(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Controller:
    """The tool on the lab's inventory."""
    return Controller(lab.inventory_path, tmp_path_factory.mktemp("state"))


@dataclass
class Tally:
    """What became of the points."""

    killed: int = 0
    resumed: int = 0
    twice: int = 0
    left_out: int = 0

    def __str__(self) -> str:
        return f"{self.killed} kill points, {self.resumed} resumed, {self.twice} twice, {self.left_out} left out"


def test_every_kill_point(lab: Lab, controller: Controller, points: Points) -> None:
    points.named("killed controllers")
    found = moments_of_a_rollout(lab, controller)
    chosen = spread(found, POINTS, points.chance("moments"))
    # A phase may be shorter than the parts that the moments are spread over.
    chosen += [spread(phase, 1, points.chance(name))[0] for name in PHASES if (phase := missing(name, found, chosen))]
    assert {moment.phase for moment in chosen} >= set(PHASES)
    tally, problems = Tally(), list[str]()
    for number, moment in enumerate(points.taken(chosen, kind=kind)):
        source, target = HOPS[number % len(HOPS)]
        if source == BASE:
            all_back(lab)
        kill_at(moment, controller, lab.tarball(target))
        tally.killed += 1
        over = controller.last.end is not None
        ran = controller.run("upgrade", "--resume", "last", "--yes")
        wrong = list(what_is_wrong(lab, controller, ran, target, over))
        counts = [successes(lab, host).count((source, target)) for host in lab.hosts]
        tally.resumed += not wrong
        tally.twice += sum(count > 1 for count in counts)
        tally.left_out += sum(count < 1 for count in counts)
        points.tally.good += not wrong
        problems += [f"{moment}: {each}" for each in wrong]
    tried = points.tally.done
    assert str(tally) == f"{tried} kill points, {tried} resumed, 0 twice, 0 left out", "\n".join(problems)


def kind(moment: Moment) -> str:
    """The phase that a moment lies in; what comes before staging counts with it."""
    return moment.phase if moment.phase in PHASES else PHASES[0]


def missing(phase: str, found: list[Moment], chosen: list[Moment]) -> list[Moment]:
    """The moments of a phase, unless one of them is chosen."""
    if any(moment.phase == phase for moment in chosen):
        return []
    return [moment for moment in found if moment.phase == phase]


def moments_of_a_rollout(lab: Lab, controller: Controller) -> list[Moment]:
    """The moments of one that nothing interrupts."""
    ran = controller.run("upgrade", "--tarball", str(lab.tarball(FIRST)), *AN_UPGRADE)
    assert ran.status == 0, ran.stderr + ran.stdout
    return moments(controller.last.events)


def kill_at(moment: Moment, controller: Controller, tarball: Path) -> None:
    """Begin a rollout and kill its controller at a moment."""
    with controller.started("upgrade", "--tarball", str(tarball), *AN_UPGRADE) as (process, events):
        watch = Watch()
        reached = any(watch.see(event) == moment for event in events)
        process.kill()
        said = process.communicate()
    assert reached, f"{moment} never came: {said}"
    assert process.returncode == -9 or controller.last.end is not None, f"{process.returncode}: {said}"


def what_is_wrong(lab: Lab, controller: Controller, ran: Ran, target: str, over: bool) -> Iterator[str]:
    """All that is not as it should be after the run was taken up again, or was ``over`` before its controller died."""
    record = controller.last
    if over and "nothing to do" not in ran.stdout:
        yield "the run was over, and it is not said"
    if ran.status != 0:
        yield f"exit status {ran.status}: {ran.stderr}{ran.stdout}"
    if record.end is None or record.end["outcome"] != "done":
        yield f"its last event is {record.end}"
    if set(marked(lab).values()) != {target}:
        yield f"the markers are {marked(lab)}"
    held = {host: lock for host in lab.hosts if (lock := cluster_lock(lab, host))}
    if held:
        yield f"the cluster is still locked: {held}"
    sittings = [event["status"] for event in record.events if event["event"] == "run"]
    if sittings != (["begin"] if over else ["begin", "resume"]):
        yield f"it is not one run that was taken up once: {sittings}"
    lines = (record.path / "events.jsonl").read_bytes().splitlines()
    if len(lines) - len(record.events) > 1:
        yield "more than the line that the killed controller wrote is lost"
    rows = {path.stem: json.loads(path.read_text()) for path in (record.path / "hosts").iterdir()}
    if rows != record.rows:
        yield f"the rows of the hosts are not those of the events: {rows}"
