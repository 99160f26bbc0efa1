"""What a sweep looks for, it sees: nothing is let pass that is not right."""

from dataclasses import replace
from pathlib import Path

import pytest

from relup_remote.core.journal import Journal
from tests.lab.cluster import BASE, FIRST
from tests.lab.sweep import disk
from tests.lab.sweep.judge import Lost, Mixed, announced, begun, fates, remembered, runs_wholly, whole_on_disk
from tests.lab.sweep.machine import Machine, Ran
from tests.lab.sweep.scenarios import SCENARIOS, Releases, Scene
from tests.lab.sweep.trace import Event

UPGRADE = SCENARIOS[0]
INSERTED = [Event("begin", 0, "sql INSERT INTO attempts", 0.1), Event("begin", 1, "sql COMMIT", 0.2)]
KILLED = Ran("first", None, [], [*INSERTED, Event("stage", 0, "open", 0.3)])
LAST = Ran("second", {"outcome": "upgraded"}, [], [])


@pytest.fixture
def scene(machines: list[Machine], releases: Releases) -> Scene:
    """A machine as it was first."""
    found = Scene(machines[0], releases)
    found.base()
    return found


def test_part_of_a_tree_is_seen(scene: Scene) -> None:
    machine, releases = scene.machine, scene.releases
    planted = scene.plant(FIRST, FIRST)
    with pytest.raises(Mixed, match=r"is not whole: \d+ files missing"):
        whole_on_disk(machine, releases, {})
    whole_on_disk(machine, releases, {FIRST: planted})
    (machine.root / "relup" / "current").write_text(FIRST)
    with pytest.raises(Mixed, match="is not whole"):
        whole_on_disk(machine, releases, {FIRST: planted})
    (machine.root / "relup" / FIRST).rename(machine.root / "relup" / f"{disk.TEMPORARY}x")
    with pytest.raises(Mixed, match="marker"):
        whole_on_disk(machine, releases, {})
    assert disk.leftovers(machine.root) == [f"relup/{disk.TEMPORARY}x"]


def test_one_module_of_another_release_is_seen(scene: Scene) -> None:
    runs_wholly(scene, BASE)
    with pytest.raises(Mixed, match=f"the boot is of {FIRST}"):
        runs_wholly(scene, FIRST)
    (beam,) = scene.releases.unpacked[FIRST].glob("lib/emqx-*/ebin/emqx_stats.beam")
    scene.machine.evaluate("code:load_abs(Path).", Path=str(beam.with_suffix("")))
    with pytest.raises(Mixed, match=r"1 are not .*: emqx_stats"):
        runs_wholly(scene, BASE)


def test_history_that_is_not_right_is_seen(machines: list[Machine], tmp_path: Path) -> None:
    machine = Machine(machines[0].lab, tmp_path)
    machine.ours = tmp_path
    journal = Journal(str(tmp_path))
    with pytest.raises(Lost, match="not in the history"):
        remembered(machine, 0, [(KILLED, ("interrupted",))], LAST)
    rows = [journal.begin(run, "sweep", BASE, FIRST, {}) for run in ("first", "second")]
    journal.finish(rows[1], "success")
    with pytest.raises(Lost, match="unfinished"):
        remembered(machine, 0, [(KILLED, ("interrupted",))], LAST)
    journal.finish(rows[0], "success")
    with pytest.raises(Lost, match="says success, not interrupted"):
        remembered(machine, 0, [(KILLED, ("interrupted",))], LAST)
    remembered(machine, 0, [(KILLED, ("success",))], LAST)
    journal.finish(journal.begin("first", "sweep", BASE, FIRST, {}), "success")
    with pytest.raises(Lost, match="has rows of"):
        remembered(machine, 0, [(KILLED, ("success",))], LAST)


def test_how_far_a_killed_command_got_tells_how_its_row_may_end() -> None:
    assert begun(KILLED)
    assert not begun(replace(KILLED, events=INSERTED))
    assert fates(KILLED, UPGRADE, BASE) == ("interrupted",)
    assert fates(KILLED, UPGRADE, FIRST) == ("success",)
    in_apply = replace(KILLED, events=[*KILLED.events, Event("apply", 0, "says step apply start", 0.4)])
    assert "hop_lost" in fates(in_apply, UPGRADE, BASE)
    told = replace(in_apply, said=[{"event": "progress", "step": "apply"}])
    assert fates(told, UPGRADE, BASE) == ("hop_lost",)
    past = replace(in_apply, events=[*in_apply.events, Event("apply", 1, "says step apply ok", 0.5)])
    with pytest.raises(Lost, match="past its change"):
        fates(past, UPGRADE, BASE)


def test_silence_about_an_unfinished_attempt_is_seen() -> None:
    with pytest.raises(Lost, match="first"):
        announced(["first"], LAST)
    announced(["first"], replace(LAST, said=[{"event": "note", "message": "… (run first) was left unfinished …"}]))
