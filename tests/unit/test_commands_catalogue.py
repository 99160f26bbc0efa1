"""`paths` and `hop.show`: the catalogue as an operator meets it."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from .test_commands import relup, wrong

HOPS = {
    "a": '#{from_version => "1.0", target_version => "1.1", code_changes => []}.',
    "b": '#{from_version => "1.1", target_version => "1.2", code_changes => [{load_module, emqx_post_upgrade_1.9}]}.',
    "c": """\
Wait = fun(Time) -> [{apply, tools, wait, [node(), Time]}] end,
#{from_version => "1.0",
  target_version => "1.2",
  code_changes => [{load_module, emqx}, {update, emqx_metrics, {advanced, []}}, {restart_application, emqx_dashboard}]
    ++ Wait(5) ++ tools:more() ++ [{load_module, emqx_release}, {update, me}],
  post_upgrade_callbacks => [settle, {check, ['a b', "c"]}, {check, tools:arguments()}]}.
""",
}


@pytest.fixture
def catalogue(tmp_path: Path) -> str:
    """A folder with three hops and their helpers."""
    for name, text in HOPS.items():
        (tmp_path / f"{name}.relup").write_text(text.replace("emqx_post_upgrade_1.9", "'emqx_post_upgrade_1.9'"))
    (tmp_path / "tools.erl").write_text("-module(tools).")
    (tmp_path / "emqx_post_upgrade_1.2.erl").write_text("-module('emqx_post_upgrade_1.2').")
    return str(tmp_path)


IN_WORDS = """\
1.0 -> 1.2  (c.relup)

code changes:
    1  line 4     load emqx
    2  line 4     update emqx_metrics: its processes are suspended and change their state with []
    3  line 4     restart the application emqx_dashboard
    4  line 1     call tools:wait(‹node()›, 5) (helper)
       line 5     any number of instructions, as said by ‹tools:more()›
       line 5     load emqx_release
       line 5     not understood: {update, me} (it has to be {update, Module, {advanced, Extra}})

callbacks, in 'emqx_post_upgrade_1.2':
       line 6     call 'emqx_post_upgrade_1.2':settle("1.0")
       line 6     call 'emqx_post_upgrade_1.2':check("1.0", 'a b', "c")
       line 6     call 'emqx_post_upgrade_1.2':check("1.0", ‹tools:arguments()›...)

helper modules, compiled for the hop and removed after it:
  emqx_post_upgrade_1.2.erl
  tools.erl

