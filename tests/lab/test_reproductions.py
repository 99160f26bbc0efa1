"""Every way in which hot upgrades of this kind were seen to go wrong, tried here, where it must not.

Each test is named after what was seen.
"""

import hashlib
import os
import shutil
import signal
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from lab import processes, variants
from lab.cluster import Lab
from relup_remote.core.journal import Journal
from tests.lab import inotify, lingering
from tests.lab.cluster import (
    BASE,
    FIRST,
    NOTHING,
    SECOND,
    Ran,
    Tool,
    code_of,
    disk_of,
    ended,
    foreign,
    gated,
    ours,
    put_back,
    running_lab,
    until,
)
from tests.lab.core import CATALOGUE, Core

HOST = "n1"
WORKERS = "5.10.9-lab"
"""The release in which the workers of the pool have another state."""

MEBIBYTE = 1 << 20
WEIGHED = """\
#!{python}
import resource, subprocess, sys
status = subprocess.call(["python3", *sys.argv[1:]])
with open("{cores}", "a") as file:
    print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=file)
sys.exit(status)
"""
"""A Python for the host that notes the most memory each core has had, KiB."""

FULL = 2
"""SQLite's number for ``PRAGMA synchronous = FULL``."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One node."""
    with running_lab(tmp_path_factory.mktemp("lab"), 1) as made:
        yield made


@pytest.fixture(scope="module")
def relup(lab: Lab) -> Tool:
    return Tool(lab.inventory_path)


@pytest.fixture
def _used(lab: Lab) -> Iterator[None]:
    """The node is put back after the test."""
    yield
    put_back(lab, HOST)


used = pytest.mark.usefixtures("_used")


def catalogue(folder: Path, target: str, *edits: tuple[str, str]) -> Path:
    """The catalogue with something else written in the hop from the first release to ``target``."""
    shutil.copytree(CATALOGUE, folder)
    hop = folder / f"{BASE}-to-{target}.relup"
    text = hop.read_text()
    for old, new in edits:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    hop.write_text(text)
    return folder


def upgrade(relup: Tool, tarball: Path, *options: str) -> Ran:
    return relup.run("upgrade", "--tarball", str(tarball), "--yes", *options)


def history(relup: Tool) -> list[dict[str, Any]]:
    return list(relup.run("logs").row()["facts"]["history"])


def state(relup: Tool) -> str:
    return str(relup.run("status").row()["facts"]["state"])


def version(lab: Lab) -> str:
    return lab.eval(HOST, "emqx_release:version()").strip('"')


def marker(lab: Lab) -> str | None:
    path = lab.root(HOST) / "relup" / "current"
    return path.read_text() if path.exists() else None


# A code change that fails


@used
def test_failed_code_change_leaves_processes_suspended_and_the_row_open(lab: Lab, relup: Tool, tmp_path: Path) -> None:
    lab.eval(HOST, "emqx_pool:start_workers(20)")
    before, pid = code_of(lab, HOST), lab.node_pid(HOST)
    broken = catalogue(tmp_path / "broken", WORKERS, ("#{started_at => erlang:system_time(millisecond)}", "#{}"))
    failed = upgrade(relup, lab.tarball(WORKERS), "--catalogue", str(broken))
    error = failed.error()
    assert (failed.status, error["err_type"], error["detail"]["undone"]) == (1, "code_change_failed", True)
    assert (code_of(lab, HOST), lab.node_pid(HOST)) == (before, pid)
    assert version(lab) == BASE
    suspended = "[P || P <- processes(), {current_function, {sys, _, _}} <- [process_info(P, current_function)]]"
    assert lab.eval(HOST, suspended) == "[]"
    assert lab.eval(HOST, "length([ok = Ran || Ran <- emqx_pool:run(fun() -> ok end)])") == "20"
    assert lab.eval(HOST, "lists:usort([sys:get_state(P) || P <- emqx_pool:workers()])") == "[1]"
    assert (marker(lab), state(relup), foreign(lab, HOST)) == (None, "idle", NOTHING)
    (row,) = history(relup)
    assert (row["status"], row["result"]) == ("finished", "code_change_failed")
    # The release that says which it is was among what had been loaded; that keeps nobody from trying again.
    again = upgrade(relup, lab.tarball(WORKERS))
    assert again.status == 0, again.stdout
    assert (version(lab), marker(lab)) == (WORKERS, WORKERS)
    changed = "[1 || P <- emqx_pool:workers(), {worker, 1, _} <- [sys:get_state(P)]]"
    assert lab.eval(HOST, f"length({changed})") == "20"


