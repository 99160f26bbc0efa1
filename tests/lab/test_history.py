"""The history of attempts: in the host's journal, in the plugin's table in the VM, and after cores that were killed."""

import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lab.cluster import Lab
from lab.errors import LabError
from tests.lab.cluster import (
    BASE,
    FIRST,
    NOTHING,
    Ran,
    Tool,
    code_of,
    disk_of,
    ended,
    foreign,
    gated,
    lock,
    ours,
    put_back,
    running_lab,
    until,
)
from tests.lab.core import Core

CREATE = (
    "mnesia:create_table(emqx_relup_log, [{type, ordered_set}, {disc_copies, [node()]}, {local_content, true},"
    " {record_name, emqx_relup_log}, {attributes, [started_at, finished_at, from_vsn, target_vsn, upgrade_opts,"
    " status, result, extra]}])"
)
ROWS = (
    'iolist_to_binary(lists:join($;, [io_lib:format("~s ~s ~w ~0p ~s ~w ~w", [F, T, S,'
    " case R of #{err_type := E} -> E; _ -> R end, maps:get(tarball, O), maps:get(force, O),"
    ' case X of #{run := _, operator := _, source := <<"relup_remote">>} -> ours; _ -> other end])'
    " || {emqx_relup_log, A, B, F, T, O, S, R, X} <- ets:tab2list(emqx_relup_log),"
    " is_integer(A), B =:= undefined orelse B >= A]))"
)
"""Of each row of the table, oldest first: versions, status, result, tarball, force, and whose it is."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Two nodes; the first has the plugin's table, the second knows of it and has no copy."""
    with running_lab(tmp_path_factory.mktemp("history"), 2) as made:
        assert made.eval("n1", CREATE) == "{atomic,ok}"
        yield made


@pytest.fixture(scope="module")
def relup(lab: Lab) -> Tool:
    return Tool(lab.inventory_path)


@pytest.fixture(scope="module")
def tarball(lab: Lab) -> Path:
    """The target."""
    return lab.tarball(FIRST)


@pytest.fixture
def node(lab: Lab) -> Iterator[str]:
    """The host with the table; a test may do anything to it."""
    yield "n1"
    put_back(lab, "n1")
    assert lab.eval("n1", "mnesia:clear_table(emqx_relup_log)") == "{atomic,ok}"


def in_vm(lab: Lab, host: str) -> list[str]:
    """The rows of the table in a VM, as `ROWS` has them."""
    return [row for row in lab.eval(host, ROWS).strip('<">').split(";") if row]


def plugins_own(lab: Lab, host: str, started_at: int, status: str = "finished") -> None:
    """Write a row as the plugin would."""
    result, ended_at = ("success", str(started_at + 9000)) if status == "finished" else ("undefined", "undefined")
    row = (
        f'{{emqx_relup_log, {started_at}, {ended_at}, <<"5.10.3">>, <<"5.10.4">>,'
        f" #{{tarball => <<\"/tmp/emqx.tar.gz\">>, force => true}}, '{status}', {result}, #{{}}}}"
    )
    assert lab.eval(host, f"mnesia:dirty_write({row})") == "ok"


def told(ran: Ran, host: str = "n1") -> list[tuple[str, str | None]]:
    """Source and result of each row of a host's history."""
    return [(row["source"], row["result"]) for row in ran.row(host)["facts"]["history"]]


def killed_in_hop(lab: Lab, relup: Tool, tarball: Path, folder: Path, host: str = "n1") -> Path:
    """Start an upgrade and kill its core while the hop waits at its first instruction. Returns what opens the gate."""
    gate = folder / "gate"
    options = (
        "--host",
        host,
        "--tarball",
        str(tarball),
        "--catalogue",
        str(gated(folder / "catalogue", gate)),
        "--yes",
    )
    started = relup.start("upgrade", *options)
    until("the hop is under way", Path(f"{gate}.reached").exists)
    os.kill(until("the lock names its owner", lambda: lock(lab, host))["pid"], signal.SIGKILL)
    assert ended(started).status == 1
    give_back(relup, host)
    return gate


def give_back(relup: Tool, host: str) -> None:
    """Take the lock of the cluster off, which a run leaves where its core was killed. Its hop may still run."""
    ran = relup.run("unlock", "--force", "--host", host)
    assert (ran.status, ran.row()["outcome"]) == (0, "unlocked")