‹...› is known only to a node. It evaluates the file when it plans and when it upgrades.
"""


def test_a_hop_in_plain_words(catalogue: str) -> None:
    ended = relup("hop.show", "1.0", "1.2", "--catalogue", catalogue)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == IN_WORDS


def test_a_hop_that_is_written_down_leaves_nothing_to_the_node(catalogue: str) -> None:
    ended = relup("hop.show", "1.0", "1.1", "--catalogue", catalogue)
    assert ended.stdout == "1.0 -> 1.1  (a.relup)\n\ncode changes:\n  none\n"


def test_a_hop_as_json(catalogue: str) -> None:
    document = json.loads(relup("hop.show", "1.0", "1.2", "--catalogue", catalogue, "--json").stdout)
    assert [change["kind"] for change in document["changes"]] == [
        *("load_module", "update", "restart_application", "apply", "any number", "load_module", "unknown")
    ]
    assert [change["n"] for change in document["changes"]] == [1, 2, 3, 4, None, None, None]
    assert [change["dynamic"] for change in document["changes"]] == [False, False, False, True, True, False, False]
    called = document["changes"][3]
    assert (called["name"], called["function"], called["arity"], called["helper"]) == ("tools", "wait", 2, True)
    assert [callback["arity"] for callback in document["callbacks"]] == [1, 3, None]
    assert document["callback_module"] == "emqx_post_upgrade_1.2"
    assert document["helpers"] == ["emqx_post_upgrade_1.2.erl", "tools.erl"]
    assert (document["ok"], document["script"]) == (True, True)


def test_a_hop_that_is_not_there(catalogue: str) -> None:
    assert "hop.show: " in (said := wrong(relup("hop.show", "1.2", "1.0", "--catalogue", catalogue)))
    assert "1.2 -> 1.0: there is no such hop" in said
    assert "hop.show: TARGET is missing (`relup --help hop.show` shows how to call it.)" in wrong(
        relup("hop.show", "1.2")
    )


def test_what_can_be_reached(catalogue: str) -> None:
    words = ["paths", "--catalogue", catalogue, "--from", "1.0"]
    assert relup(*words).stdout.splitlines()[:3] == ["1.0 -> 1.1", "1.0 -> 1.2", "1.0 -> 1.1 -> 1.2"]
    document = json.loads(relup(*words, "--json").stdout)
    assert document["chains"] == [["1.0", "1.1"], ["1.0", "1.2"], ["1.0", "1.1", "1.2"]]
    assert document["reachable"] == [{"target": "1.1", "hops": 1}, {"target": "1.2", "hops": 1}]
    assert relup("paths", "--catalogue", catalogue, "--from", "1.2").stdout.startswith("no hop leads from 1.2\n")


def test_the_graph(catalogue: str) -> None:
    words = ["paths", "--catalogue", catalogue, "--graph"]
    drawn = "1.0\n├─> 1.1\n│   └─> 1.2\n└─> 1.2\n"
    assert relup(*words).stdout == relup(*words, "text").stdout == drawn
    assert relup(*words, "mermaid", "--from", "1.1").stdout.startswith("flowchart LR\n")
    assert ET.fromstring(relup(*words, "svg").stdout).tag.endswith("svg")
    assert json.loads(relup(*words, "--json").stdout)["graph"] == drawn.rstrip()
    assert "--graph must be text, mermaid or svg, not 'png'" in wrong(relup(*words, "png"))


def test_strict_says_by_the_exit_status_that_something_is_wrong(catalogue: str) -> None:
    words = ["paths", "--catalogue", catalogue]
    assert "helper modules that are missing:\n  b.relup: line 1, column" in relup(*words).stdout
    assert relup(*words).returncode == 0
    ended = relup(*words, "--strict", "--json")
    document = json.loads(ended.stdout)
    assert (ended.returncode, document["ok"]) == (1, False)
    assert [mention["module"] for mention in document["missing"]] == ["emqx_post_upgrade_1.9"]
    (Path(catalogue) / "b.relup").write_text("{")
    assert relup(*words, "--strict").returncode == 1
    (Path(catalogue) / "b.relup").unlink()
    assert relup(*words, "--strict").returncode == 0
    (Path(catalogue) / "tool.erl").write_text("-module(tool).")
    assert relup(*words, "--strict").returncode == 1


def test_the_projects_own_catalogue_is_in_order() -> None:
    assert relup("paths", "--strict").returncode == 0


def test_of_two_catalogues_each_file_is_told_with_its_own(catalogue: str, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "a.relup").write_text(HOPS["a"].replace("[]", "[{load_module, emqx}]"))
    both = f"{mine}:{catalogue}"
    listed = relup("paths", "--catalogue", both).stdout
    assert listed.startswith(
        f"1.0 -> 1.1  {mine}/a.relup\n1.1 -> 1.2  {catalogue}/b.relup\n1.0 -> 1.2  {catalogue}/c.relup"
    )
    assert f"not used, because a catalogue before it has another one:\n  {catalogue}/a.relup: {mine}\n" in listed
    document = json.loads(relup("paths", "--catalogue", both, "--json").stdout)
    assert document["catalogue"] == both
    assert document["overridden"] == [{"file": "a.relup", "catalogue": catalogue, "by": str(mine)}]
    assert relup("hop.show", "1.0", "1.1", "--catalogue", both).stdout.count("load emqx") == 1
