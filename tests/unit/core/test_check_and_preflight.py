"""The check of a hop without a node finds what a node's preflight finds: the same errors, of the same instructions."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.release import otp
from relup_remote.core.erlang.term import Atom
from relup_remote.hops.catalogue import Helper
from relup_remote.hops.check import check_text
from relup_remote.hops.compare import Difference, read_release

from .demo import FROM, TARGET, Demo, running_demo
from .lent import Vms

HOPS: dict[str, tuple[str, str]] = {
    "right": ("{load_module, emqx_release}, {update, demo_worker, {advanced, []}}, {apply, demo_calls, value, []}", ""),
    "misspelt module": (
        "{load_module, emqx_release}, {load_module, demo_call}, {update, demo_wrker, {advanced, x}}",
        "",
    ),
    "unknown instructions": ("{load_module, emqx_release}, {load_module, [x]}, {reload, x}, load, {update, x}", ""),
    "unknown application": ("{restart_application, dmo}, {load_module, emqx_release}", ""),
    "not restartable": (
        "{restart_application, kernel}, {restart_application, stdlib}, {load_module, emqx_release}",
        "",
    ),
    "dependencies": ("{load_module, emqx_release}, {restart_application, demo}", ""),
    "emqx_release left out": ("{load_module, demo_calls}", ""),
    "wrong arity": ("{load_module, emqx_release}, {apply, demo_calls, value, [1]}", ""),
    "no module to apply": ("{load_module, emqx_release}, {apply, nobody, f, []}, {apply, demo_sup, f, none}", ""),
    "apply before and after": (
        "{apply, demo_helper, run, []}, {load_module, demo_helper}, {apply, demo_helper, run, [1]}, "
        "{load_module, emqx_release}",
        "",
    ),
    "no callbacks": ("{load_module, emqx_release}", "log, {ensure, [1]}, 17, {ensure, none}"),
    "code_change of nothing": ("{load_module, emqx_release}, {update, demo_calls, {advanced, []}}", ""),
}


@pytest.fixture(scope="module")
def demo(vms: Vms, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The VM, which no test changes."""
    with running_demo(vms, tmp_path_factory.mktemp("demo")) as found:
        yield found


@pytest.fixture(scope="module")
def releases(demo: Demo) -> Difference:
    """The two trees as releases in tarballs."""
    return Difference(
        *(read_release(packed(demo.folder / tree, version)) for tree, version in (("old", FROM), ("target", TARGET)))
    )


def packed(tree: Path, version: str) -> Path:
    """The tarball of a tree, with the files that make it a release."""
    apps = ", ".join('{{{}, "{}"}}'.format(*path.name.split("-")) for path in tree.glob("lib/*"))
    texts = {
        "emqx_vars": f'REL_VSN="{version}"\n',
        f"{version}/BUILD_INFO": f'erlang: "{otp.find().version}"\n',
        f"{version}/emqx.rel": f'{{release, {{"emqx", "{version}"}}, {{erts, "1"}}, [{apps}]}}.',
    }
    for name, text in texts.items():
        (tree / "releases" / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / "releases" / name).write_text(text)
    tarball = tree.with_suffix(".tar.gz")
    subprocess.run(["tar", "-czf", tarball, "-C", tree, "lib", "releases"], check=True)
    return tarball


@pytest.mark.parametrize("name", HOPS)
def test_a_check_finds_what_a_preflight_finds(name: str, demo: Demo, releases: Difference) -> None:
    helpers = demo.helper("demo_helper", "run() -> ok.")
    request = demo.request(*HOPS[name], helpers=helpers, tree=Atom("undefined"))
    said = demo.agent.preflight(request, 10.0)["problems"]
    text = (demo.folder / "hop.relup").read_text()
    # What exports all can't be told without compiling it.
    helper = Helper("demo_helper.erl", "-module(demo_helper).\n-export([run/0]).\nrun() -> ok.\n")
    found = [each for each in check_text("hop.relup", text, releases, [helper]) if each.severity == "error"]
    assert {(each.n or 0, each.err_type) for each in found} == {
        (each.detail.get("instruction", 0), each.err_type) for each in said
    }
