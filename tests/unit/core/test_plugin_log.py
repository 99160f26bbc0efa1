"""The plugin's history table, in a VM with Mnesia."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from relup_remote.core.erlang.distribution import BadRpc, Connection
from relup_remote.core.erlang.link import CallFailed, DistributionLink
from relup_remote.core.erlang.term import Atom
from relup_remote.core.plugin_log import FIELDS, OURS, TABLE, PluginLog, run_of_ours

from .vm import eventually, running_vm


@pytest.fixture(scope="module")
def link(epmd: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DistributionLink]:
    """A link to a VM with Mnesia on disc, as a node has it."""
    database = tmp_path_factory.mktemp("mnesia")
    options = ("-mnesia", "dir", f'"{database}"')
    with running_vm(epmd, tmp_path_factory.mktemp("home"), *options) as vm, vm.connected() as connection:
        found = DistributionLink(connection)
        assert found.call("mnesia", "create_schema", [[Atom(vm.name)]]) == "ok"
        # A VM lets others in before its boot is over.
        assert eventually(lambda: bool(found.call("mnesia", "start", []) == "ok"))
        yield found


@pytest.fixture
def table(link: DistributionLink) -> Iterator[DistributionLink]:
    """The link, with the table in the VM for one test."""
    make(link)
    yield link
    link.call("mnesia", "delete_table", [TABLE])


def make(link: DistributionLink, **changes: Any) -> None:
    """Make the table as the plugin does, but for the `changes`."""
    options = {
        "type": Atom("ordered_set"),
        "disc_copies": [link.call("erlang", "node", [])],
        "local_content": True,
        "record_name": TABLE,
        "attributes": [Atom(name) for name in FIELDS],
        **changes,
    }
    made = link.call("mnesia", "create_table", [TABLE, [(Atom(name), value) for name, value in options.items()]])
    assert made == (Atom("atomic"), Atom("ok"))


def attempt(**facts: Any) -> dict[str, Any]:
    """A row of the journal."""
    row: dict[str, Any] = {
        "id": 1,
        "run": "run-1",
        "operator": "alice@desk",
        "started_at": 1_790_000_000_000,
        "finished_at": None,
        "from_vsn": "5.10.4",
        "target_vsn": "5.10.5",
        "options": {"tarball": "emqx-5.10.5.tar.gz", "force": True},
        "status": "in-progress",
        "result": None,
        "stage": None,
        "details": None,
        "extra": {},
        "source": "journal",
    }
    return {**row, **facts}


def failed(**facts: Any) -> dict[str, Any]:
    """A row of the journal that has ended badly."""
    ended = {"status": "finished", "finished_at": 1_790_000_005_000, "result": "sha256_mismatch", "stage": "checksum"}
    return attempt(**{**ended, "details": "It's “another” one.", **facts})


def read(link: DistributionLink, key: int) -> Any:
    return link.call("mnesia", "dirty_read", [TABLE, key])


def write(link: DistributionLink, *values: Any) -> None:
    """A row as someone else writes it."""
    assert link.call("mnesia", "dirty_write", [(TABLE, *values)]) == "ok"


def plugins_own(link: DistributionLink, started_at: int, status: str = "finished") -> None:
    """A row of the plugin's."""
    result = Atom("success") if status == "finished" else None
    finished_at = started_at + 9000 if status == "finished" else None
    options = {Atom("tarball"): "/tmp/emqx.tar.gz", Atom("force"): False}
    write(link, started_at, finished_at, b"5.10.3", b"5.10.4", options, Atom(status), result, {})