@used
@pytest.mark.parametrize("restarted", [False, True])
def test_failed_callback_keeps_the_next_attempt_from_finishing(
    restarted: bool, lab: Lab, relup: Tool, tmp_path: Path
) -> None:
    helper = f"emqx_post_upgrade_{FIRST}.erl"
    head = f"-module('emqx_post_upgrade_{FIRST}').\n-export([settle/1]).\n"
    callbacks = "[log_upgrade, {ensure_metrics, [['packets.received']]}]"
    hops = catalogue(tmp_path / "hops", FIRST, (callbacks, "[settle]"))
    (hops / helper).write_text(head + "settle(_) -> error(not_yet).\n")
    failed = upgrade(relup, lab.tarball(FIRST), "--catalogue", str(hops))
    assert (failed.status, failed.error()["err_type"]) == (1, "post_upgrade_failed")
    assert (version(lab), marker(lab), state(relup)) == (FIRST, None, "half-done")
    if restarted:
        lab.stop_node(HOST)
        lab.start_node(HOST)
        assert version(lab) == BASE
    (hops / helper).write_text(head + "settle(_) -> ok.\n")
    again = upgrade(relup, lab.tarball(FIRST), "--catalogue", str(hops))
    assert again.status == 0, again.stdout
    assert (version(lab), marker(lab), state(relup)) == (FIRST, FIRST, "hot-upgraded")
    assert [row["result"] for row in history(relup)] == ["post_upgrade_failed", "success"]
    assert relup.run("verify", "--target", FIRST).status == 0


@used
def test_processes_to_be_updated_are_those_from_before_the_hop(lab: Lab, relup: Tool, tmp_path: Path) -> None:
    early, late = "{apply, emqx_pool, start_workers, [5]}", "{update, emqx_pool_worker,"
    hops = catalogue(tmp_path / "hops", WORKERS, (late, f"{early}, {late}"))
    ran = upgrade(relup, lab.tarball(WORKERS), "--catalogue", str(hops))
    assert ran.status == 0, ran.stdout
    assert (
        lab.eval(HOST, "[element(1, sys:get_state(P)) || P <- emqx_pool:workers()]") == f"[{','.join(['worker'] * 5)}]"
    )


# A hop that can't run, found when all is deployed

UNFIT = {
    "no_relup_entry": (f'from_version => "{BASE}"', 'from_version => "5.10.3-lab"', "no_relup_entry"),
    "an unknown instruction": ("{load_module, emqx_stats}", "{reload, emqx_stats}", "invalid_instr"),
    "no code_changes": ("code_changes =>", "changes =>", "malformed_hop"),
    "code_changes of a wrong type": ("code_changes => [", "code_changes => all, changes => [", "malformed_hop"),
    "callbacks of a wrong type": (
        "post_upgrade_callbacks => [",
        "post_upgrade_callbacks => all, x => [",
        "malformed_hop",
    ),
    "arguments of a wrong type": ("ready, []}", "ready, all}", "invalid_instr"),
    "a helper that only the catalogue has, and has not": (
        "{load_module, emqx_stats}",
        "{load_module, emqx_lab_absent}",
        "module_not_found",
    ),
}


@pytest.mark.parametrize("what", UNFIT)
def test_unfit_hop_is_found_only_when_the_tree_is_deployed(what: str, lab: Lab, relup: Tool, tmp_path: Path) -> None:
    old, new, err_type = UNFIT[what]
    before = code_of(lab, HOST), disk_of(lab, HOST)
    ran = upgrade(relup, lab.tarball(FIRST), "--catalogue", str(catalogue(tmp_path / "hops", FIRST, (old, new))))
    assert (ran.status, ran.row()["outcome"], ran.error()["err_type"]) == (3, "refused", err_type)
    assert ran.row()["steps"] == []
    assert not (lab.root(HOST) / "relup").exists()
    assert not (ours(lab, HOST) / "staging").exists()
    assert (code_of(lab, HOST), disk_of(lab, HOST), foreign(lab, HOST)) == (*before, NOTHING)


