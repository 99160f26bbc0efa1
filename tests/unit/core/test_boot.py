"""Whether a tree would boot: real folders, and wrappers that bash runs."""

import os
import shlex
import stat
import subprocess
import time
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from lab.release.wrapper import Vars, emqx_vars, folders
from relup_remote.core import boot, wrapper
from relup_remote.core.erlang.link import Peer
from relup_remote.core.protocol import Failure, Result
from relup_remote.core.running_node import RunningNode
from relup_remote.core.site import Site

WRAPPER = """#!/bin/bash
# relup/current BASE_RUNNER_ROOT_DIR
set -euo pipefail
RUNNER_ROOT_DIR="$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd -P)"
BASE_RUNNER_ROOT_DIR="${BASE_RUNNER_ROOT_DIR:-$RUNNER_ROOT_DIR}"
MARKER="$RUNNER_ROOT_DIR/relup/current"
if [ -f "$MARKER" ]; then exec "$RUNNER_ROOT_DIR/relup/$(<"$MARKER")/bin/emqx" "$@"; fi
. "$RUNNER_ROOT_DIR/releases/emqx_vars"
[ "$1" = check_config ] || exit 9
[ -f "$EMQX_ETC_DIR/emqx.conf" ] || { echo "emqx.conf is not found in $EMQX_ETC_DIR" >&2; exit 1; }
mkdir -p "$EMQX_LOG_DIR"
{ echo "$RUNNER_ROOT_DIR $BASE_RUNNER_ROOT_DIR $EMQX_ETC_DIR $EMQX_LOG_DIR"; env; } >>"$EMQX_ETC_DIR/../asked"
. "$EMQX_ETC_DIR/emqx.conf"
"""


class Machine:
    """A base with a node's folders, and a tree deployed in it."""

    def __init__(self, root: Path, kind: Vars) -> None:
        self.base = root / "base"
        self.tree = self.base / "relup" / "2"
        self.values = folders(kind)
        if kind is Vars.PACKAGE:
            self.values = {name: value.replace("/", f"{root}/", 1) for name, value in self.values.items()}
            self.values["RUNNER_USER"] = ""
            (root / "usr" / "bin").mkdir(parents=True)
            (root / "usr" / "bin" / "emqx").symlink_to(self.base / "bin" / "emqx")
        self.release(self.base, "1", self.values)
        self.etc = root / "etc" / "emqx" if kind is Vars.PACKAGE else self.base / "etc"
        self.log = root / "var" / "log" / "emqx" if kind is Vars.PACKAGE else self.base / "log"
        for folder in (self.etc, self.log, self.base / "data"):
            folder.mkdir(parents=True)
        self.conf = self.etc / "emqx.conf"
        self.conf.touch()
        self.site = Site(str(self.base), str(self.base / "data"), None, None)

    def release(self, root: Path, version: str, values: dict[str, str]) -> None:
        (root / "bin").mkdir(parents=True)
        (root / "releases").mkdir()
        (root / "releases" / "emqx_vars").write_text(emqx_vars(version, "15", values))
        (root / "bin" / "emqx").write_text(WRAPPER)
        (root / "bin" / "emqx").chmod(0o755)

    def deploy(self, kind: Vars) -> None:
        """A tree as its build made it, and the marker."""
        self.release(self.tree, "2", folders(kind))

    def mark(self) -> None:
        (self.base / "relup" / "current").write_text("2")

    def asked(self) -> str:
        """What the wrapper that read the configuration said first: its root, its base, and where it looked."""
        return (self.etc.parent / "asked").read_text().splitlines()[0]

    def prove(self, tree: Path) -> dict[str, object]:
        work = self.base / "data" / "work"
        work.mkdir(exist_ok=True)
        return boot.prove(str(tree), self.site, 20, str(work))


