"""Backups on live nodes: what was there before an upgrade is there again when all data is gone."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lab.cluster import Lab
from lab.durable import Estate, Writer
from lab.errors import LabError
from lab.layout import PROJECT
from relup_remote.core.backup import store, swap
from relup_remote.core.backup.store import PARTIAL
from tests.lab.cluster import BASE, FIRST, NOTHING, Tool, ended, foreign, lock, ours, put_back, running_lab, until

HOSTS = ("n1", "n2")
PAGE = PROJECT / "docs" / "backup.md"
ROWS = 500

TABLES = """
Nodes = mnesia:system_info(running_db_nodes),
[{atomic, ok} = mnesia:create_table(Name, Options) || {Name, Options} <- [
    {retained, [{disc_copies, Nodes}]},
    {own, [{local_content, true}, {disc_copies, Nodes}]},
    {ram, [{ram_copies, Nodes}]}]],
[ok = mnesia:dirty_write({Table, Key, before}) || Table <- [retained, ram], Key <- lists:seq(1, %d)],
[ok = rpc:call(Node, mnesia, dirty_write, [{own, 1, Node}]) || Node <- Nodes], ok
"""
SEEN = """
ok = mnesia:wait_for_tables([retained, own], 20000),
Count = fun(When) -> length(mnesia:dirty_match_object({retained, '_', When})) end,
{Count(before), Count(since), mnesia:dirty_read(own, 1), mnesia:table_info(ram, size)}
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with running_lab(tmp_path_factory.mktemp("lab"), 2) as made:
        made.eval("n1", " ".join((TABLES % ROWS).split()))
        yield made


@pytest.fixture(scope="module")
def relup(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Tool:
    """The tool as operators have it, which asks for a backup; only gates are not what this is about."""
    return Tool(lab.inventory_path, tmp_path_factory.mktemp("state"))


def backups(lab: Lab, host: str) -> Path:
    return lab.root(host) / "relup_backups"


def seen(lab: Lab, host: str, before: int, since: int, ram: int) -> bool:
    """Whether a node has so many rows of before and since, and the row that is its own."""
    row = f"[{{own,1,'{lab.host(host).node}'}}]"
    return lab.eval(host, " ".join(SEEN.split())) == f"{{{before},{since},{row},{ram}}}"


def commands_of_page(number: int) -> str:
    """One of the blocks of commands on the page for operators."""
    return str(re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)[number])


def typed(lab: Lab, commands: str) -> str:
    """What the commands print, typed by an operator with this lab's inventory."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "RELUP_INVENTORY": str(lab.inventory_path),
    }
    done = subprocess.run(
        ["bash", "-e"],
        input=commands,
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def big_file(lab: Lab, host: str) -> Path:
    """A file in a node's data that takes a while to copy, and next to nothing on disk."""
    path = lab.root(host) / "data" / "trace" / "big"
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as file:
        file.truncate(512 << 20)
    return path