def test_a_row_is_written_as_the_plugin_would(table: DistributionLink) -> None:
    log = PluginLog(table)
    assert log.state == "ready"
    begun = attempt()
    log.write(begun)
    ours = {Atom("source"): b"relup_remote", Atom("run"): b"run-1", Atom("operator"): b"alice@desk"}
    options = {Atom("tarball"): b"emqx-5.10.5.tar.gz", Atom("force"): Atom("true")}
    at, undefined = begun["started_at"], Atom("undefined")
    assert read(table, at) == [
        (TABLE, at, undefined, b"5.10.4", b"5.10.5", options, Atom("in-progress"), undefined, ours)
    ]
    log.write(failed())
    result = {Atom("err_type"): Atom("sha256_mismatch"), Atom("details"): "It's “another” one.".encode()}
    ended = {**ours, Atom("stage"): b"checksum"}
    assert read(table, at) == [(TABLE, at, at + 5000, b"5.10.4", b"5.10.5", options, Atom("finished"), result, ended)]
    log.write(failed(result="success", stage=None, details=None))
    ((*_rest, status, result, extra),) = read(table, at)
    assert (status, result, extra) == ("finished", Atom("success"), ours)
    assert len(log.rows()) == 1


def test_what_is_not_known(table: DistributionLink) -> None:
    PluginLog(table).write(attempt(from_vsn=None, target_vsn=None, options={"rollback": True, "purge": False}))
    ((_, _, _, from_vsn, target_vsn, options, *_rest),) = read(table, attempt()["started_at"])
    assert (from_vsn, target_vsn) == (b"", "undefined")
    assert options == {Atom("tarball"): b"", Atom("force"): Atom("false"), Atom("rollback"): Atom("true")}


def test_a_moment_that_is_taken(table: DistributionLink) -> None:
    """The next free one is ours, and stays it."""
    at = attempt()["started_at"]
    for taken in (at, at + 1, at + 3):
        plugins_own(table, taken)
    log = PluginLog(table)
    log.write(attempt())
    log.write(failed())
    assert [(row["started_at"] - at, row["run"]) for row in log.rows()] == [
        (0, None),
        (1, None),
        (2, "run-1"),
        (3, None),
    ]
    # Another of ours that began with it goes further.
    log.write(attempt(run="run-2"))
    assert [row["started_at"] - at for row in log.rows() if run_of_ours(row) == "run-2"] == [4]
    assert log.rows()[2]["result"] == "sha256_mismatch"


def test_rows_are_as_the_journal_has_them(table: DistributionLink) -> None:
    plugins_own(table, 5)
    PluginLog(table).write(failed())
    plugin, ours = PluginLog(table).rows()
    assert plugin == {
        "started_at": 5,
        "finished_at": 9005,
        "from_vsn": "5.10.3",
        "target_vsn": "5.10.4",
        "options": {"tarball": "/tmp/emqx.tar.gz", "force": False},
        "status": "finished",
        "result": "success",
        "details": None,
        "stage": None,
        "run": None,
        "operator": None,
        "extra": {},
        "source": "plugin",
    }
    wanted = {**failed(), "source": "plugin", "extra": ours["extra"]}
    del wanted["id"]
    assert ours == wanted
    assert (run_of_ours(plugin), run_of_ours(ours)) == (None, "run-1")
    assert ours["extra"] == {"source": OURS, "run": "run-1", "operator": "alice@desk", "stage": "checksum"}


def test_anything_may_be_in_a_row(table: DistributionLink) -> None:
    pid = table.call("erlang", "whereis", [Atom("init")])
    write(table, 1, Atom("never"), [1, 2], (Atom("a"), pid), [], Atom("odd"), {Atom("err_type"): 3}, [Atom("x")])
    write(table, 2, 1 << 80, "5.10.4", Atom("undefined"), Atom("none"), b"\xff", (Atom("error"), "why"), pid)
    write(table, Atom("key"), 0, b"", b"", {}, Atom("finished"), Atom("success"), {})
    write(table, 1 << 70, 0, b"", b"", {}, Atom("finished"), Atom("success"), {})
    first, second = PluginLog(table).rows()
    assert (first["from_vsn"], first["target_vsn"], first["result"]) == ("[1, 2]", "{a,<pid>}", "3")
    assert (first["finished_at"], first["options"], first["extra"]) == (None, {"upgrade_opts": []}, {"extra": ["x"]})
    assert (second["from_vsn"], second["result"], second["finished_at"]) == ("5.10.4", '{error,"why"}', None)
    assert run_of_ours(first) is run_of_ours(second) is None