def test_an_attempt_is_in_both_and_shown_once(lab: Lab, relup: Tool, tarball: Path, node: str) -> None:
    now = int(time.time() * 1000)
    plugins_own(lab, node, now - 60_000)
    # Even a row of the plugin's that was left for ever: it is shown as it is.
    plugins_own(lab, node, now - 50_000, "in-progress")
    ran = relup.run("upgrade", "--tarball", str(tarball), "--yes", "--host", node)
    assert ran.status == 0, ran.stdout
    plugins_own(lab, node, int(time.time() * 1000) + 60_000)
    plugins = "5.10.3 5.10.4 finished success /tmp/emqx.tar.gz true other"
    mine = f"{BASE} {FIRST} finished success {tarball.name} false ours"
    stuck = "5.10.3 5.10.4 'in-progress' undefined /tmp/emqx.tar.gz true other"
    assert in_vm(lab, node) == [plugins, stuck, mine, plugins]
    logs = relup.run("logs")
    assert logs.status == 0
    assert told(logs) == [("plugin", "success"), ("plugin", None), ("journal", "success"), ("plugin", "success")]
    assert told(logs, "n2") == []
    assert logs.row(node)["facts"]["clearable"] == {"journal": 1, "plugin": 3}
    assert logs.row(node)["warnings"] == logs.row("n2")["warnings"] == []
    newest = relup.run("logs", "--limit", "2").row(node)["facts"]["history"]
    assert [row["source"] for row in newest] == ["journal", "plugin"]
    lines = relup.run("logs", json=False).stdout.splitlines()[2:]
    assert [line.split()[-1] for line in lines] == ["plugin", "plugin", "journal", "plugin"]
    assert "in-progress" in lines[1]


def test_a_refused_attempt_has_a_row_in_both(lab: Lab, relup: Tool, tarball: Path, node: str) -> None:
    patches = lab.root(node) / "data" / "patches"
    patches.mkdir(exist_ok=True)
    (patches / "emqx.beam").touch()
    ran = relup.run("upgrade", "--tarball", str(tarball), "--yes", "--host", node)
    assert (ran.status, ran.error()["err_type"]) == (3, "patches_dir_not_empty")
    # Who only looked before he began has tried nothing.
    assert (in_vm(lab, node), told(relup.run("logs", "--host", node))) == ([], [])
    assert Core(relup, node).upgrade(tarball)["error"]["err_type"] == "patches_dir_not_empty"
    assert in_vm(lab, node) == [f"{BASE} {FIRST} finished patches_dir_not_empty {tarball.name} false ours"]
    assert told(relup.run("logs", "--host", node)) == [("journal", "patches_dir_not_empty")]
    forced = relup.run("upgrade", "--tarball", str(tarball), "--yes", "--force", "--host", node)
    assert forced.status == 0, forced.stdout
    assert in_vm(lab, node)[1:] == [f"{BASE} {FIRST} finished success {tarball.name} true ours"]


def test_a_rollback_is_an_attempt(lab: Lab, relup: Tool, tarball: Path, node: str) -> None:
    assert relup.run("upgrade", "--tarball", str(tarball), "--yes", "--host", node).status == 0
    rolled_back = relup.run("rollback", "--host", node, "--yes")
    assert rolled_back.status == 0, rolled_back.stdout
    assert in_vm(lab, node)[1:] == [f"{FIRST} {BASE} finished success  false ours"]
    again = relup.run("rollback", "--host", node, "--yes")
    assert again.nothing_to_do() == "nothing_to_roll_back"
    assert told(relup.run("logs", "--host", node)) == [("journal", "success"), ("journal", "success")]
    assert len(in_vm(lab, node)) == 2
    # The rows of before the restart say nothing about the VM that runs.
    assert relup.run("status", "--host", node).row()["facts"]["state"] == "idle"


def test_logs_with_the_node_down(lab: Lab, relup: Tool, tarball: Path, node: str) -> None:
    plugins_own(lab, node, 5)
    assert relup.run("upgrade", "--tarball", str(tarball), "--yes", "--host", node).status == 0
    lab.kill_node(node)
    logs = relup.run("logs", "--host", node)
    assert logs.status == 0
    assert told(logs) == [("journal", "success")]
    assert logs.row()["facts"]["clearable"] == {"journal": 1, "plugin": None}
    text = relup.run("logs", "--host", node, json=False).stdout
    assert "emqx_relup_log could not be read. No node runs from" in " ".join(text.split())
    lab.start_node(node)
    # What was written there has outlived a VM that was killed.
    until("the table is loaded", lambda: len(in_vm(lab, node)) == 2)
    assert told(relup.run("logs", "--host", node)) == [("plugin", "success"), ("journal", "success")]