def test_rows_of_before_are_there_after_an_upgrade_and_the_loss_of_all_data(lab: Lab, relup: Tool) -> None:
    link = lab.root("n1") / "data" / "link"
    link.symlink_to("configs")
    with contextlib.suppress(FileExistsError):
        os.mkfifo(lab.root("n1") / "data" / "pipe")
    plan = relup.run("plan", "--tarball", str(lab.tarball(FIRST)))
    assert [plan.row(host)["facts"]["backup"] for host in HOSTS] == [None, None]
    said = typed(lab, commands_of_page(0))
    assert said.count("backed up") == said.count("complete") == said.count("verified") == len(HOSTS)
    for host in HOSTS:
        assert foreign(lab, host) == NOTHING
        assert lab.eval(host, "mnesia:system_info(checkpoints)") == "[]"
    lab.eval("n1", f"[ok = mnesia:dirty_write({{retained, Key, since}}) || Key <- lists:seq(1, {ROWS})], ok")
    upgraded = relup.run(
        "upgrade", "--tarball", str(lab.tarball(FIRST)), "--backup-age", "1h", "--gates", "none", "--yes", timeout=400
    )
    assert upgraded.status == 0, upgraded.stdout
    status = relup.run("status")
    for host in HOSTS:
        facts = status.row(host)["facts"]
        assert (facts["boot_root"], facts["backup"]) == (str(lab.root(host) / "relup" / FIRST), facts["backup_of_base"])
        lab.stop_node(host)
    for host in HOSTS:
        shutil.rmtree(lab.root(host) / "data")
    refused = relup.run("restore", "--yes")
    assert refused.status == 3
    assert refused.error()["err_type"] == "backup_version_differs"
    assert "relup/current" in refused.error()["hint"]
    # The data is of the base release: either the root boots that, or the operator says that the new one may read it.
    (lab.root("n1") / "relup" / "current").unlink()
    typed(lab, commands_of_page(1))
    forced = relup.run("restore", "--host", "n2", "--force", "--yes")
    assert forced.row("n2")["outcome"] == "restored", forced.stdout
    for host in HOSTS:
        assert list((lab.root(host) / "data" / "mnesia" / lab.host(host).node).iterdir()) == [
            lab.root(host) / "data" / "mnesia" / lab.host(host).node / "FALLBACK.BUP"
        ]
    # A node waits for the other's copy of what both had.
    for host in HOSTS:
        lab.start_node(host)
    for host in HOSTS:
        assert until("the rows of before are there", partial(seen, lab, host, ROWS, 0, 0))
    assert [lab.eval(host, "emqx_release:version()") for host in HOSTS] == [f'"{BASE}"', f'"{FIRST}"']
    assert link.is_symlink()
    assert not (lab.root("n1") / "data" / "pipe").exists()
    history = relup.run("logs", "--host", "n1").row()["facts"]["history"]
    assert history[-1]["options"]["restore"]
    # Both on the base release again, for what follows.
    put_back(lab, "n2")


def test_a_node_restored_beside_a_running_one_has_its_rows_and_its_own(lab: Lab, relup: Tool) -> None:
    assert relup.run("backup", "--host", "n1").status == 0
    lab.eval("n2", "[ok = mnesia:dirty_write({retained, Key, since}) || Key <- lists:seq(1, 100)], ok")
    lab.stop_node("n1")
    (lab.root("n1") / "data" / "kept").write_text("written since")
    shutil.rmtree(lab.root("n1") / "data" / "mnesia")
    ran = relup.run("restore", "--host", "n1", "--yes")
    assert ran.status == 0, ran.stdout
    (aside,) = (lab.root("n1") / "data").glob("relup_before-*")
    assert (aside / "kept").read_text() == "written since"
    lab.start_node("n1")
    in_ram = int(lab.eval("n2", "mnesia:table_info(ram, size)"))
    assert until("the rows of the other are there", partial(seen, lab, "n1", ROWS - 100, 100, in_ram))
    assert lab.eval("n2", "length(mnesia:system_info(running_db_nodes))") == "2"
    assert relup.run("verify").status == 0


def test_a_node_that_is_down_is_backed_up_as_it_lies_there(lab: Lab, relup: Tool) -> None:
    lab.stop_node("n2")
    ran = relup.run("backup", "--host", "n2")
    row = ran.row("n2")
    assert (row["outcome"], row["steps"][-1]["detail"]["mnesia"]["saved"]) == ("backed up", "files"), ran.stdout
    shutil.rmtree(lab.root("n2") / "data")
    assert relup.run("restore", "--host", "n2", "--yes").status == 0
    lab.start_node("n2")
    assert until(
        "its own row is there", lambda: f"'{lab.host('n2').node}'" in lab.eval("n2", "mnesia:dirty_read(own, 1)")
    )


def test_clients_go_on_while_their_node_is_backed_up(lab: Lab, relup: Tool, capsys: pytest.CaptureFixture[str]) -> None:
    estate = Estate("backed-up")
    estate.leave(lab.mqtt_port("n1"))
    until("the table of another storage is there", lambda: "true" in lab.eval("n1", KEEPS_MORE))
    with Writer(lab.mqtt_port("n1")) as writer:
        ran = relup.run("backup", "--host", "n1")
    assert ran.row()["outcome"] == "backed up", ran.stdout
    with capsys.disabled():
        print(f"longest wait of a client during the backup: {writer.longest:.2f} s, of {writer.written} messages")
    assert writer.written > 0
    assert writer.longest < 10
    assert foreign(lab, "n1") == NOTHING
    assert lab.eval("n1", "mnesia:system_info(checkpoints)") == "[]"
    by_table = ran.row()["steps"][-1]["detail"]["mnesia"]["by_table"]
    assert {by_table[name]["saved"] for name in ("emqx_session", "emqx_retained")} == {"snapshot"}
    assert (by_table["emqx_last_seen"]["saved"], by_table["emqx_passing"]["saved"]) == ("rows", "definition")
    lab.stop_node("n1")
    shutil.rmtree(lab.root("n1") / "data" / "mnesia")
    assert relup.run("restore", "--host", "n1", "--yes").status == 0
    lab.start_node("n1")
    estate.check(lab.mqtt_port("n1"))
    assert until("the rows of another storage are there", lambda: "true" in lab.eval("n1", KEEPS_MORE))


