"""Tables out of real VMs, and into them again: alone, and beside others of a cluster."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.layout import PROJECT
from relup_remote.core import commands
from relup_remote.core.agent import Agent
from relup_remote.core.backup import manifest, mnesia
from relup_remote.core.erlang.distribution import Connection
from relup_remote.core.erlang.link import DistributionLink
from relup_remote.core.erlang.term import Atom
from relup_remote.core.protocol import Failure
from relup_remote.core.running_node import RunningNode, find

from .backups import Node
from .vm import Vm, evaluate, eventually, running_vm

TABLES = """
Copies = [node() | nodes()],
[{atomic, ok} = mnesia:create_table(Name, Options) || {Name, Options} <- [
    {disc, [{disc_copies, Copies}]},
    {disc_only, [{disc_only_copies, [node()]}]},
    {own, [{local_content, true}, {disc_copies, Copies}]},
    {ram, [{ram_copies, Copies}]}]],
[ok = mnesia:dirty_write({Table, Key, node()}) || Table <- [disc, disc_only, own, ram], Key <- lists:seq(1, 50)].
"""
SIZES = """
ok = mnesia:wait_for_tables([disc, disc_only, own], 20000),
[mnesia:table_info(Table, size) || Table <- [disc, disc_only, own, ram]].
"""


class Member:
    """A VM with Mnesia in the data folder of a node."""

    def __init__(self, vm: Vm, root: Path) -> None:
        found = find(None, vm.name)
        assert found is not None
        self.vm = vm
        self.node = Node(root, found)
        self.folder = self.node.data / "mnesia" / vm.name
        shutil.rmtree(self.node.data / "mnesia")
        self.folder.parent.mkdir()

    def eval(self, source: str) -> Any:
        with self.vm.connected() as connection:
            return evaluate(connection, source)

    def start(self) -> Any:
        """Starts Mnesia on what is in its folder."""
        return self.eval("mnesia:start().")

    def found(self) -> RunningNode:
        assert self.node.vm is not None
        return self.node.vm

    def lose_all(self) -> None:
        """Stops Mnesia, and puts back the backup of its node, all tables removed before."""
        assert self.eval("mnesia:stop().") == "stopped"
        shutil.rmtree(self.folder)
        # The VM goes on: here only Mnesia is what has to be stopped.
        running, self.node.vm = self.found(), None
        try:
            self.node.run("restore", "run-2", restore_force=True)
        finally:
            self.node.vm = running
        assert [path.name for path in self.folder.iterdir()] == [mnesia.FALLBACK]


def member(epmd: int, root: Path, vm: Vm) -> Member:
    made = Member(vm, root)
    made.eval(f'ok = application:load(mnesia), application:set_env(mnesia, dir, "{made.folder}").')
    return made


@pytest.fixture
def alone(epmd: int, tmp_path: Path) -> Iterator[Member]:
    """A VM with tables of each kind."""
    with running_vm(epmd, tmp_path) as vm:
        made = member(epmd, tmp_path / "root", vm)
        made.eval("ok = mnesia:create_schema([node()]).")
        made.start()
        made.eval(TABLES)
        yield made


@pytest.fixture
def cluster(epmd: int, tmp_path: Path) -> Iterator[tuple[Member, Member]]:
    """Two such VMs that share their tables, each with rows of its own in one of them."""
    with running_vm(epmd, tmp_path) as first, running_vm(epmd, tmp_path) as second:
        one, two = (member(epmd, tmp_path / name, vm) for name, vm in (("one", first), ("two", second)))
        one.eval(
            f"erlang:set_cookie('{second.name}', '{second.cookie}'), true = net_kernel:connect_node('{second.name}')."
        )
        one.eval("ok = mnesia:create_schema([node() | nodes()]).")
        one.start(), two.start()
        one.eval(TABLES)
        two.eval("[ok = mnesia:dirty_write({own, Key, node()}) || Key <- lists:seq(1, 7)].")
        yield one, two


def nothing_left(member: Member) -> bool:
    """Whether nothing of the backup is in the VM: checkpoints, modules, processes that wait for us to go."""
    left = member.eval(
        "{mnesia:system_info(checkpoints),"
        ' [M || {M, _} <- code:all_loaded(), string:prefix(atom_to_list(M), "relup_") =/= nomatch],'
        " [P || P <- processes(), P =/= self(),"
        "  {current_function, {erl_eval, _, _}} <- [process_info(P, current_function)]]}."
    )
    return bool(left == ([], [], []))


def test_tables_come_back_as_they_were_saved_whatever_is_written_since(alone: Member) -> None:
    context = alone.node.run("backup")
    assert context.result.outcome == "backed up"
    assert nothing_left(alone)
    says = manifest.read(str(alone.node.backups / "run-1"))
    assert says["node"] == alone.vm.name
    assert says["mnesia"] == {
        "saved": "tables",
        "folder": f"mnesia/{alone.vm.name}",
        "tables": 5,
        "by_table": {
            "disc": {"storage": "disc_copies", "saved": "snapshot"},
            "disc_only": {"storage": "disc_only_copies", "saved": "snapshot"},
            "own": {"storage": "disc_copies", "saved": "snapshot"},
            "ram": {"storage": "ram_copies", "saved": "definition"},
            "schema": {"storage": "disc_copies", "saved": "snapshot"},
        },
    }
    assert [told["path"] for told in says["files"] if "mnesia" in told["path"].lower()] == [
        manifest.TABLES,
        "data/mnesia",
    ]
    assert alone.node.run("backup-verify").result.outcome == "verified"
    alone.eval("[mnesia:dirty_delete(disc, Key) || Key <- lists:seq(1, 50)], mnesia:dirty_write({own, 51, since}).")
    alone.lose_all()
    assert alone.start() == "ok"
    # Tables in RAM are empty after a restart, this one too.
    assert alone.eval(SIZES) == [50, 50, 50, 0]
    assert not (alone.folder / mnesia.FALLBACK).exists()


def test_a_schema_may_be_made_at_each_start(alone: Member) -> None:
    """As a release does that makes one where there is none: the tables to start from count as one."""
    alone.node.run("backup")
    alone.lose_all()
    made = alone.eval("mnesia:create_schema([node()]).")
    assert made == ("error", (alone.vm.name, ("already_exists", alone.vm.name)))
    assert alone.start() == "ok"
    assert alone.eval(SIZES) == [50, 50, 50, 0]


def test_a_start_that_is_cut_off_is_repeated(alone: Member) -> None:
    alone.node.run("backup")
    alone.lose_all()
    # What such a start leaves: some tables written, others not, and the file it started from.
    (alone.folder / "schema.DAT").write_bytes(b"half")
    (alone.folder / "disc.TMP").write_bytes(b"half")
    assert alone.start() == "ok"
    assert alone.eval(SIZES) == [50, 50, 50, 0]


def test_a_restored_node_rejoins_the_others_and_has_their_tables(cluster: tuple[Member, Member]) -> None:
    one, two = cluster
    one.node.run("backup")
    two.eval("[ok = mnesia:dirty_write({disc, Key, since}) || Key <- lists:seq(51, 60)].")
    one.lose_all()
    assert one.start() == "ok"
    assert one.eval(SIZES) == [60, 50, 50, 50]
    assert one.eval("mnesia:dirty_read(own, 1).") == [("own", 1, one.vm.name)]
    assert sorted(two.eval("mnesia:system_info(running_db_nodes).")) == sorted([one.vm.name, two.vm.name])


def test_all_nodes_of_a_cluster_restored_each_from_its_own_backup(cluster: tuple[Member, Member]) -> None:
    for each in cluster:
        each.node.run("backup")
    cluster[1].eval("[mnesia:dirty_delete(disc, Key) || Key <- lists:seq(1, 50)].")
    for each in cluster:
        each.eval("mnesia:stop().")
    for each in cluster:
        each.lose_all()
    assert [each.start() for each in cluster] == ["ok", "ok"]
    assert [each.eval(SIZES) for each in cluster] == [[50, 50, 50, 0], [50, 0, 7, 0]]


def test_a_node_is_backed_up_while_another_is_down(cluster: tuple[Member, Member]) -> None:
    one, two = cluster
    two.eval("mnesia:stop().")
    assert one.node.run("backup").result.outcome == "backed up"


def test_nothing_stays_in_the_vm_where_mnesia_can_not_save(alone: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "TABLES", "nowhere/mnesia.BUP")
    with pytest.raises(Failure) as caught:
        alone.node.run("backup")
    assert caught.value.err_type == "backup_failed"
    assert "enoent" in str(caught.value.detail)
    assert nothing_left(alone)
    assert [path.name for path in alone.node.backups.iterdir()] == ["lock"]


# --------------------------------------------------------------------------------- storage of others, and an owner


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the compiled storage of the lab."""
    folder = tmp_path_factory.mktemp("storage")
    source = PROJECT / "lab" / "release" / "apps" / "mria" / "src" / "mria_external_storage.erl"
    subprocess.run(["erlc", "-o", str(folder), str(source)], check=True)
    return folder


