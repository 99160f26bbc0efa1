"""Sessions that last and retained messages are on disk: there after an upgrade, restarts, and a rollback."""

from pathlib import Path

import pytest

from lab.cluster import Lab
from lab.durable import Estate, device
from tests.lab.cluster import FIRST, Tool, until

KINDS = {"emqx_session": "disc_copies", "emqx_last_seen": "rocksdb_copies", "emqx_passing": "null_copies"}


def test_state_of_clients_outlives_upgrade_restart_and_rollback(
    lab: Lab, relup: Tool, spare: str, tarball: Path
) -> None:
    port = lab.mqtt_port(spare)
    estate = Estate("durable")
    estate.leave(port)
    upgraded = relup.run("upgrade", "--host", spare, "--tarball", str(tarball), "--yes")
    assert upgraded.status == 0, upgraded.stdout
    estate.check(port, rejoin=True)
    lab.stop_node(spare)
    lab.start_node(spare)
    estate.check(port, rejoin=True)
    assert relup.run("verify", "--host", spare, "--target", FIRST).status == 0
    rolled = relup.run("rollback", "--host", spare, "--yes")
    assert rolled.status == 0, rolled.stdout
    estate.check(port)


def test_a_clean_session_leaves_nothing(lab: Lab) -> None:
    port = lab.mqtt_port("n2")
    with device(port, "fleeting", clean=True) as client:
        client.subscribe("fleeting/#")
    with device(port, "fleeting") as client:
        assert not client.was_known
    with device(port, "fleeting") as client:
        assert client.was_known
    with device(port, "fleeting", clean=True) as client:
        assert not client.was_known


@pytest.mark.parametrize("table", KINDS)
def test_tables_are_of_the_kinds_that_a_real_node_has(lab: Lab, table: str) -> None:
    seen = f"[N || N <- mnesia:system_info(local_tables), N =:= {table}]"
    for host in lab.hosts:
        until(f"{host} has {table}", lambda host=host: lab.eval(host, seen) == f"[{table}]")  # type: ignore[misc]
        assert KINDS[table] in lab.eval(host, f"mnesia:table_info({table}, storage_type)")