KEEPS_MORE = 'catch mnesia:dirty_read(emqx_last_seen, <<"backed-up">>) =/= []'


def test_a_node_that_is_half_restored_is_not_started_by_anybody(lab: Lab, relup: Tool) -> None:
    big_file(lab, "n1")
    estate = Estate("half")
    estate.leave(lab.mqtt_port("n1"))
    assert relup.run("backup", "--host", "n1").status == 0
    lab.stop_node("n1")
    halfway(lab)
    with pytest.raises(LabError):
        lab.start_node("n1")
    assert relup.run("status", "--host", "n1").row()["facts"]["state"] == "half-restored"
    for words in (("verify",), ("backup",), ("plan", "--tarball", str(lab.tarball(FIRST))), ("rollback", "--yes")):
        refused = relup.run(*words, "--host", "n1")
        assert refused.error()["err_type"] == "half_restored", refused.stdout
        assert "`relup restore`" in refused.error()["hint"]
    assert relup.run("restore", "--host", "n1", "--yes").row()["outcome"] == "restored"
    (lab.root("n1") / "data" / "trace" / "big").unlink()
    lab.start_node("n1")
    estate.check(lab.mqtt_port("n1"))


def halfway(lab: Lab) -> None:
    """Puts a node into the middle of a restore: the core's own moves, cut off after some."""
    root = lab.root("n1")
    (newest,) = [store.backups(str(backups(lab, "n1")))[-1]]
    says = newest.says
    assert says is not None
    places = [swap.Place(name, str(root / name), "cut") for name in ("etc", "data")]
    for place in places:
        shutil.copytree(Path(newest.path) / place.name, place.fresh)
    folder = Path(places[1].fresh) / str(says["mnesia"]["folder"])
    folder.mkdir(parents=True)
    shutil.copy(Path(newest.path) / "mnesia.BUP", folder / "FALLBACK.BUP")
    told = {"backup": newest.name, "run": "cut", "release": says["release"], "bytes": 1, "files": 1}
    ours(lab, "n1").mkdir(mode=0o700, exist_ok=True)
    begun = swap.begin(str(ours(lab, "n1")), told, places)
    moves = iter(range(4))

    def look() -> None:
        next(moves)

    with contextlib.suppress(StopIteration):
        begun.forward(look)


def killed(lab: Lab, relup: Tool, *words: str) -> None:
    """Ends the core of a command by SIGKILL as soon as it tells of its progress."""
    started = relup.start(*words)
    (copied,) = until("something is copied", lambda: half_copied(lab))
    assert copied.exists()
    os.kill(until("the lock names its owner", lambda: lock(lab, "n1"))["pid"], signal.SIGKILL)
    assert ended(started).error()["err_type"] in ("core_failed", "connection_lost")


def half_copied(lab: Lab) -> list[Path]:
    """Copies of the big file that have begun, and are not all of a backup."""
    places = (backups(lab, "n1").glob("*/data/trace/big"), (lab.root("n1") / "data").glob("relup_restored-*/trace/big"))
    return [path for found in places for path in found if not (path.parents[2] / "manifest.json").exists()]