@pytest.fixture
def external(epmd: int, tmp_path: Path, storage: Path) -> Iterator[Member]:
    """A VM with tables of external storage besides."""
    with running_vm(epmd, tmp_path, "-pa", str(storage)) as vm:
        made = member(epmd, tmp_path / "root", vm)
        made.eval("ok = mnesia:create_schema([node()]).")
        made.start()
        made.eval(TABLES)
        made.eval(
            "true = mria_external_storage:register(),"
            "[{atomic, ok} = mnesia:create_table(Name, [{Storage, [node()]}])"
            " || {Name, Storage} <- [{kept, rocksdb_copies}, {passing, null_copies}]],"
            "[ok = mnesia:dirty_write({Table, Key, node()}) || Table <- [kept, passing], Key <- lists:seq(1, 1200)]."
        )
        yield made


WAITS = """
register(waits, spawn(fun() -> (fun Loop(Longest) ->
    Begun = erlang:monotonic_time(microsecond),
    {atomic, _} = mnesia:transaction(fun() -> mnesia:write({disc, 1, node()}), mnesia:write({kept, 1, node()}) end),
    Now = max(Longest, erlang:monotonic_time(microsecond) - Begun),
    receive {longest, From} -> From ! {longest, Now} after 1 -> Loop(Now) end
end)(0) end)).
"""


