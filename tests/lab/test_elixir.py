"""A release built with Elixir: its consolidated protocols are code of it, and no module left old is missed."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.cluster import Lab
from lab.release.sources import Traits
from tests.lab.cluster import BASE, FIRST, Tool, running_lab
from tests.lab.core import CATALOGUE, Core

PROTOCOL, NEW = "Elixir.Lab.Protocol", "Elixir.Lab.Protocol.Map"
SWAPPED = "code_changes => [{load_module, 'Elixir.Lab.Protocol.Map'}, {load_module, 'Elixir.Lab.Protocol'},"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Two nodes of such a release."""
    with running_lab(tmp_path_factory.mktemp("lab"), 2, traits=Traits(elixir=True)) as made:
        yield made


@pytest.fixture(scope="module")
def relup(lab: Lab) -> Tool:
    return Tool(lab.inventory_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalogue whose hop has the protocol as well."""
    folder = tmp_path_factory.mktemp("catalogue") / "whole"
    shutil.copytree(CATALOGUE, folder)
    hop = folder / f"{BASE}-to-{FIRST}.relup"
    hop.write_text(hop.read_text().replace("code_changes => [", SWAPPED, 1))
    return folder


def asked(lab: Lab, host: str) -> tuple[str, str]:
    """What the protocol makes of a map, and where its code is looked for."""
    found = f'code:where_is_file("{PROTOCOL}.beam")'
    return lab.eval(host, f"'{PROTOCOL}':impl_for(#{{}})"), lab.eval(host, found)


def test_such_a_node_runs_what_is_consolidated(lab: Lab, relup: Tool) -> None:
    for host in ("n1", "n2"):
        assert asked(lab, host) == ("nil", f'"{lab.root(host)}/releases/{BASE}/consolidated/{PROTOCOL}.beam"')
        assert lab.eval(host, "proplists:get_value(user, init:get_arguments())") == '["elixir"]'
    assert relup.run("verify", "--strict").status == 0


def test_a_hop_that_leaves_the_protocol_old_is_found_out(lab: Lab, relup: Tool) -> None:
    tarball = lab.tarball(FIRST)
    plan = relup.run("plan", "--tarball", str(tarball), "--host", "n1")
    assert plan.status == 0, plan.stdout
    [left] = [each for each in plan.row()["warnings"] if each["err_type"] == "not_covered"]
    assert left["detail"]["modules"] == [PROTOCOL, NEW]

    row = Core(relup, "n1").upgrade(tarball)
    assert row["outcome"] == "upgraded"
    tree = lab.root("n1") / "relup" / FIRST
    assert asked(lab, "n1") == ("nil", f'"{tree}/releases/{FIRST}/consolidated/{PROTOCOL}.beam"')
    for told in (row, relup.run("verify", "--host", "n1").row()):
        [warning] = [each for each in told["warnings"] if each["err_type"] == "code_left_old"]
        assert warning["detail"]["left"] == [PROTOCOL]
        assert warning["detail"]["unloaded"] == [NEW]
        assert "1 module runs other code than the tree's: " in warning["message"]
        assert told["facts"]["modules_left_old"] == 2
        assert told["facts"]["modules_checked"] > 800
    strict = relup.run("verify", "--strict", "--host", "n1")
    assert strict.status == 1
    assert strict.error()["err_type"] == "verify_failed"
    assert PROTOCOL in strict.error()["detail"]["signals"]["all code"]

    lab.stop_node("n1")
    lab.start_node("n1")
    assert asked(lab, "n1")[0] == "'Elixir.Lab.Protocol.Map'"
    assert relup.run("verify", "--strict", "--host", "n1").status == 0


def test_a_hop_that_has_it_is_whole(lab: Lab, relup: Tool, whole: Path) -> None:
    row = Core(relup, "n2").upgrade(lab.tarball(FIRST), whole)
    assert (row["outcome"], row["facts"]["modules_left_old"]) == ("upgraded", 0)
    # Nobody is connected.
    assert {each["err_type"] for each in row["warnings"]} == {"no_process"}
    tree = lab.root("n2") / "relup" / FIRST
    assert asked(lab, "n2") == (
        "'Elixir.Lab.Protocol.Map'", f'"{tree}/releases/{FIRST}/consolidated/{PROTOCOL}.beam"'
    )  # fmt: skip
    assert relup.run("verify", "--strict", "--host", "n2").status == 0