def variables(text: str, tree: Path, base: Path, **preset: str) -> dict[str, str]:
    shown = '"$EMQX_ETC_DIR" "$EMQX_LOG_DIR" "$EMQX_PLUGINS_DIR" "$RUNNER_BIN_DIR" "$RUNNER_USER"'
    script = f'. /dev/stdin; printf "%s\\n" {shown}'
    env = {"PATH": "/usr/bin:/bin", "RUNNER_ROOT_DIR": str(tree), "BASE_RUNNER_ROOT_DIR": str(base), **preset}
    done = subprocess.run(
        ["bash", "-euc", script], input=text, env=env, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return dict(zip(("etc", "log", "plugins", "bin", "user"), done, strict=True))


@pytest.mark.parametrize(("base", "target"), list(product(Vars, Vars)))
def test_a_tree_of_any_build_boots_on_a_base_of_any_other(base: Vars, target: Vars, tmp_path: Path) -> None:
    machine = Machine(tmp_path, base)
    machine.deploy(target)
    right = variables(boot.read_vars(str(machine.base)), machine.base, machine.base)
    boot.repair(str(machine.tree), str(machine.base))
    text = boot.read_vars(str(machine.tree))
    found = variables(text, machine.tree, machine.base)
    assert {**found, "bin": ""} == {**right, "bin": ""}
    assert Path(found["bin"], "emqx").exists()
    # What the environment names stays.
    assert variables(text, machine.tree, machine.base, EMQX_LOG_DIR="/preset")["log"] == "/preset"
    assert boot.repair(str(machine.tree), str(machine.base)) == []
    told = machine.prove(machine.tree)
    assert told["problems"] == []
    assert machine.asked() == f"{machine.tree} {machine.base} {machine.etc} {machine.log}"
    assert not (machine.tree / "log").exists()


def test_a_tree_as_the_vendor_leaves_it_does_not_boot_and_says_what_to_do(tmp_path: Path) -> None:
    machine = Machine(tmp_path, Vars.RELATIVE)
    machine.deploy(Vars.RELATIVE)
    machine.mark()
    with pytest.raises(Failure) as caught:
        machine.prove(machine.tree)
    assert caught.value.err_type == "would_not_boot"
    assert f"EMQX_ETC_DIR is {machine.tree}/etc: it leads to a folder of the tree" in caught.value.message
    # What the hint says is what makes it right.
    command = caught.value.hint.partition(": ")[2]
    subprocess.run(["sh", "-c", command], check=True)
    assert machine.prove(machine.tree)["problems"] == []
    assert shlex.split(command)[0] == "printf"


def test_the_base_is_proven_while_a_marker_leads_away_from_it(tmp_path: Path) -> None:
    machine = Machine(tmp_path, Vars.RELATIVE)
    machine.deploy(Vars.BASE)
    machine.mark()
    before = sorted(path.name for path in (machine.base / "relup").iterdir())
    told = machine.prove(machine.base)
    assert told["problems"] == []
    root, base, *_ = machine.asked().split()
    assert (Path(root).parent, base) == (machine.base / "relup", str(machine.base))
    assert sorted(path.name for path in (machine.base / "relup").iterdir()) == before
    assert (machine.base / "relup" / "current").read_text() == "2"


@pytest.mark.parametrize(
    ("conf", "why"),
    [
        ("echo 'line 3: no such key' >&2; exit 4", "ended with 4: line 3: no such key"),
        ("sleep 60 & wait", "did not end"),
    ],
)
def test_a_configuration_that_the_release_can_not_read(conf: str, why: str, tmp_path: Path) -> None:
    machine = Machine(tmp_path, Vars.BASE)
    machine.deploy(Vars.BASE)
    machine.conf.write_text(conf)
    started = time.monotonic()
    with pytest.raises(Failure, match=why):
        boot.prove(str(machine.tree), machine.site, 5, str(machine.base / "data"))
    assert time.monotonic() - started < 50


def test_what_is_not_there_or_can_not_be_run_is_named(tmp_path: Path) -> None:
    machine = Machine(tmp_path, Vars.BASE)
    machine.deploy(Vars.BASE)
    machine.conf.unlink()
    (machine.tree / "bin" / "emqx").chmod(0o644)
    (machine.base / "data").rmdir()
    told = boot.look(str(machine.tree), machine.site)
    assert told["problems"] == [
        f"emqx.conf is not found in {machine.etc}",
        f"the data folder {machine.base}/data is not there",
        f"{machine.tree}/bin/emqx can't be run",
    ]


def test_a_wrapper_that_can_not_be_run_is_not_said_to_hang(tmp_path: Path) -> None:
    machine = Machine(tmp_path, Vars.BASE)
    (machine.base / "bin" / "emqx").write_text("#!/nowhere/sh relup/current check_config\n")
    with pytest.raises(Failure, match=r"its check_config could not be run: .*/bin/emqx: No such file or directory"):
        machine.prove(machine.base)


@pytest.mark.parametrize(("root", "word"), [("base", "relup/current"), ("tree", "BASE_RUNNER_ROOT_DIR")])
def test_wrappers_that_know_nothing_of_trees(root: str, word: str, tmp_path: Path) -> None:
    machine = Machine(tmp_path, Vars.BASE)
    machine.deploy(Vars.BASE)
    path = {"base": machine.base, "tree": machine.tree}[root] / "bin" / "emqx"
    path.write_text(WRAPPER.replace(word, "nothing"))
    (problem,) = boot.look(str(machine.tree), machine.site)["problems"]
    assert problem.startswith(f"{path} does not ")


def test_a_wrapper_without_check_config_proves_nothing_and_says_so(tmp_path: Path) -> None:
    machine = Machine(tmp_path, Vars.BASE)
    machine.deploy(Vars.BASE)
    path = machine.tree / "bin" / "emqx"
    path.write_text(WRAPPER.replace("check_config", "ping"))
    told = machine.prove(machine.tree)
    assert told["configuration"] == {
        "checked": False, "by": str(path), "seconds": 0.0, "why": "its wrapper has no check_config"
    }  # fmt: skip


def test_a_base_whose_values_can_not_be_told(tmp_path: Path) -> None:
    machine = Machine(tmp_path, Vars.BASE)
    machine.deploy(Vars.BASE)
    file = machine.base / "releases" / "emqx_vars"
    file.write_text(f'{file.read_text()}EMQX_ETC_DIR="$(cat /etc/where)"\n')
    with pytest.raises(Failure) as caught:
        boot.look(str(machine.tree), machine.site)
    assert caught.value.err_type == "boot_unclear"


def test_what_an_operator_has_set_at_the_end_of_the_base_s_file_is_taken_over(tmp_path: Path) -> None:
    machine = Machine(tmp_path, Vars.RELATIVE)
    machine.deploy(Vars.BASE)
    file = machine.base / "releases" / "emqx_vars"
    own = 'export EMQX_NODE__NAME="a b@h"\nWAIT=$RUNNER_ROOT_DIR/w\nREL_VSN="1"\nulimit -n 100\nEMQX_LOG_DIR=/mnt/log\n'
    file.write_text(file.read_text() + own)
    found = boot.places(boot.read_vars(str(machine.tree)), str(machine.tree), str(machine.base))
    assert list(found.unclear) == ["ulimit -n 100"]
    assert {each.name for each in boot.repair(str(machine.tree), str(machine.base))} == {
        "EMQX_NODE__NAME", "WAIT", "EMQX_LOG_DIR"
    }  # fmt: skip
    # What an operator has set may be a secret.
    assert "a b@h" not in str(boot.facts(found, str(machine.tree)))
    text = boot.read_vars(str(machine.tree))
    assert 'export EMQX_NODE__NAME="a b@h"\n' in text
    assert 'WAIT="$BASE_RUNNER_ROOT_DIR/w"\n' in text
    assert variables(text, machine.tree, machine.base)["log"] == "/mnt/log"
    assert 'REL_VSN="2"' in text
    assert boot.repair(str(machine.tree), str(machine.base)) == []


def test_the_mode_of_the_file_is_that_of_a_release(tmp_path: Path) -> None:
    machine = Machine(tmp_path, Vars.RELATIVE)
    machine.deploy(Vars.RELATIVE)
    before = os.umask(0o077)
    try:
        boot.repair(str(machine.tree), str(machine.base))
    finally:
        os.umask(before)
    assert stat.S_IMODE((machine.tree / "releases" / "emqx_vars").stat().st_mode) == 0o644


def test_settings_of_the_vm_s_environment_go_along(tmp_path: Path) -> None:
    machine = Machine(tmp_path, Vars.BASE)
    machine.deploy(Vars.BASE)
    env = {
        "EMQX_NODE__NAME": "a@h", "EMQX_BOOT_CONFIGS": "old", "EMQX_ETC_DIR": "/elsewhere", "SECRET": "x",
    }  # fmt: skip
    vm = subprocess.Popen(["sh", "-c", "echo up; read _"], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        # Until it executes its program a process has no environment.
        assert vm.stdout
        assert vm.stdout.readline() == b"up\n"
        peer = Peer("a@h", "", "", list)
        root = str(machine.base)
        machine.site.node = RunningNode(vm.pid, os.getuid(), "a@h", root, root, machine.site.data_dir, peer)
        found = wrapper.environment(machine.site)
        assert {name: value for name, value in found.items() if name in env} == {"EMQX_NODE__NAME": "a@h"}
        assert machine.prove(machine.tree)["problems"] == []
    finally:
        vm.communicate(b"\n", timeout=30)
    assert "EMQX_NODE__NAME=a@h" in (machine.etc.parent / "asked").read_text()


def test_what_will_be_set_is_not_said_to_be_set(tmp_path: Path) -> None:
    base, tree = tmp_path, tmp_path / "relup/5.10.5"
    settings = [
        boot.Setting("EMQX_ETC_DIR", f"{base}/etc", None, "it is so", 'EMQX_ETC_DIR="etc"'),
        boot.Setting("EMQX_LOG_DIR", f"{base}/log", None, "it is so", 'EMQX_LOG_DIR="log"'),
        boot.Setting("EMQX_NAME", "a", None, "it is at the end of the base's file", "EMQX_NAME=a", True),
    ]
    told: dict[str, Any] = {
        "tree": str(tree),
        "set": [setting.to_json() for setting in settings],
        "configuration": None,
        "problems": [],
        "unclear": {},
        "paths": {},
    }
    said = {}
    for is_planned in (True, False):
        result = Result()
        boot.tell(result, told, str(base), is_planned=is_planned)
        said[is_planned] = result.facts["boot"]["said"]
    assert [sentence.split(", because")[0] for sentence in said[True]] == [
        "In relup/5.10.5, EMQX_NAME will be set as in the base",
        "In relup/5.10.5, EMQX_ETC_DIR will be set to etc and EMQX_LOG_DIR to log",
    ]
    assert [sentence.replace("is set", "will be set") for sentence in said[False]] == said[True]
    assert not boot.is_set(settings, str(tree))
    (tree / "releases").mkdir(parents=True)
    (tree / "releases/emqx_vars").write_text('EMQX_ETC_DIR="etc"\n')
    assert not boot.is_set(settings, str(tree))
    (tree / "releases/emqx_vars").write_text('EMQX_ETC_DIR="etc"\nEMQX_LOG_DIR="log"\n')
    # What an operator has set is not told, but it is looked for.
    assert not boot.is_set(settings, str(tree))
    (tree / "releases/emqx_vars").write_text('EMQX_ETC_DIR="etc"\nEMQX_LOG_DIR="log"\nEMQX_NAME=b\n')
    assert not boot.is_set(settings, str(tree))
    (tree / "releases/emqx_vars").write_text('EMQX_ETC_DIR="etc"\nEMQX_LOG_DIR="log"\nEMQX_NAME=a\n')
    assert boot.is_set(settings, str(tree))