def test_both_are_cleared_once_it_is_confirmed(lab: Lab, relup: Tool, tarball: Path, node: str) -> None:
    plugins_own(lab, node, 5)
    plugins_own(lab, node, 6, "in-progress")
    assert relup.run("upgrade", "--tarball", str(tarball), "--yes", "--host", node).status == 0
    before = in_vm(lab, node)
    asked = relup.run("logs-clear", json=False)
    assert asked.status == 2
    assert f"  {node}: attempts in the host's journal: 1; in the node's emqx_relup_log: 2" in asked.stderr
    assert "  n2: attempts in the host's journal: 0; in the node's emqx_relup_log: 0" in asked.stderr
    assert in_vm(lab, node) == before
    cleared = relup.run("logs-clear", "--yes")
    assert [row["outcome"] for row in cleared.document["hosts"]] == ["cleaned", "unchanged"]
    assert cleared.row(node)["facts"]["removed"] == {"journal": 1, "plugin": 2}
    assert in_vm(lab, node) == ["5.10.3 5.10.4 'in-progress' undefined /tmp/emqx.tar.gz true other"]
    assert told(relup.run("logs", "--host", node)) == [("plugin", None)]
    # What the plugin's own command clears is not written again.
    lab.eval(node, "mnesia:clear_table(emqx_relup_log)")
    assert relup.run("status", "--host", node).status == 0
    assert in_vm(lab, node) == []


def test_a_killed_core_is_found_and_its_rows_are_finished(
    lab: Lab, relup: Tool, tarball: Path, tmp_path: Path, node: str
) -> None:
    gate = killed_in_hop(lab, relup, tarball, tmp_path)
    begun = f"{BASE} {FIRST} 'in-progress' undefined {tarball.name} false ours"
    # While the hop goes on its row stays open, whoever looks.
    under_way = relup.run("status", "--host", node).row()["facts"]
    assert under_way["state"] == "in-progress"
    assert under_way["history"][-1]["status"] == "in-progress"
    assert "recovered" not in under_way
    assert in_vm(lab, node) == [begun]
    assert relup.run("logs-clear", "--yes", "--host", node).row()["outcome"] == "unchanged"
    gate.touch()
    until("the VM has written the marker", (lab.root(node) / "relup" / "current").exists)
    until("the agent has left the VM", lambda: foreign(lab, node) == NOTHING, timeout=90)
    status = relup.run("status", "--host", node, json=False)
    sentence = "was left unfinished; the history now says success."
    assert sentence in " ".join(status.stdout.split())
    assert sentence in status.stderr
    assert in_vm(lab, node) == [f"{BASE} {FIRST} finished success {tarball.name} false ours"]
    assert told(relup.run("logs", "--host", node)) == [("journal", "success")]
    assert "recovered" not in relup.run("verify", "--host", node, "--target", FIRST).row()["facts"]


@pytest.mark.parametrize("command", ["status", "verify", "plan", "upgrade"])
def test_whoever_comes_next_says_what_became_of_it(
    lab: Lab, relup: Tool, tarball: Path, tmp_path: Path, node: str, command: str
) -> None:
    """With --json too, and although the VM was killed in the hop."""
    killed_in_hop(lab, relup, tarball, tmp_path)
    lab.kill_node(node)
    lab.start_node(node)
    options = {"plan": ("--tarball", str(tarball)), "upgrade": ("--tarball", str(tarball), "--yes")}
    ran = relup.run(command, "--host", node, "--quiet", *options.get(command, ()))
    assert ran.status == 0, ran.stdout
    (recovered,) = ran.row()["facts"]["recovered"]
    assert (recovered["result"], recovered["from_vsn"], recovered["target_vsn"]) == ("hop_lost", BASE, FIRST)
    assert recovered["details"] == f"The VM has started since; it runs from {lab.root(node)}."
    results = [row.split()[3] for row in in_vm(lab, node)]
    assert results == (["hop_lost", "success"] if command == "upgrade" else ["hop_lost"])
    assert told(relup.run("logs", "--host", node)) == [("journal", result) for result in results]


def failing(catalogue: Path) -> None:
    """Let the gated hop of a catalogue fail where it can't be taken back any more."""
    hop = catalogue / f"{BASE}-to-{FIRST}.relup"
    text = hop.read_text()
    hop.write_text(text.replace("{apply, emqx_dashboard, ready, []}", "{apply, erlang, error, [not_today]}"))
    assert hop.read_text() != text


def boot_of(lab: Lab, host: str) -> str | None:
    """What a node that is up has of this boot alone, be it one within the same process; None while it is not up."""
    try:
        return lab.eval(host, "{emqx:is_running(), whereis(application_controller)}")
    except LabError:
        return None