# Temporary folders


@used
def test_planted_temporary_folder_is_taken_for_our_own(lab: Lab, relup: Tool, tmp_path: Path) -> None:
    """Nothing is looked at, made or left where temporary files go, by core, VM or controller."""
    digest = hashlib.sha256(lab.tarball(FIRST).read_bytes()).hexdigest()
    public = Path(tempfile.gettempdir())
    private = tmp_path / "tmp"
    private.mkdir()
    plants = [folder / f"emqx_relup_{digest[:16]}" for folder in (public, private)]
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexport TMPDIR="{private}"\nexec python3 "$@"\n')
    python.chmod(0o755)
    inventory = tmp_path / "inventory.yml"
    inventory.write_text(lab.inventory_path.read_text().replace("defaults:", f"defaults:\n  python: {python}", 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(private))
        lab.stop_node(HOST)
        lab.start_node(HOST)
        try:
            folders = [folder for plant in plants for folder in planted(plant)]
            with (
                inotify.events(folders, inotify.OPENED | inotify.READ) as looked_at,
                inotify.events([private], inotify.MADE | inotify.MOVED_HERE | inotify.OPENED) as used_by_us,
                inotify.events([public], inotify.MADE | inotify.MOVED_HERE) as made,
            ):
                ran = upgrade(Tool(inventory), lab.tarball(FIRST))
            assert ran.status == 0, ran.stdout
        finally:
            for plant in plants:
                shutil.rmtree(plant)
    assert looked_at == []
    assert used_by_us == []
    assert [path for path in made if "relup_" in path.name] == []
    assert lab.eval(HOST, "emqx_stats:getstat('topics.count')") == "0"


def planted(folder: Path) -> list[Path]:
    """What a stranger leaves where a release would be unpacked: one that says it is whole, with code of his own."""
    ebin = folder / "lib" / "emqx-5.5.8" / "ebin"
    ebin.mkdir(parents=True)
    (ebin / "emqx_stats.beam").write_bytes(b"not to be loaded")
    (folder / "releases").mkdir()
    (folder / "releases" / "emqx_vars").write_text(f'REL_VSN="{FIRST}"\n')
    return [folder, *(path for path in folder.rglob("*") if path.is_dir())]


@used
def test_tree_that_is_not_whole_counts_as_whole(lab: Lab, relup: Tool) -> None:
    tree = lab.root(HOST) / "relup" / FIRST
    (tree / "releases").mkdir(parents=True)
    (tree / "releases" / "emqx_vars").write_text(f'REL_VSN="{FIRST}"\n')
    (tree.parent / f".relup_remote-{FIRST}-0123").mkdir(mode=0o700)
    ran = upgrade(relup, lab.tarball(FIRST))
    assert ran.status == 0, ran.stdout
    assert sorted(path.name for path in tree.parent.iterdir()) == [FIRST, "current"]
    assert relup.run("verify", "--target", FIRST).status == 0


# Processes in old code


@used
def test_processes_in_old_code_are_killed_one_hop_later(lab: Lab, relup: Tool, tmp_path: Path) -> None:
    lingering.enter(lab, HOST, "emqx_stats", BASE, tmp_path)
    first = upgrade(relup, lab.tarball(FIRST))
    signals = first.error()["detail"]["signals"]
    assert {name: said for name, said in signals.items() if said} == {
        "old code": "1 module has processes in old code: emqx_stats"
    }
    second = upgrade(relup, lab.tarball(SECOND))
    error = second.error()
    assert (second.status, error["err_type"]) == (3, "old_code_in_use")
    assert [process["name"] for process in error["detail"]["processes"]] == [lingering.NAME]
    assert version(lab) == FIRST
    # It was there all the time.
    assert lingering.end(lab, HOST) == "ended"
    assert upgrade(relup, lab.tarball(SECOND)).status == 0


# The disk


@used
def test_full_disk_leaves_a_part_of_the_tree(lab: Lab, relup: Tool, tmp_path: Path) -> None:
    """The core's own view of `relup/` has room for few files: refused before anything is unpacked."""
    relup_dir, left = lab.root(HOST) / "relup", tmp_path / "left"
    relup_dir.mkdir()
    python = tmp_path / "python"
    python.write_text(f"""\
#!/bin/sh
[ "$1" = --version ] && exec python3 --version
exec unshare -rm sh -c '
    trap "" HUP
    mount -t tmpfs -o size=1g,nr_inodes=500,mode=755 tmpfs "{relup_dir}"
    python3 "$@"
    status=$?
    find "{relup_dir}" -mindepth 1 > "{left}.part"
    mv "{left}.part" "{left}"
    exit $status' sh "$@"
""")
    python.chmod(0o755)
    inventory = tmp_path / "inventory.yml"
    inventory.write_text(lab.inventory_path.read_text().replace("defaults:", f"defaults:\n  python: {python}", 1))
    before = code_of(lab, HOST)
    # Another core after it would find its view of the folder empty whatever was left.
    row = Core(Tool(inventory), HOST).upgrade(lab.tarball(FIRST))
    assert (row["outcome"], row["error"]["err_type"], row["error"]["stage"]) == ("refused", "disk_full", "extract")
    # It is written when the core has ended, and nobody waits for that any more once its result is here.
    until("what is left is written down", left.exists)
    assert left.read_text() == ""
    assert (code_of(lab, HOST), foreign(lab, HOST), marker(lab)) == (before, NOTHING, None)
    assert [(row["status"], row["result"]) for row in history(relup)] == [("finished", "disk_full")]
    assert upgrade(relup, lab.tarball(FIRST)).status == 0


# More than one hop


@used
@pytest.mark.parametrize("restarted", [False, True])
def test_second_hop_fails_without_a_restart_and_nests_after_one(restarted: bool, lab: Lab, relup: Tool) -> None:
    assert upgrade(relup, lab.tarball(FIRST)).status == 0
    if restarted:
        lab.stop_node(HOST)
        lab.start_node(HOST)
    second = upgrade(relup, lab.tarball(SECOND))
    assert second.status == 0, second.stdout
    trees = lab.root(HOST) / "relup"
    assert sorted(path.name for path in trees.iterdir()) == [FIRST, SECOND, "current"]
    assert not (trees / FIRST / "relup").exists()
    assert (version(lab), marker(lab)) == (SECOND, SECOND)
    lab.stop_node(HOST)
    lab.start_node(HOST)
    assert lab.eval(HOST, "code:root_dir()") == f'"{trees / SECOND}"'


@used
def test_unchanged_module_comes_from_the_old_tree(lab: Lab, relup: Tool) -> None:
    assert upgrade(relup, lab.tarball(FIRST)).status == 0
    tree = lab.root(HOST) / "relup" / FIRST
    elsewhere = (
        f'Beams = filelib:wildcard("{tree}/lib/*/ebin/*.beam"), {{length(Beams) > 100,'
        " [Beam || Beam <- Beams, code:where_is_file(filename:basename(Beam)) =/= Beam]}"
    )
    assert lab.eval(HOST, elsewhere) == "{true,[]}"
    # Of these two only the first differs between the releases.
    for module in ("emqx_stats", "emqx_topic"):
        load = f"true = code:soft_purge({module}), {{module, _}} = code:load_file({module}), code:which({module})"
        assert lab.eval(HOST, load).startswith(f'"{tree}/lib/')


# The history


@used
def test_crash_of_the_machine_after_a_success_loses_the_row(lab: Lab, relup: Tool) -> None:
    """All that runs there is killed as soon as the row says so."""
    started = relup.start("upgrade", "--tarball", str(lab.tarball(FIRST)), "--yes")
    journal = ours(lab, HOST) / "journal.sqlite3"

    def succeeded() -> bool:
        if not journal.exists():
            return False
        with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as rows:
            # The file is there before its table is.
            tables = rows.execute("SELECT name FROM sqlite_master").fetchall()
            results = rows.execute("SELECT result FROM attempts").fetchall() if ("attempts",) in tables else []
            return ("success",) in results

    until("the row is finished", succeeded)
    home = str(lab.host(HOST).home)
    for pid in processes.find(lambda pid: processes.environment(pid).get("HOME") == home):
        # One may have ended by itself meanwhile.
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    ended(started)
    assert lab.node_pid(HOST) is None
    (row,) = relup.run("logs").row()["facts"]["history"]
    assert (row["status"], row["result"], row["target_vsn"]) == ("finished", "success", FIRST)
    lab.start_node(HOST)
    assert (version(lab), marker(lab)) == (FIRST, FIRST)


def test_history_is_told_of_before_it_is_on_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """SQLite waits for the disk at the end of each transaction, in its mode FULL."""
    modes: list[int] = []

    class Watched(sqlite3.Connection):
        def __exit__(self, *raised: Any) -> Any:
            modes.extend(self.execute("PRAGMA synchronous").fetchone())
            return super().__exit__(*raised)

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **options: connect(*args, factory=Watched, **options))
    journal = Journal(str(tmp_path))
    journal.finish(journal.begin("a-run", "someone", BASE, FIRST, {}), "success")
    assert len(modes) >= 2
    assert set(modes) == {FULL}


