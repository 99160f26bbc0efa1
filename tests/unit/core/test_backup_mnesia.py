"""Tables out of real VMs, and into them again: alone, and beside others of a cluster."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from relup_remote.core import commands
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
    assert says["mnesia"] == {"saved": "tables", "folder": f"mnesia/{alone.vm.name}", "tables": 5}
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


def test_nothing_stays_in_the_vm_where_the_core_is_killed(alone: Member) -> None:
    context = alone.node.context("backup")
    assert isinstance(context.link, DistributionLink)
    context.agent.backup_module()
    name = b"relup_remote cut"
    with context.agent.undoing("mnesia", "deactivate_checkpoint", [name]):
        arguments = [[(Atom("name"), name), (Atom("min"), [Atom("disc")])]]
        assert context.link.call("mnesia", "activate_checkpoint", arguments)[0] == "ok"
        assert alone.eval("mnesia:system_info(checkpoints).") == [name]
        # The connection ends, as it does with its process.
        context.link.close()
        assert eventually(lambda: nothing_left(alone))


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
