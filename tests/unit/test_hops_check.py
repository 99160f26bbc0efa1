"""Checking a hop without a node: a right one is clean, and every defect is named, at its line, and nothing else."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relup_remote.hops.catalogue import Helper
from relup_remote.hops.check import CHECK_ERRORS, Finding, check_text, is_failed, specs
from relup_remote.hops.check.helpers import HelperFacts, facts_of
from relup_remote.hops.check.sarif import log
from relup_remote.hops.compare import Difference, Function
from tests.points import examples

from .hop_defects import DEFECTS, app, both, text
from .hop_releases import HELPER, HOP, Beams, Edit, difference


@pytest.fixture(scope="module")
def right(beams: Beams, tmp_path_factory: pytest.TempPathFactory) -> list[Finding]:
    """What is found of the hop that is right."""
    return check_text("a.relup", HOP, difference(tmp_path_factory.mktemp("releases"), beams), [HELPER])


def test_a_hop_that_is_right(right: list[Finding]) -> None:
    assert [(found.severity, found.err_type, found.line, found.n) for found in right] == [
        ("note", "used_after_restart", 9, 5)
    ]


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_named_at_its_line(name: str, beams: Beams, right: list[Finding], tmp_path: Path) -> None:
    defect = DEFECTS[name]
    changed = difference(tmp_path, beams, defect.old(beams), defect.new(beams))
    found = check_text("a.relup", defect.text(HOP), changed, defect.helpers)
    assert [(each.err_type, each.line) for each in found if each.severity == "error"] == (
        [(defect.err_type, defect.line(HOP))] if defect.severity == "error" else []
    )
    assert (defect.severity, defect.err_type, defect.line(HOP)) in [
        (each.severity, each.err_type, each.line) for each in found
    ]


def test_whatever_a_check_can_find_is_tried() -> None:
    assert set(CHECK_ERRORS) <= {defect.err_type for defect in DEFECTS.values()}
    assert {defect.err_type for defect in DEFECTS.values()} <= set(specs())


def test_what_is_left_out_is_counted_and_listed_by_application(beams: Beams, tmp_path: Path) -> None:
    hop = HOP.replace("{load_module, demo_lib},\n      ", "").replace("{restart_application, extra},\n      ", "")
    (found,) = [
        each for each in check_text("a", hop, difference(tmp_path, beams), [HELPER]) if each.severity == "warning"
    ]
    assert (found.err_type, found.n) == ("not_covered", None)
    assert (
        found.message
        == "The hop leaves out 3 modules of the target that changed: demo: demo_lib; extra: extra, extra_coming."
    )
    assert found.detail == {
        "count": 3,
        "modules": ["demo_lib", "extra", "extra_coming"],
        "called_by_the_hop": ["demo_lib"],
        "applications": {"demo": 1, "extra": 2},
    }


def test_nothing_is_guessed_of_what_only_a_node_can_tell(beams: Beams, tmp_path: Path) -> None:
    unknown = "[{load_module, list_to_atom(Name)} || Name <- os:cmd(names)]"
    hop = f"""#{{from_version => "1.0", target_version => "1.1",
  code_changes => [{{load_module, demo_api}}, {{update, demo_worker, {{advanced, []}}}}] ++
    {unknown} ++
    [{{apply, extra_coming, f, []}}, {{apply, some_module, f, []}}]}}."""
    found = check_text("a", hop, difference(tmp_path, beams), [])
    assert [(each.severity, each.err_type, each.line) for each in found] == [
        ("note", "not_covered", 2),
        ("note", "only_the_node_can_tell", 3),
        ("warning", "hop_call_not_allowed", 3),
        ("warning", "hop_call_not_allowed", 3),
    ]
    assert unknown in found[1].message
    assert [each.message.split()[3] for each in found[2:]] == ["erlang:list_to_atom/1.", "os:cmd/1."]
    assert found[0].message.startswith("The hop leaves out 4 modules of the target that changed (unless it loads them")


def test_what_is_in_one_swap_comes_at_once(beams: Beams, tmp_path: Path) -> None:
    hop = HOP.replace("{load_module, demo_lib},", "{load_module, demo_api},", 1)
    hop = hop.replace("{load_module, demo_api},\n      {update", "{load_module, demo_lib},\n      {update")
    assert hop != HOP
    found = check_text("a", hop, difference(tmp_path, beams), [HELPER])
    assert [each.err_type for each in found] == ["used_after_restart"]


def test_a_module_that_moves_to_another_application_stays(beams: Beams, tmp_path: Path) -> None:
    moved = both(
        lambda beams: Edit({"lib/demo-1/ebin/extra_past.beam": beams.of("old", "extra_past")}),
        text("lib/demo-1/ebin/demo.app", "demo_sup", "demo_sup, extra_past"),
    )
    hop = HOP.replace("{apply, extra, ready, []}", "{apply, extra_past, f, []}")
    assert check_text("a", hop, difference(tmp_path, beams, new=moved(beams)), [HELPER]) == []


def test_an_application_may_be_restarted_again_for_another(beams: Beams, tmp_path: Path) -> None:
    fresh = both(app("fresh"), text("lib/extra-2/ebin/extra.app", "kernel, demo", "kernel, demo, fresh"))
    restart = "{restart_application, extra}"
    hop = HOP.replace(restart, f"{{restart_application, fresh}}, {restart}, {{restart_application, fresh}}")
    found = check_text("a", hop, difference(tmp_path, beams, new=fresh(beams)), [HELPER])
    assert [each.err_type for each in found] == ["used_after_restart"]


@pytest.mark.parametrize(("strict", "expected"), [(False, False), (True, True)])
def test_warnings_count_only_if_they_are_to(strict: bool, expected: bool) -> None:
    warned = Finding("load_order", "warning", "", 1, 1)
    assert is_failed([warned], strict=strict) is expected
    assert is_failed([warned, Finding("malformed_hop", "error", "", 1, 1)], strict=strict)
    assert not is_failed([Finding("unchanged_module", "note", "", 1, 1)], strict=strict)


@pytest.mark.parametrize(
    ("source", "module", "exports"),
    [
        ("-module(a).\n-export([f/0, 'G'/12]).\n-export([h/1]).\nf() -> -1.", "a", {("f", 0), ("G", 12), ("h", 1)}),
        ("-module(a).\n-compile([export_all]).\n", "a", None),
        ("-module('a.b').\n-spec f() -> ok.\nf() -> ?MODULE.", "a.b", set()),
        ("-module().\n-export([]).", None, set()),
        ("f() -> ok.", None, set()),
    ],
)
def test_what_a_helper_exports(source: str, module: str | None, exports: set[Function] | None) -> None:
    assert facts_of(Helper("x.erl", source)) == HelperFacts(
        "x", module, None if exports is None else frozenset(exports)
    )


def test_sarif_names_file_line_and_rule(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    findings = [
        Finding("load_order", "warning", "One.", 3, 7, 2, {"count": 1}),
        Finding("malformed_hop", "error", "Two.", 1, 1),
        Finding("load_order", "warning", "Three.", 5, 7, 4),
    ]
    (run,) = log(Path("hops/größe 1.relup"), findings)["runs"]
    driver = run["tool"]["driver"]
    assert [rule["id"] for rule in driver["rules"]] == ["load_order", "malformed_hop"]
    assert all(rule["shortDescription"]["text"] and rule["help"]["text"] for rule in driver["rules"])
    assert [(result["ruleId"], result["ruleIndex"], result["level"]) for result in run["results"]] == [
        ("load_order", 0, "warning"),
        ("malformed_hop", 1, "error"),
        ("load_order", 0, "warning"),
    ]
    first = run["results"][0]
    assert first["locations"] == [
        {
            "physicalLocation": {
                "artifactLocation": {"uri": "hops/gr%C3%B6%C3%9Fe%201.relup"},
                "region": {"startLine": 3, "startColumn": 7},
            }
        }
    ]
    assert (first["message"], first["properties"]) == ({"text": "One."}, {"instruction": 2, "detail": {"count": 1}})


def test_sarif_names_a_file_elsewhere_in_full(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (result,) = log(Path("/hops/a.relup"), [Finding("load_order", "note", "", 1, 1)])["runs"][0]["results"]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"] == {"uri": "file:///hops/a.relup"}


def test_a_helper_that_is_no_erlang_says_where() -> None:
    found = facts_of(Helper("x.erl", '-module(x).\nf() -> "unclosed.'))
    assert (found.module, found.exports) == (None, None)
    assert found.error is not None
    assert found.error.startswith("line 2, column 8: ")


ATOMS = st.sampled_from(
    ["demo_lib", "demo_api", "demo_worker", "extra", "extra_past", "emqx_release", "nobody", "node()"]
)
TERMS = st.sampled_from(["[]", "{advanced, []}", "none", "[1]", "[node()]", "X", '"text"', "#{}", "[a | b]"])
INSTRUCTIONS = st.one_of(
    st.builds("{{load_module, {}}}".format, ATOMS),
    st.builds("{{update, {}, {}}}".format, ATOMS, TERMS),
    st.builds("{{restart_application, {}}}".format, ATOMS),
    st.builds("{{apply, {}, {}, {}}}".format, ATOMS, ATOMS, TERMS),
    ATOMS,
    TERMS,
)
LISTS = st.builds(
    "{}".format, st.one_of(TERMS, st.lists(INSTRUCTIONS, max_size=6).map(lambda items: f"[{', '.join(items)}]"))
)


@pytest.fixture(scope="module")
def releases(beams: Beams, tmp_path_factory: pytest.TempPathFactory) -> Difference:
    """What the two releases differ in."""
    return difference(tmp_path_factory.mktemp("plain"), beams)


@settings(max_examples=examples(300), deadline=None)
@given(LISTS, LISTS)
def test_any_hop_is_judged(releases: Difference, changes: str, callbacks: str) -> None:
    versions = 'X = node(),\n#{from_version => "1.0", target_version => "1.1"'
    hop = f"{versions},\ncode_changes => {changes},\npost_upgrade_callbacks => {callbacks}}}."
    found = check_text("a", hop, releases, [HELPER])
    assert [(each.line, each.column) for each in found] == sorted((each.line, each.column) for each in found)
    for each in found:
        assert each.spec.hint
        assert each.n is None or each.n > 0
