"""Which applications run once a node has booted, where EMQX's own are of type load and started by emqx_machine."""

from pathlib import Path

import pytest

from relup_remote.hops.check import Finding, check_text
from relup_remote.hops.compare import read_release

from .hop_defects import text
from .hop_releases import HELPER, HOP, Beams, Edit, difference, write

REL = "releases/{}/emqx.rel"
LISTS = """%% -*- mode: erlang; -*-
#{db_apps => [ghost], system_apps => [{os_mon, load}, driver],
  %% of type `load'
  common_business_apps => [emqx, demo, other],
  ee_business_apps => [extra, fresh]}.
"""


def app(name: str, keys: str = "") -> dict[str, bytes]:
    """The .app file of an application that has something to start."""
    return {f"lib/{name}-1/ebin/{name}.app": f"{{application, {name}, [{{mod, {{{name}, []}}}}{keys}]}}.".encode()}


def machine(version: str, *more: str, lists: str | None = LISTS) -> Edit:
    """A release in which the applications are of type load, the `more` among them, and the machine starts them."""
    files = app("emqx_machine") | {name: data for each in more for name, data in app(each).items()}
    if lists is not None:
        files["lib/emqx_machine-1/priv/reboot_lists.eterm"] = lists.encode()
    loaded = "".join(f', {{{name}, "1", load}}' for name in more)
    ours = r'\g<1>, load}, {demo, "1", load}, {extra, "\g<2>", load}'
    rel = f'{ours}, {{kernel, "1"}}, {{stdlib, "1"}}, {{emqx_machine, "1"}}{loaded}]}}.'
    return Edit(dict(files), {REL.format(version): (r'({emqx, "1").*"(\d)"}.*\.$', rel)})


def checked(beams: Beams, folder: Path, old: Edit, new: Edit, hop: str = HOP) -> list[Finding]:
    return [
        found
        for found in check_text("a.relup", hop, difference(folder, beams, old, new), [HELPER])
        if found.err_type != "used_after_restart"
    ]


def test_what_the_machine_starts_runs(beams: Beams, tmp_path: Path) -> None:
    release = machine("1.0", "driver", "library")
    found = read_release(write(tmp_path, "old", release.of(beams.files("old"))))
    assert {name: (each.started, each.runs) for name, each in found.apps.items()} == {
        "emqx": ("load", True),
        "demo": ("load", True),
        "extra": ("load", True),
        "kernel": ("permanent", True),
        "stdlib": ("permanent", True),
        "emqx_machine": ("permanent", True),
        # The list of system applications is not one that it starts; a connector may.
        "driver": ("load", None),
        "library": ("load", None),
    }


@pytest.mark.parametrize("lists", [None, "none of this", "{a, b}.", "#{db_apps => none}."])
def test_without_its_lists_only_a_node_can_tell(lists: str | None, beams: Beams, tmp_path: Path) -> None:
    found = read_release(write(tmp_path, "old", machine("1.0", lists=lists).of(beams.files("old"))))
    assert {each.runs for name, each in found.apps.items() if each.started == "load"} == {None}


def test_without_a_machine_nobody_starts_them(beams: Beams, tmp_path: Path) -> None:
    edit = Edit(texts={REL.format("1.0"): (r'{extra, "1"}', '{extra, "1", load}')})
    found = read_release(write(tmp_path, "old", edit.of(beams.files("old"))))
    assert (found.apps["extra"].runs, found.apps["demo"].runs) == (False, True)


def test_a_right_hop_between_such_releases_is_right(beams: Beams, tmp_path: Path) -> None:
    assert checked(beams, tmp_path, machine("1.0"), machine("1.1")) == []


def test_a_dependency_of_which_only_a_node_can_tell_is_no_error(beams: Beams, tmp_path: Path) -> None:
    needs = {"lib/extra-2/ebin/extra.app": ("kernel, demo", "kernel, demo, driver")}
    target = machine("1.1", "driver")
    (found,) = checked(beams, tmp_path, machine("1.0", "driver"), Edit(target.files, {**target.texts, **needs}))
    assert (found.severity, found.err_type) == ("note", "only_the_node_can_tell")
    assert found.message == "extra needs driver. Only a node can tell whether that runs."


def test_a_new_application_of_type_load_is_not_missed(beams: Beams, tmp_path: Path) -> None:
    (found,) = checked(beams, tmp_path, machine("1.0"), machine("1.1", "fresh"))
    assert (found.severity, found.err_type) == ("warning", "app_added")
    assert found.message == "fresh is new, and the hop does not start it."


def test_nor_is_one_that_no_list_names(beams: Beams, tmp_path: Path) -> None:
    (found,) = checked(beams, tmp_path, machine("1.0"), machine("1.1", "driver"))
    assert (found.severity, found.err_type) == ("note", "app_added")


def test_the_modules_of_a_new_library_are_loaded_by_nobody_else(beams: Beams, tmp_path: Path) -> None:
    target = machine("1.1", "library")
    spec = b"{application, library, [{modules, [demo_more, demo_server]}]}."
    files = {
        "lib/library-1/ebin/library.app": spec,
        "lib/library-1/ebin/demo_more.beam": beams.of("other", "demo_more"),
        "lib/library-1/ebin/demo_server.beam": beams.of("other", "demo_server"),
    }
    with_library = Edit({**target.files, **files}, target.texts)
    hop = HOP.replace("[\n      {load_module, demo_lib}", "[\n      {load_module, demo_more}, {load_module, demo_lib}")
    (found,) = checked(beams, tmp_path, machine("1.0"), with_library, hop)
    assert (found.severity, found.err_type) == ("warning", "app_added")
    assert found.message == "library is new, and the hop does not load 1 of its 2 modules: demo_server."
    assert found.detail == {"count": 1, "modules": ["demo_server"]}


def test_a_dependency_that_runs_anyway_is_no_finding(beams: Beams, tmp_path: Path) -> None:
    needs = text("lib/demo-1/ebin/demo.app", "kernel, stdlib", "kernel, stdlib, extra, emqx")(beams)
    assert checked(beams, tmp_path, Edit(), needs) == []


def test_a_library_that_is_gone_does_not_go_on_running(beams: Beams, tmp_path: Path) -> None:
    library = {"lib/library-1/ebin/library.app": b"{application, library, []}."}
    rel = {REL.format("1.0"): (r"\}\]\}\.", '}, {library, "1"}]}.')}
    assert checked(beams, tmp_path, Edit(library, rel), Edit()) == []