@pytest.mark.parametrize("command", ["status", "upgrade"])
def test_a_vm_that_has_to_restart_although_the_core_is_gone(
    lab: Lab, relup: Tool, tarball: Path, tmp_path: Path, node: str, command: str
) -> None:
    """The row ends with the outcome that the restart comes from, be it seen after the restart or waited for before."""
    gate, catalogue = tmp_path / "gate", gated(tmp_path / "catalogue", tmp_path / "gate")
    failing(catalogue)
    options = ("--host", node, "--tarball", str(tarball), "--yes")
    started = relup.start("upgrade", *options, "--catalogue", str(catalogue), "--on-failure", "restart")
    until("the hop is under way", Path(f"{gate}.reached").exists)
    dead = until("the lock names its owner", lambda: lock(lab, node))
    os.kill(dead["pid"], signal.SIGKILL)
    assert ended(started).status == 1
    give_back(relup, node)
    before = boot_of(lab, node)
    if command == "upgrade":
        with ThreadPoolExecutor(1) as pool:
            next_one = pool.submit(Core(relup, node).upgrade, tarball)
            until("the next one has the lock", lambda: (lock(lab, node) or dead)["run"] != dead["run"])
            gate.touch()
            row = next_one.result()
        assert row["outcome"] == "upgraded", row["error"]
    else:
        gate.touch()
        until("the VM has restarted", lambda: boot_of(lab, node) not in (None, before))
        until("the broker runs", lambda: str(boot_of(lab, node)).startswith("{true"))
        row = relup.run("status", "--host", node).row()
        assert row["facts"]["state"] == "idle"
    (recovered,) = row["facts"]["recovered"]
    assert (recovered["result"], recovered["stage"]) == ("apply_failed", "apply")
    results = ["apply_failed", *(["success"] if command == "upgrade" else [])]
    assert told(relup.run("logs", "--host", node)) == [("journal", result) for result in results]
    assert [row.split()[3] for row in in_vm(lab, node)] == results


def test_what_is_finished_with_the_node_down_is_mirrored_when_it_is_up(
    lab: Lab, relup: Tool, tarball: Path, tmp_path: Path, node: str
) -> None:
    killed_in_hop(lab, relup, tarball, tmp_path)
    lab.kill_node(node)
    status = relup.run("status", "--host", node)
    facts = status.row()["facts"]
    assert facts["state"] == "stopped"
    assert facts["recovered"][0]["details"] == f"No node runs; the next boot is from {lab.root(node)}."
    lab.start_node(node)
    until("the table is loaded", lambda: in_vm(lab, node))
    assert in_vm(lab, node) == [f"{BASE} {FIRST} 'in-progress' undefined {tarball.name} false ours"]
    assert relup.run("status", "--host", node).row()["facts"]["state"] == "idle"
    assert in_vm(lab, node) == [f"{BASE} {FIRST} finished hop_lost {tarball.name} false ours"]


def test_a_damaged_journal_refuses_upgrades_and_not_looks(lab: Lab, relup: Tool, tarball: Path, node: str) -> None:
    folder = ours(lab, node)
    folder.mkdir(mode=0o700)
    journal = folder / "journal.sqlite3"
    journal.write_bytes(b"no database" * 500)
    code, disk = code_of(lab, node), disk_of(lab, node)
    for command, options in (("plan", ()), ("upgrade", ("--yes",))):
        ran = relup.run(command, "--tarball", str(tarball), "--host", node, *options)
        assert (ran.status, ran.error()["err_type"]) == (3, "journal_unusable"), ran.stdout
        assert str(journal) in ran.error()["message"]
    assert Core(relup, node).upgrade(tarball)["error"]["err_type"] == "journal_unusable"
    assert (code_of(lab, node), disk_of(lab, node)) == (code, disk)
    status = relup.run("status", "--host", node)
    assert (status.status, status.row()["facts"]["state"]) == (0, "idle")
    assert str(journal) in json.dumps(status.row()["warnings"])
    assert str(journal) in relup.run("status", "--host", node, json=False).stdout
    verified = relup.run("verify", "--host", node)
    assert verified.error()["err_type"] == "verify_failed"
    off = {name for name, what in verified.error()["detail"]["signals"].items() if what}
    assert off == {"history"}
    # Moved away, as the hint says, it begins anew.
    journal.rename(folder / "journal.damaged")
    assert relup.run("upgrade", "--tarball", str(tarball), "--yes", "--host", node).status == 0