def test_tables_of_external_storage_are_saved_and_transactions_go_on(
    external: Member, capsys: pytest.CaptureFixture[str]
) -> None:
    external.eval(WAITS)
    external.node.run("backup")
    longest = external.eval(
        "waits ! {longest, self()}, receive {longest, Longest} -> Longest after 5000 -> frozen end."
    )
    with capsys.disabled():
        print(f"longest wait of a transaction during the backup: {longest / 1000:.1f} ms")
    assert longest < 5_000_000
    assert nothing_left(external)
    by_table = manifest.read(str(external.node.backups / "run-1"))["mnesia"]["by_table"]
    assert by_table["kept"] == {"storage": "rocksdb_copies", "saved": "rows"}
    assert by_table["passing"] == {"storage": "null_copies", "saved": "definition"}
    assert by_table["disc"]["saved"] == "snapshot"
    external.eval("[mnesia:dirty_delete(kept, Key) || Key <- lists:seq(1, 1200)].")
    external.lose_all()
    assert external.start() == "ok"
    assert external.eval(SIZES) == [50, 50, 50, 0]
    assert external.eval("ok = mnesia:wait_for_tables([kept, passing], 20000), mnesia:table_info(kept, size).") == 1200
    assert external.eval("mnesia:dirty_read(kept, 1200).") == [("kept", 1200, external.vm.name)]


def test_the_storage_of_the_lab_freezes_for_a_checkpoint_with_a_binary_for_a_name(external: Member) -> None:
    """What a backup must never do, so that the test above shows something."""
    external.eval(
        'spawn(fun() -> mnesia:activate_checkpoint([{name, <<"relup">>}, {min, [kept]}]) end),'
        "spawn(fun() -> timer:sleep(200), mnesia:transaction(fun() -> mnesia:write({disc, 1, x}) end),"
        " register(went_on, self()), timer:sleep(60000) end)."
    )
    assert not eventually(lambda: bool(external.eval("whereis(went_on).") != "undefined"), seconds=3)


@pytest.mark.parametrize("run", ["20261129-1200-ab<<c", "a b; rm -rf /", "x" * 40, "größe"])
def test_a_checkpoint_has_a_name_that_no_shell_minds(run: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_]+", mnesia.checkpoint_name(run))


def test_a_table_of_unknown_storage_is_no_part_of_a_whole_backup() -> None:
    with pytest.raises(Failure, match="odd_copies"):
        mnesia._tables([("odd", Atom("odd_copies"), Atom("undefined"), Atom("true"))])


NOWHERE = "/nowhere/tables"

HELD_UP = """
register(holder, spawn(fun() -> erlang:suspend_process(whereis(mnesia_tm)), receive go -> ok end end)),
timer:sleep(50).
"""