def test_a_core_that_is_killed_leaves_nothing_that_the_next_does_not_clear(lab: Lab, relup: Tool) -> None:
    big = big_file(lab, "n1")
    whole = set(backups(lab, "n1").iterdir())
    killed(lab, relup, "backup", "--host", "n1")
    (cut,) = set(backups(lab, "n1").iterdir()) - whole
    name = cut.name.removeprefix(PARTIAL)
    assert relup.run("backup.verify", "--host", "n1").status == 0
    listed = {found["name"]: found["whole"] for found in relup.run("backup.list").row()["facts"]["backups"]}
    assert listed[name] is False
    assert until("nothing is left in the VM", lambda: foreign(lab, "n1") == NOTHING)
    assert lab.eval("n1", "mnesia:system_info(checkpoints)") == "[]"
    again = relup.run("backup", "--host", "n1")
    assert again.row()["steps"][-1]["detail"]["unfinished"] == [name]
    assert not cut.exists()
    lab.stop_node("n1")
    killed(lab, relup, "restore", "--host", "n1", "--yes")
    assert relup.run("restore", "--host", "n1", "--yes").status == 0
    assert not list((lab.root("n1") / "data").glob("relup_restored-*"))
    lab.start_node("n1")
    assert until(
        "its own row is there", lambda: f"'{lab.host('n1').node}'" in lab.eval("n1", "mnesia:dirty_read(own, 1)")
    )
    big.unlink()


EATER = """\
import contextlib, pathlib, sys
from tests.lab.inotify import await_made
folder = pathlib.Path(sys.argv[1])
await_made(folder, sys.argv[2])
with contextlib.suppress(OSError):
    for number in range(100000):
        (folder.parent / f"eaten{number}").touch()
"""
"""Takes all inodes of a file system, once a backup has begun there."""


def test_a_disk_that_fills_up_fails_the_backup_and_leaves_none(lab: Lab, relup: Tool, tmp_path: Path) -> None:
    """Somebody else fills the disk that the core sees, after it has been looked at.

    The node is down: a VM would write its tables where it sees that folder.
    """
    lab.stop_node("n2")
    many = lab.root("n2") / "data" / "trace" / "many"
    many.mkdir(parents=True)
    for number in range(1500):
        (many / str(number)).touch()
    folder = tmp_path / "backups"
    folder.mkdir(mode=0o700)
    (tmp_path / "eater.py").write_text(f"import sys; sys.path.insert(0, '{PROJECT}')\n{EATER}")
    python = tmp_path / "python"
    python.write_text(f"""\
#!/bin/sh
[ "$1" = --version ] && exec python3 --version
exec unshare -rm sh -c '
    mount -t tmpfs -o size=1g,nr_inodes=1800,mode=700 tmpfs "{folder}"
    mkdir -m 700 "{folder}/n2"
    mkfifo "{tmp_path}/watching"
    {sys.executable} "{tmp_path}/eater.py" "{folder}/n2" {PARTIAL} >"{tmp_path}/watching" </dev/null &
    read -r watching <"{tmp_path}/watching"
    python3 "$@"
    status=$?
    kill $! 2>/dev/null
    find "{folder}/n2" -mindepth 1 ! -name lock >"{tmp_path}/left"
    rm "{tmp_path}/watching"
    exit $status' sh "$@"
""")
    python.chmod(0o755)
    settings = f"defaults:\n  python: {python}\n  backup_dir: {folder}"
    inventory = tmp_path / "inventory.yml"
    inventory.write_text(lab.inventory_path.read_text().replace("defaults:", settings, 1))
    ran = Tool(inventory).run("backup", "--host", "n2")
    shutil.rmtree(many)
    lab.start_node("n2")
    assert (ran.status, ran.error("n2")["err_type"], ran.row("n2")["outcome"]) == (1, "disk_full", "failed"), ran.stdout
    assert (tmp_path / "left").read_text() == ""


def test_an_upgrade_without_a_backup_is_refused_unless_told_otherwise(lab: Lab, relup: Tool) -> None:
    for host in HOSTS:
        shutil.rmtree(backups(lab, host), ignore_errors=True)
    options = ("--tarball", str(lab.tarball(FIRST)), "--gates", "none", "--yes")
    refused = relup.run("upgrade", *options)
    assert refused.status == 3
    assert {refused.error(host)["err_type"] for host in HOSTS} == {"no_backup"}
    upgraded = relup.run("upgrade", *options, "--no-backup", timeout=400)
    assert upgraded.status == 0, upgraded.stdout
    history: list[dict[str, Any]] = relup.run("logs", "--host", "n1").row()["facts"]["history"]
    assert history[-1]["options"]["backup_age"] == 0
    assert ours(lab, "n1").is_dir()