# Exit status


@used
def test_failures_end_with_status_0(lab: Lab, relup: Tool, tmp_path: Path) -> None:
    failing = catalogue(
        tmp_path / "failing", FIRST, ("{apply, emqx_dashboard, ready, []}", "{apply, erlang, error, [no]}")
    )
    to, empty = ("--tarball", str(lab.tarball(FIRST))), tmp_path / "empty"
    empty.mkdir()
    ran = {
        "refused plan": relup.run("plan", *to, "--catalogue", str(empty), json=False),
        "refused upgrade": relup.run("upgrade", *to, "--catalogue", str(empty), "--yes", json=False),
        "no such option": relup.run("upgrade", *to, "--on-failure", "hope", "--yes", json=False),
        "failed upgrade": relup.run("upgrade", *to, "--catalogue", str(failing), "--yes", json=False),
        "failed verification": relup.run("verify", "--target", FIRST, json=False),
    }
    assert {what: done.status for what, done in ran.items()} == {
        "refused plan": 3,
        "refused upgrade": 3,
        "no such option": 2,
        "failed upgrade": 1,
        "failed verification": 1,
    }


# Memory


@used
def test_tarball_is_read_into_memory_whole(lab: Lab, relup: Tool, tmp_path: Path) -> None:
    size = 128 * MEBIBYTE
    padded = variants.variant(
        lab.tarball(FIRST), tmp_path / f"emqx-{FIRST}.tar.gz", add={"lib/emqx-5.5.8/priv/padding": os.urandom(size)}
    )
    vm = lab.node_pid(HOST)
    assert vm
    before, gate, cores = peak(vm), tmp_path / "gate", tmp_path / "cores"
    python = tmp_path / "python"
    python.write_text(WEIGHED.format(python=sys.executable, cores=cores))
    python.chmod(0o755)
    inventory = tmp_path / "inventory.yml"
    inventory.write_text(lab.inventory_path.read_text().replace("defaults:", f"defaults:\n  python: {python}", 1))
    hops = gated(tmp_path / "hops", gate)
    started = Tool(inventory).start("upgrade", "--tarball", str(padded), "--catalogue", str(hops), "--yes")
    until("the hop is under way", Path(f"{gate}.reached").exists)
    grown = {"VM": peak(vm) - before, "controller": peak(started.pid)}
    gate.touch()
    assert ended(started).status == 0
    grown["core"] = max(int(line) * 1024 for line in cores.read_text().splitlines())
    # An interpreter with all of the controller's modules takes half of that.
    assert all(used < size * 3 // 4 for used in grown.values()), grown


def peak(pid: int) -> int:
    """The most memory a process has had, bytes."""
    status = (Path("/proc") / str(pid) / "status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))