def test_clearing_keeps_what_is_under_way(table: DistributionLink) -> None:
    for moment in (1, 2, 3):
        plugins_own(table, moment, "in-progress" if moment == 2 else "finished")
    log = PluginLog(table)
    log.write(failed())
    assert log.clear() == 3
    assert [row["started_at"] for row in log.rows()] == [2]
    assert log.clear() == 0


def test_no_atom_is_made_of_what_comes_from_outside(table: DistributionLink) -> None:
    word = "zzz_nobody_has_this_atom"
    odd = {"run": word, "operator": word, "details": word, "stage": word, "from_vsn": word, "result": word}
    PluginLog(table).write(failed(**odd, options={"tarball": word, "force": False}))
    with pytest.raises(CallFailed):
        table.call("erlang", "binary_to_existing_atom", [word.encode()])
    assert PluginLog(table).rows()[0]["result"] == "internal_error"


@pytest.mark.parametrize(
    "changes",
    [
        {"attributes": [Atom("started_at"), Atom("result")]},
        {"attributes": [Atom(name) for name in reversed(FIELDS)]},
        {"local_content": False},
        {"record_name": Atom("other")},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_table_of_another_shape_is_left_alone(link: DistributionLink, changes: dict[str, Any]) -> None:
    make(link, **changes)
    try:
        log = PluginLog(link)
        assert log.state == "other"
        log.write(attempt())
        assert (log.rows(), log.clear()) == ([], 0)
        assert link.call("mnesia", "table_info", [TABLE, Atom("size")]) == 0
    finally:
        link.call("mnesia", "delete_table", [TABLE])


def nothing_there(link: DistributionLink) -> None:
    log = PluginLog(link)
    assert log.state == "absent"
    log.write(attempt())
    assert (log.rows(), log.clear()) == ([], 0)


def test_no_table_is_no_error(link: DistributionLink) -> None:
    nothing_there(link)


def test_mnesia_that_is_stopped_is_no_error(table: DistributionLink) -> None:
    PluginLog(table).write(failed())
    assert table.call("mnesia", "stop", []) == "stopped"
    try:
        nothing_there(table)
    finally:
        table.call("mnesia", "start", [])
        table.call("mnesia", "wait_for_tables", [[TABLE], 10_000])
    assert [row["run"] for row in PluginLog(table).rows()] == ["run-1"]


def test_a_vm_without_mnesia_is_no_error(connection: Connection) -> None:
    with pytest.raises(BadRpc):
        connection.call("mnesia", "table_info", [TABLE, Atom("all")])
    nothing_there(DistributionLink(connection))


def test_a_table_of_which_the_node_has_no_copy_is_none(table: DistributionLink, epmd: int, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    cookie = str(table.call("erlang", "get_cookie", []))
    with running_vm(epmd, home) as other, other.connected() as connection:
        joining = DistributionLink(connection)
        joining.call("erlang", "set_cookie", [Atom(table.call("erlang", "node", [])), Atom(cookie)])
        # A VM lets others in before its boot is over.
        assert eventually(lambda: bool(joining.call("mnesia", "start", []) == "ok"))
        seed = [Atom(table.call("erlang", "node", []))]
        joined = joining.call("mnesia", "change_config", [Atom("extra_db_nodes"), seed])
        assert joined[0] == "ok", joined
        assert joining.call("mnesia", "table_info", [TABLE, Atom("storage_type")]) == "unknown"
        nothing_there(joining)
        assert joining.call("mnesia", "stop", []) == "stopped"
    assert table.call("mnesia", "del_table_copy", [Atom("schema"), Atom(other.name)])[0] == "atomic"
