"""How a run stands, worked out from its events; no terminal is needed for it."""

from relup_remote.summary.state import HostState, State
from tests.unit.feeds import Story

HOSTS = ["n1", "n2", "n3"]


def told() -> tuple[State, Story]:
    state = State()
    return state, Story(state.take)


def test_hosts_wait_from_the_first_phase_on() -> None:
    state, story = told()
    story.tell("run", status="begin", run="r1", command="upgrade", operator="alice@desk", target="1.1")
    story.tell("phase", phase="survey", hosts=HOSTS)
    assert (state.command, state.target, state.phase) == ("upgrade", "1.1", "survey")
    assert list(state.hosts) == HOSTS
    assert state.hosts["n1"] == HostState("n1", is_waiting=True)


def test_a_host_is_in_hand_from_start_to_end() -> None:
    state, story = told()
    story.begin(HOSTS)
    story.tell("wave", wave=1, waves=2, status="start", hosts=["n2"])
    story.tell("host", host="n2", phase="apply", status="start")
    n2 = state.hosts["n2"]
    assert (n2.is_in_hand, n2.phase, n2.wave, n2.node) == (True, "apply", 1, "emqx_n2@127.0.0.1")
    story.later(2500)
    assert n2.seconds(story.at) == 2.5
    story.tell("host", host="n2", phase="apply", status="end", row={"outcome": "upgraded", "node": None})
    story.later(9000)
    assert (n2.is_in_hand, n2.outcome, n2.node, n2.has_failed) == (False, "upgraded", "emqx_n2@127.0.0.1", False)
    assert n2.seconds(story.at) == 2.5
    assert (state.wave, state.waves, state.in_wave) == (1, 2, ["n2"])
    assert (state.members, state.ended) == (HOSTS, 1)


def test_a_step_lasts_until_the_next_and_tells_how_far_it_is() -> None:
    state, story = told()
    story.tell("hello", host="n1", pid=1)
    story.tell("step", host="n1", step="stage", status="start")
    n1 = state.hosts["n1"]
    assert (n1.is_in_hand, n1.step, n1.work) == (True, "stage", None)
    for done in (0, 10, 20):
        story.tell("progress", host="n1", step="stage", done=done, total=100, unit="bytes")
        story.later(500)
    assert n1.work is not None
    assert (n1.work.done, n1.work.total, n1.work.unit, n1.work.rate) == (20, 100, "bytes", 20.0)
    story.tell("step", host="n1", step="stage", status="ok", seconds=1.5, detail={})
    assert state.hosts["n1"] == HostState("n1", is_in_hand=True, began=1_000_000)


def test_a_rate_is_that_of_the_last_seconds() -> None:
    state, story = told()
    for done in (0, 1000, 2000, 2001, 2002, 2003, 2004, 2005, 2006):
        story.later(1000).tell("progress", host="n1", step="stage", done=done, total=5000, unit="bytes")
    work = state.hosts["n1"].work
    assert work is not None
    assert work.rate == 1.0


def test_there_is_no_rate_yet_at_the_first_sight() -> None:
    state, story = told()
    story.tell("progress", host="n1", step="apply", done=3, total=12, unit="instructions", text="3 {load_module,m}: x")
    work = state.hosts["n1"].work
    assert work is not None
    assert (work.rate, work.text) == (None, "3 {load_module,m}: x")


def test_a_gate_is_waited_for_until_it_opens() -> None:
    state, story = told()
    story.tell("gate", wave=1, gate="connections", status="start")
    since = story.at
    story.later(3000).tell("gate", wave=1, gate="connections", status="wait", seconds=3, message="n1 has 80 of 100")
    assert state.gate is not None
    assert (state.gate.name, state.gate.since, state.gate.message) == ("connections", since, "n1 has 80 of 100")
    story.tell("gate", wave=1, gate="connections", status="open", seconds=4)
    assert vars(state)["gate"] is None
    story.tell("gate", wave=1, gate="soak", status="start")
    story.tell("gate", wave=1, gate="soak", status="closed", seconds=4, message="interrupted")
    assert vars(state)["gate"].message == "interrupted"


def test_a_cleanup_says_less_than_the_upgrade_before_it_unless_it_fails() -> None:
    state, story = told()
    story.host("n1", "apply", "upgraded")
    story.host("n1", "cleanup", "cleaned")
    assert state.hosts["n1"].outcome == "upgraded"
    story.host("n1", "cleanup", "failed")
    assert (state.hosts["n1"].outcome, state.hosts["n1"].has_failed) == ("failed", True)
    story.host("n2", "cleanup", "cleaned")
    assert state.hosts["n2"].outcome == "cleaned"


def test_interruptions_are_counted_and_what_is_not_known_changes_nothing() -> None:
    state, story = told()
    story.tell("interrupt", count=1)
    before = vars(state).copy()
    story.tell("connections", host="n9", count=3)
    story.tell("something new", host="n9")
    story.tell("note", message="of no host")
    assert (vars(state), state.interrupts, state.hosts) == (before, 1, {})