def test_a_checkpoint_is_taken_back_where_the_core_is_gone_before_mnesia_comes_to_it(
    external: Member, tmp_path: Path
) -> None:
    external.eval(HELD_UP)
    with external.vm.connected() as connection:
        # The connection ends, as it does with its process. What the owner does about silence has a test of its own.
        Agent(DistributionLink(connection), str(tmp_path)).save("relup_cut", ["schema", "disc"], (NOWHERE, []))
    external.eval("timer:sleep(1500), holder ! go.")
    assert eventually(lambda: nothing_left(external), seconds=60)
    assert external.eval("{atomic, ok} = mnesia:transaction(fun() -> mnesia:write({disc, 1, x}) end).")


def test_no_step_is_waited_for_without_end(external: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mnesia, "ACTIVATING", 1.0)
    external.eval(HELD_UP)
    external.eval("spawn(fun() -> timer:sleep(4000), holder ! go end).")
    with pytest.raises(Failure, match="made no progress for 1 s") as caught:
        external.node.run("backup")
    assert caught.value.err_type == "backup_failed"
    assert eventually(lambda: nothing_left(external), seconds=60)
    # A busy machine may need more than that.
    monkeypatch.undo()
    assert external.node.run("backup", "run-2").result.outcome == "backed up"


def test_storage_that_never_answers_freezes_nothing(external: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mnesia, "STILL", 2.0)
    # The file of the table is owned by a process that answers nobody any more.
    external.eval(
        "[Pid] = [P || P <- processes(), {dictionary, D} <- [process_info(P, dictionary)],"
        " lists:keyfind('$initial_call', 1, D) =:= {'$initial_call', {dets, init, 2}},"
        " lists:any(fun(T) -> dets:info(T, pid) =:= P end, [kept])],"
        "register(stopper, spawn(fun() -> erlang:suspend_process(Pid), receive go -> ok end end)), timer:sleep(50)."
    )
    with pytest.raises(Failure, match="made no progress for 2 s"):
        external.node.run("backup")
    assert external.eval("element(1, mnesia:transaction(fun() -> mnesia:write({disc, 1, x}) end)).") == "atomic"
    external.eval("stopper ! go.")
    assert eventually(lambda: nothing_left(external), seconds=60)


# ------------------------------------------------------------------------------------------------- states of Mnesia


def test_a_vm_whose_mnesia_is_stopped_is_refused(alone: Member) -> None:
    assert alone.eval("mnesia:stop().") == "stopped"
    assert alone.node.refused("backup") == ["mnesia_not_running"]
    assert alone.start() == "ok"
    assert alone.node.run("backup").result.outcome == "backed up"


def test_a_vm_whose_mnesia_is_starting_is_refused(alone: Member) -> None:
    alone.eval("mnesia:stop().")
    # It is starting for as long as its folder's log can't be opened: the process that opens it is held up.
    alone.eval(
        "register(holder, spawn(fun() -> erlang:suspend_process(whereis(disk_log_server)), receive go -> ok end end)),"
        "timer:sleep(50), spawn(fun() -> mnesia:start() end)."
    )
    assert eventually(lambda: bool(alone.eval("mnesia:system_info(is_running).") == "starting"))
    assert alone.eval("mnesia:system_info(is_running).") == "starting"
    assert alone.node.refused("backup") == ["mnesia_not_running"]
    alone.eval("holder ! go.")
    assert eventually(lambda: bool(alone.eval("mnesia:system_info(is_running).") == "yes"))


def test_a_vm_without_mnesia_is_copied_whole(vm: Vm, tmp_path: Path, connection: Connection) -> None:
    node = Node(tmp_path, find(None, vm.name))
    node.run("backup")
    says = manifest.read(str(node.backups / "run-1"))
    assert says["mnesia"]["saved"] == "files"
    assert [told for told in says["files"] if told["path"].endswith("schema.DAT")]


def test_a_mnesia_without_a_disk_is_copied_whole(epmd: int, tmp_path: Path) -> None:
    with running_vm(epmd, tmp_path) as vm:
        made = Member(vm, tmp_path / "root")
        made.eval("ok = application:load(mnesia), application:set_env(mnesia, schema_location, ram).")
        assert made.start() == "ok"
        made.node.run("backup")
        assert manifest.read(str(made.node.backups / "run-1"))["mnesia"]["saved"] == "files"


def test_a_mnesia_outside_the_data_folder_is_refused(alone: Member, tmp_path: Path) -> None:
    context = alone.node.context("backup")
    context.site.data_dir = str(tmp_path / "root" / "etc")
    with pytest.raises(Failure) as caught:
        commands.run(context)
    context.close()
    assert caught.value.err_type == "backup_failed"
