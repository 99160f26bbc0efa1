"""What has to hold after the power was lost, and after the command was given again."""

from collections.abc import Collection, Mapping

from tests.lab.cluster import BASE
from tests.lab.sweep import disk
from tests.lab.sweep.disk import Manifest
from tests.lab.sweep.machine import Machine, Ran
from tests.lab.sweep.moments import Moment
from tests.lab.sweep.scenarios import Releases, Scenario, Scene, boots

FEWEST_MODULES = 100
"""A node that has fewer modules of its release loaded has not booted it whole."""


class Mixed(AssertionError):
    """The disk holds, or the node runs, what is neither of the two releases as a whole."""


class Lost(AssertionError):
    """The node does not come back, the command can't be finished, or something about it is forgotten or left behind."""


def survive(scene: Scene, scenario: Scenario, moments: Collection[Moment]) -> None:
    """Lose power at each moment in turn, as long as there is something to interrupt; then finish.

    Raises `Mixed`, `Lost`.
    """
    machine, releases = scene.machine, scene.releases
    allowed = scenario.before(scene)
    earlier = len(disk.attempts(machine.ours))
    booted, killed, open_rows = scenario.old, list[tuple[Ran, str]](), list[str]()
    for moment in moments:
        if booted == scenario.old:
            with machine.spending("killed command"):
                ran = machine.run_traced(*scenario.kill(scene), moment)
            with machine.spending("looking"):
                whole_on_disk(machine, releases, allowed)
                open_rows = disk.unfinished(machine.ours)
            booted = boot(scene, scenario)
            killed.append((ran, booted))
    with machine.spending("command again"):
        last = scenario.finish(scene)
    if last.result is None or not scenario.allows(booted, last.result):
        raise Lost(f"booted {booted}, and then {scenario.again} came to {last.result}")
    with machine.spending("looking"):
        finished(scene, scenario, last)
        remembered(machine, earlier, [(ran, fates(ran, scenario, booted)) for ran, booted in killed], last)
        announced(open_rows, last)


def whole_on_disk(machine: Machine, releases: Releases, allowed: Mapping[str, Manifest]) -> None:
    """Every tree under a release's name is whole, or was not before; the marker is absent, or names a whole one."""
    marked = disk.marker(machine.root)
    trees = {name: path for name, path in disk.trees(machine.root).items() if not name.startswith(disk.TEMPORARY)}
    for name, path in trees.items():
        found = disk.manifest(path)
        off = disk.difference(found, releases.manifests.get(name, {}))
        if off and (name == marked or found != allowed.get(name)):
            raise Mixed(f"the tree {name} is not whole: {off}")
    if marked is not None and marked not in trees:
        raise Mixed(f"the marker names {marked!r}, which is not there")


def boot(scene: Scene, scenario: Scenario) -> str:
    """Power on; the release that the node then runs, which is the whole of one of the two.

    Raises `LabError` where it does not come up, and `Mixed`.
    """
    promised = boots(scene.machine)
    if promised not in (scenario.old, scenario.new):
        raise Mixed(f"the next boot is of {promised}")
    scene.machine.boot()
    with scene.machine.spending("looking"):
        runs_wholly(scene, promised)
    return promised


def runs_wholly(scene: Scene, version: str) -> None:
    """The node runs a release from its own tree, and every module of it is the release's, from that tree."""
    machine, beams = scene.machine, scene.releases.beams[version]
    code = machine.code()
    root = machine.root if version == BASE else machine.root / "relup" / version
    if (code.root, code.version) != (str(root), version):
        raise Mixed(f"the boot is of {version}, but {code.version} runs, from {code.root}")
    loaded = {name: found for name, found in code.modules.items() if found[1] != "preloaded"}
    strange = [
        name for name, (md5, path) in loaded.items() if md5 != beams.get(name) or not path.startswith(f"{root}/lib/")
    ]
    if strange or len(loaded) < FEWEST_MODULES:
        raise Mixed(f"of {len(loaded)} modules {len(strange)} are not {version}'s: {', '.join(sorted(strange)[:5])}")


def finished(scene: Scene, scenario: Scenario, last: Ran) -> None:
    """The command is done for good: running, marked, booted next; nothing temporary is left."""
    machine, target = scene.machine, scenario.target if scenario.again == "upgrade" else scenario.new
    running = machine.code().version
    marked, promised = disk.marker(machine.root), boots(machine)
    if (running, marked or BASE, promised) != (target, target, target):
        raise Lost(f"running {running}, marked {marked}, to boot {promised}: not all {target}")
    try:
        whole_on_disk(machine, scene.releases, {})
    except Mixed as mixed:
        raise Lost(f"after {scenario.again}: {mixed}") from mixed
    if scenario.again != "upgrade" or last.result["outcome"] == "refused":  # type: ignore[index]
        verified = scene.command("verify", target).result
        if verified is None or verified["outcome"] != "verified":
            raise Lost(f"not verified after {scenario.again}: {verified and verified['error']}")
    left = disk.leftovers(machine.root)
    if left:
        raise Lost(f"left behind: {', '.join(left)}")


def fates(ran: Ran, scenario: Scenario, booted: str) -> Collection[str]:
    """How the row of a killed command may end, by how far it got and what was booted then; none where it has no row."""
    if scenario.command not in ("upgrade", "rollback"):
        return ()
    if booted == scenario.new:
        return ("success",)
    labels = {event.label for event in ran.events}
    if labels & {"says step apply ok", "says step rollback ok"}:
        raise Lost(f"{scenario.command} was past its change, and {booted} was booted")
    if any(event["event"] == "progress" and event["step"] == "apply" for event in ran.said):
        return ("hop_lost",)
    return ("interrupted", "hop_lost") if "says step apply start" in labels else ("interrupted",)


def remembered(machine: Machine, earlier: int, killed: Collection[tuple[Ran, Collection[str]]], last: Ran) -> None:
    """One row for every attempt that began, finished, with the right result."""
    rows = disk.attempts(machine.ours)[earlier:]
    names = [row["run"] for row in rows]
    if sorted(set(names)) != sorted(names) or not set(names) <= {ran.run for ran, _ in killed} | {last.run}:
        raise Lost(f"the history has rows of {names}")
    for row in rows:
        if row["status"] != "finished" or row["finished_at"] < row["started_at"]:
            raise Lost(f"a row was left unfinished: {row}")
    results = {row["run"]: row["result"] for row in rows}
    for ran, allowed in killed:
        if begun(ran) and allowed and ran.run not in results:
            raise Lost("an attempt that began is not in the history")
        if ran.run in results and results[ran.run] not in allowed:
            raise Lost(f"the history says {results[ran.run]}, not {' or '.join(allowed)}")


def announced(runs: Collection[str], last: Ran) -> None:
    """Whoever finished the rows of other runs has named them to the operator."""
    told = " ".join(last.notes)
    if any(run not in told for run in runs):
        raise Lost(f"the rows of {' and '.join(runs)} were unfinished, but all that was said is {told!r}")


def begun(ran: Ran) -> bool:
    """Whether the row of a run is certainly on disk: its insertion is committed, and something came after that."""
    labels = [event.label for event in ran.events]
    inserted = next((n for n, label in enumerate(labels) if label.startswith("sql INSERT INTO attempts")), len(labels))
    return any(label.startswith("sql COMMIT") for label in labels[inserted:-1])
