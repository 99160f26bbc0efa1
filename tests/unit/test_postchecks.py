"""The postchecks on a host that is this machine, by an SSH server of its own.

The root, its tree, its history and its VM (a process with a VM's name and command line) are made up; what looks at them
is all real.
"""

import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab import sshd
from relup_remote.core import journal as journals
from relup_remote.core.journal import Journal
from relup_remote.deadline import Deadline
from relup_remote.inventory import HostSettings
from relup_remote.postchecks import node, on_host, plugin, ssh
from relup_remote.postchecks import run as running_checks
from relup_remote.postchecks.node import applications

from .core.others import NOBODY, as_root, claiming
from .host.ssh_server import Server, running
from .program import PROJECT, RELUP, run

CHECKS = ["process", "marker", "tree", "boot", "version", "history", "leftovers"]
REL = '{release,{"emqx","1.1"},{erts,"13.1"},\n [{kernel,"8.5"},{emqx,"5.5.8-x",permanent}]}. % {no,"1"}\n'


class Machine:
    """A host as an upgrade to 1.1 leaves it."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.folder = folder
        self.server = server
        self.root = folder / "root"
        self.tree = self.root / "relup" / "1.1"
        self.work = self.root / "data" / "relup_remote"
        self.vms: list[subprocess.Popen[bytes]] = []
        self.settings: dict[str, str | None] = {}
        self._write("root/etc/emqx.conf", "")
        self.vars("root", "1.0")
        self.vars("root/relup/1.1", "1.1")
        self._write("root/relup/current", "1.1\n")
        self.runs("1.1")
        self._write("root/relup/1.1/bin/emqx", "")
        for tree, version in (("root", "1.0"), ("root/relup/1.1", "1.1")):
            self._write(f"{tree}/erts-13.1/bin/beam.smp", "")
            self._write(f"{tree}/releases/{version}/emqx.rel", REL)
            self._write(f"{tree}/lib/kernel-8.5/ebin/kernel.app", "")
            self._write(f"{tree}/lib/emqx-5.5.8-x/ebin/emqx.app", "")
        self.work.mkdir(parents=True)
        self.attempt("success")

    def _write(self, name: str, text: str, mode: int = 0o644) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def vars(self, tree: str, version: str, etc: str = "$BASE_RUNNER_ROOT_DIR/etc") -> None:
        """Have a tree say what it is and where its wrapper looks for the configuration."""
        self._write(f"{tree}/releases/emqx_vars", f'REL_VSN="{version}"\nEMQX_ETC_DIR="{etc}"\n')

    def marks(self, version: str) -> None:
        """Have the marker name a version, which could boot."""
        (self.root / "relup" / "current").write_text(version)
        self.vars(f"root/relup/{version}", version)

    def runs(self, version: str, before: str = ":") -> None:
        """Have the node say that it runs a version, once it has done what comes ``before`` in the test's folder."""
        script = f"""#!/bin/sh
case "$*" in
    'eval emqx_release:version()') (cd {self.folder} && {before}) && echo '"{version}"' ;;
    check_config) . "$(dirname "$0")/../etc/emqx.conf" ;;
    *) exit 1 ;;
esac
"""
        self._write("root/bin/emqx", script, 0o755)

    def hangs(self) -> None:
        """Have the node answer nothing, until the test is over."""
        os.mkfifo(self.folder / "silence")
        self._write("root/bin/emqx", f"#!/bin/sh\nexec cat {self.folder}/silence\n", 0o755)

    def speaks(self) -> None:
        """End whoever waits for a node that hangs."""
        with contextlib.suppress(OSError):
            os.close(os.open(self.folder / "silence", os.O_WRONLY | os.O_NONBLOCK))

    def forget(self) -> None:
        """Be as before any upgrade."""
        (self.root / "relup" / "current").unlink()
        shutil.rmtree(self.work)
        self.runs("1.0")

    def attempt(self, result: str, target: str = "1.1") -> None:
        """Write an attempt into the host's history, as the core does."""
        journal = Journal(str(self.work))
        row = journal.begin("run", "alice@desk", "1.0", target, {})
        journal.note(row, {"changed": True})
        journal.finish(row, result)
        # A refusal since then changed nothing, and says nothing of the node.
        journal.finish(journal.begin("later", "alice@desk", target, target, {}), "duplicate_pending_target")

    def start_vm(self, name: str = "emqx@127.0.0.1") -> None:
        """Start a process that waits, under the name and with the command line of a VM."""
        program = self.root / "erts-13.1" / "bin" / "beam.smp"
        if not program.stat().st_size:
            shutil.copy("/bin/sh", program)
        line = ["-root", str(self.root), "-name", name, "-setcookie", "secret", "--", "-emqx_data_dir", "data"]
        self.vms.append(
            subprocess.Popen(
                [program, "-c", "echo up; read _", "emqx", *line], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        )
        output = self.vms[-1].stdout
        assert output and output.readline() == b"up\n"

    @property
    def inventory(self) -> str:
        """An inventory with this machine as its host."""
        inventory = self.folder / "hosts.yml"
        way = self.server.settings()
        settings = {
            "address": way.address,
            "port": way.port,
            "key": str(way.key),
            "known_hosts": str(way.known_hosts),
            "root_dir": str(self.root),
            **self.settings,
        }
        settings = {name: value for name, value in settings.items() if value is not None}
        inventory.write_text(json.dumps({"hosts": {"n1": settings}}))
        return str(inventory)

    def run(self, *words: str, **environment: str) -> Any:
        """Run a Python module as a process, with these variables besides those of the tests."""
        return subprocess.run(
            [sys.executable, "-m", *words],
            cwd=PROJECT,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    def check(self, *words: str) -> tuple[int, dict[str, Any]]:
        """The exit status and the row of `relup postcheck`."""
        ended = run(RELUP, *self._words, *words)
        [row] = json.loads(ended.stdout)["hosts"]
        return ended.returncode, row

    def check_in_a_process(self, *words: str, **environment: str) -> tuple[int, dict[str, Any]]:
        """The same as a process, with these variables besides those of the tests."""
        ended = self.run(RELUP, *self._words, *words, **environment)
        [row] = json.loads(ended.stdout)["hosts"]
        return ended.returncode, row

    @property
    def _words(self) -> tuple[str, ...]:
        return "postcheck", "--json", "--inventory", self.inventory


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with running(tmp_path / "server") as server:
        made = Machine(tmp_path, server)
        made.start_vm()
        yield made
        made.speaks()
        for vm in made.vms:
            vm.communicate(b"\n", timeout=120)


def test_a_node_that_was_upgraded_passes_every_check(machine: Machine) -> None:
    status, row = machine.check_in_a_process("--target", "1.1")
    assert row["error"] is None
    assert (status, row["outcome"]) == (0, "ok")
    assert [(step["step"], step["status"]) for step in row["steps"]] == [(check, "ok") for check in CHECKS]


def test_a_root_is_known_by_another_path(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "another").symlink_to(machine.root)
    machine.settings = {"root_dir": str(tmp_path / "another")}
    status, row = machine.check("--target", "1.1")
    assert (status, row["outcome"]) == (0, "ok"), row


FAULTS: dict[str, tuple[Callable[[Machine], object], str]] = {
    "process": (lambda machine: machine.start_vm(), "2 VMs fit: "),
    "marker": (
        lambda machine: machine.marks("1.0"),
        "the marker says 1.0: a restart",
    ),
    "tree": (
        lambda machine: (machine.tree / "lib" / "emqx-5.5.8-x" / "ebin" / "emqx.app").unlink(),
        "files of the release are missing: ",
    ),
    "boot": (
        lambda machine: machine.vars("root/relup/1.1", "1.1", etc="$RUNNER_ROOT_DIR/etc"),
        "the next start looks for emqx.conf in ",
    ),
    "version": (lambda machine: machine.runs("1.0"), "1.0 is running, not 1.1"),
    "history": (lambda machine: machine.attempt("sha256_mismatch"), "the last attempt: finished, sha256_mismatch"),
    "leftovers": (lambda machine: (machine.root / "relup" / ".relup_remote-x").mkdir(), "left behind: "),
}


@pytest.mark.parametrize("check", CHECKS)
def test_each_check_finds_its_fault_and_says_it(machine: Machine, check: str) -> None:
    fault, said = FAULTS[check]
    fault(machine)
    status, row = machine.check("--target", "1.1")
    failed = {step["step"]: step["detail"]["message"] for step in row["steps"] if step["status"] == "failed"}
    assert (status, row["outcome"]) == (1, "failed")
    assert failed[check].startswith(said)
    assert set(failed) == {check}
    assert row["error"]["err_type"] == "verify_failed"
    assert row["error"]["detail"] == failed


def test_nothing_in_the_environment_chooses_the_checks(machine: Machine, tmp_path: Path) -> None:
    fault, _said = FAULTS["history"]
    fault(machine)
    (tmp_path / "meddling.py").write_text("def pytest_collection_modifyitems(items):\n    del items[1:]\n")
    status, row = machine.check_in_a_process(
        "--target",
        "1.1",
        PYTEST_ADDOPTS="-k version --collect-only",
        PYTEST_PLUGINS="meddling",
        PYTHONPATH=str(tmp_path),
    )
    assert (status, [step["step"] for step in row["steps"]]) == (1, CHECKS)
    assert set(row["error"]["detail"]) == {"history"}


def test_checks_that_did_not_run_are_missed(monkeypatch: pytest.MonkeyPatch, machine: Machine) -> None:
    """Whatever it is that leaves some out: here the file that pytest is given has fewer of them."""
    less = machine.folder / "test_node.py"
    text = plugin.CHECKS.read_text()
    less.write_text(text[: text.index("def test_history")])
    [settings] = [machine.server.settings(root_dir=str(machine.root))]
    counted = running_checks.names()
    monkeypatch.setattr(running_checks, "CHECKS", less)
    monkeypatch.setattr(running_checks, "names", lambda: counted)
    [row] = running_checks.run([settings], "1.1")
    assert (row["outcome"], row["error"]["err_type"]) == ("failed", "checks_not_run")
    assert row["error"]["detail"] == {"missing": ["history", "leftovers"]}
    assert "5 of 7 checks ran" in row["error"]["message"]
    assert "PYTEST_DISABLE_PLUGIN_AUTOLOAD" not in os.environ


def test_a_configuration_that_the_release_can_not_read_is_found(machine: Machine) -> None:
    (machine.root / "etc" / "emqx.conf").write_text("echo line 3: no such key\nexit 2\n")
    assert machine.check()[1]["error"]["detail"] == {
        "boot": "the release that boots next can't read the configuration: line 3: no such key"
    }


def test_without_a_target_the_marker_says_what_should_run_or_else_the_base_release(machine: Machine) -> None:
    assert machine.check()[0] == 0
    (machine.root / "relup" / "current").unlink()
    assert machine.check("--target", "1.1")[1]["error"]["detail"] == {
        "marker": "there is no marker: a restart boots 1.0, not 1.1"
    }
    assert machine.check()[1]["error"]["detail"] == {
        "version": "1.1 is running, not 1.0",
        "history": "the last attempt was for 1.1, not 1.0",
    }


def test_a_node_that_was_never_upgraded_is_what_it_should_be(machine: Machine) -> None:
    machine.forget()
    status, row = machine.check()
    assert (status, row["outcome"]) == (0, "ok"), row["error"]
    assert [(step["step"], step["status"]) for step in row["steps"]] == [(check, "ok") for check in CHECKS]
    (machine.root / "lib" / "emqx-5.5.8-x" / "ebin" / "emqx.app").unlink()
    assert set(machine.check()[1]["error"]["detail"]) == {"tree"}


def test_a_host_that_can_not_be_reached_fails_as_that_host(machine: Machine) -> None:
    sshd.stop(machine.server.host)
    status, row = machine.check()
    assert (status, row["outcome"], row["steps"]) == (1, "failed", [])
    assert (row["error"]["err_type"], row["error"]["stage"]) == ("host_unreachable", "connect")
    assert row["error"]["detail"]["error"] == "Connection refused"


def test_no_check_takes_longer_than_the_command_may(machine: Machine) -> None:
    """The node never answers, and its host's commands have a minute each."""
    machine.hangs()
    hosts = [dataclasses.replace(machine.server.settings(root_dir=str(machine.root)), name=name) for name in "ab"]
    first, second = running_checks.run(hosts, "1.1", deadline=Deadline(5))
    for row in (first, second):
        assert (row["outcome"], row["error"]["err_type"], row["error"]["stage"]) == (
            "failed",
            "deadline_exceeded",
            "postcheck",
        )
    assert "within 5 s; the remaining ones did not run" in first["error"]["message"]
    assert second["steps"] == []


def test_the_deadline_of_the_command_is_that_of_the_checks(machine: Machine) -> None:
    machine.hangs()
    status, row = machine.check("--target", "1.1", "--deadline", "5s")
    assert (status, row["error"]["err_type"], row["error"]["detail"]) == (1, "deadline_exceeded", {"seconds": 5})


def test_a_host_is_asked_for_all_at_once_and_beside_the_others(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two hosts that share a node each waits for the other's question."""
    os.mkfifo(machine.folder / "meet")
    machine.runs("1.1", before=f"if mkdir first; then read _ <meet; else echo >meet; fi 2>{os.devnull}")
    asked = []
    run_one = ssh.Backend._run

    def count(backend: ssh.Backend, line: bytes) -> Any:
        asked.append(line)
        return run_one(backend, line)

    monkeypatch.setattr(ssh.Backend, "_run", count)
    way = machine.server.settings(root_dir=str(machine.root), command_timeout=20)
    rows = running_checks.run([dataclasses.replace(way, name=name) for name in "ab"], "1.1")
    assert [row["outcome"] for row in rows] == ["ok", "ok"], rows
    # The VMs, all that depends on them, and the file that only the second answer names.
    assert len(asked) == 2 * 3


def test_what_starts_a_vm_is_asked_side_by_side(machine: Machine) -> None:
    """The node's version is told only while its configuration is read."""
    os.mkfifo(machine.folder / "meet")
    machine.runs("1.1", before="read _ <meet")
    (machine.root / "etc" / "emqx.conf").write_text(f"echo >{machine.folder}/meet\n")
    [row] = running_checks.run([machine.server.settings(root_dir=str(machine.root), command_timeout=20)], "1.1")
    assert row["outcome"] == "ok", row
    # A check takes as long as what it wanted to know, and the host no longer than that took side by side.
    assert 0 < max(step["seconds"] for step in row["steps"]) <= row["seconds"]


def test_what_one_look_fails_at_fails_no_other_check(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "LONGEST", 5.0)
    (machine.work / "journal.sqlite3").write_bytes(b"no database" * 100)
    machine.runs("1.1", before="sleep 600")
    assert machine.check("--target", "1.1")[1]["error"]["detail"] == {
        "history": "looking at the host failed: DatabaseError: file is not a database",
        "version": "bin/emqx eval ended with 124: it did not end within 5 s",
    }


def test_pytest_runs_the_same_checks_by_itself(machine: Machine) -> None:
    words = ("pytest", "relup_remote/postchecks", "--relup-inventory", machine.inventory, "-p", "no:cacheprovider")
    ended = machine.run(*words, "--relup-host", "n1", "--relup-target", "1.1")
    assert f" {len(CHECKS)} passed in " in ended.stdout
    machine.attempt("disk_full")
    ended = machine.run(*words)
    assert f" 1 failed, {len(CHECKS) - 1} passed in " in ended.stdout
    assert "test_history[n1]" in ended.stdout
    assert "no host or group matches 'n2'" in machine.run(*words, "--relup-host", "n2").stdout


OWN = """
def test_own(emqx_node):
    assert emqx_node.marker == emqx_node.boots == emqx_node.target == emqx_node.version == "1.1"
    assert emqx_node.tree == f"{emqx_node.root}/relup/1.1"
    assert emqx_node.host.file(emqx_node.data_dir).is_directory
    # What nobody asks for is not looked at.
    assert set(emqx_node.known.answers) == {"files"}
"""


def test_checks_of_others_look_for_themselves(machine: Machine) -> None:
    own = machine.folder / "test_own.py"
    own.write_text(OWN)
    words = ("--relup-inventory", machine.inventory, "-p", "no:cacheprovider", "--rootdir", str(machine.folder))
    ended = machine.run("pytest", str(own), *words)
    assert " 1 passed in " in ended.stdout, ended.stdout


def test_what_is_seen_of_a_vm_does_not_hold_its_cookie(machine: Machine) -> None:
    seen = machine.run("relup_remote.postchecks.on_host", "vms").stdout
    [vm] = [vm for vm in json.loads(seen)["vms"] if vm["root"] == str(machine.root)]
    assert (vm["pid"], vm["name"]) == (machine.vms[0].pid, "emqx@127.0.0.1")
    assert (vm["base"], vm["data_dir"]) == (str(machine.root), str(machine.root / "data"))
    assert "secret" not in seen


@as_root
@pytest.mark.parametrize("planted", ["the root", "another root", "a pipe in another root", "a node of its own"])
def test_a_process_that_only_claims_to_be_the_node(machine: Machine, tmp_path: Path, planted: str) -> None:
    """Neither does it close the gate, nor is anything run that lies where it says."""
    evil, ran = tmp_path / "evil", tmp_path / "ran"
    folder = evil / ("erts-1/bin" if planted == "a node of its own" else "elsewhere")
    for each in (folder, evil / "releases", evil / "bin"):
        each.mkdir(parents=True)
    if planted == "a pipe in another root":
        os.mkfifo(evil / "releases" / "emqx_vars")
    else:
        (evil / "releases" / "emqx_vars").write_text("REL_VSN=1.1\nRUNNER_USER=nobody\n")
    (evil / "bin" / "emqx").write_text(f"#!/bin/sh\ntouch {ran}\n")
    (evil / "bin" / "emqx").chmod(0o755)
    for path in (evil, *evil.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    root = machine.root if planted == "the root" else evil
    with claiming(folder, str(root), "emqx@127.0.0.1"):
        status, row = machine.check("--target", "1.1")
        assert (status, row["outcome"]) == (0, "ok"), row
    machine.settings = {"root_dir": None, "node": "other@127.0.0.1", "become": "never"}
    with claiming(folder, str(root), "other@127.0.0.1"):
        status, row = machine.check("--target", "1.1")
        assert (status, row["outcome"]) == (1, "failed"), row
    assert not ran.exists()


def test_the_base_of_deployed_trees_is_the_first_root(machine: Machine) -> None:
    assert on_host._base(machine.tree) == machine.root
    assert on_host._base(machine.root) == machine.root


def test_the_history_that_is_not_there_is_none(tmp_path: Path) -> None:
    assert on_host.attempt(str(tmp_path)) is None
    # As a core leaves it that is killed before it has made the table.
    (tmp_path / "relup_remote").mkdir(exist_ok=True)
    (tmp_path / "relup_remote" / "journal.sqlite3").touch()
    assert on_host.attempt(str(tmp_path)) is None


def test_the_last_attempt_is_the_one_that_began_last_whatever_the_clock_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "relup_remote"
    folder.mkdir()
    history = Journal(str(folder))
    for name, moment in (("first", 9_000), ("second", 1_000)):
        monkeypatch.setattr(journals, "_now", lambda moment=moment: moment)
        history.note(history.begin(name, "alice@desk", "1.0", "1.1", {}), {"changed": True})
    assert (on_host.attempt(str(tmp_path)) or {})["run"] == "second"


def test_leftovers_are_found_in_all_three_places(tmp_path: Path) -> None:
    for name in ("relup/.relup_remote-1.1", "data/relup_remote/work/x", "staging/emqx.tar.gz.part"):
        (tmp_path / name).mkdir(parents=True)
    found = on_host.leftovers(str(tmp_path), str(tmp_path / "data"), str(tmp_path / "staging"))
    assert [Path(path).name for path in found] == ["x", ".relup_remote-1.1", "emqx.tar.gz.part"]


def test_a_wrapper_that_does_not_end_is_not_taken_for_one_that_reads_nothing(
    tmp_path: Path,
) -> None:
    script = tmp_path / "emqx"
    for text, status in (("check_config; sleep 600", 124), ("check_config; exit 0", 0), ("other", None)):
        script.write_text(f"#!/bin/sh\n: {text}\n")
        script.chmod(0o755)
        assert on_host.configuration(str(script), "", 1)["status"] == status


@pytest.mark.parametrize(
    ("look", "said", "why"),
    [
        ("vms", b"Welcome!", "is not JSON"),
        ("vms", b'{"user": "emqx", "hidden": false, "vms": [{"pid": "1"}]}', "vms[0].pid: should be a whole number"),
        ("attempt", b"[]", "should be a mapping"),
        ("leftovers", b"[NaN]", "has NaN, which is not a number"),
        ("leftovers", b"[1]", "[0]: should be text, and is 1"),
    ],
)
def test_a_host_that_says_something_else_fails_the_check_by_a_sentence(look: str, said: bytes, why: str) -> None:
    with pytest.raises(AssertionError, match=f"what the host says of its {look} is not accepted") as caught:
        node._understood(look, said, node.VMS if look == "vms" else node.LOOKS[look])
    assert why in str(caught.value)


@as_root
@pytest.mark.parametrize("hidden", [0, 1, 2])
def test_a_host_says_whether_it_hides_processes(hidden: int) -> None:
    # The shell stays the first process, which is what can't be seen.
    look = f"setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups /usr/bin/python3 - vms"
    script = f"mount -t proc -o hidepid={hidden} proc /proc; {look}; exit 0"
    said = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "sh", "-ec", script],
        input=Path(on_host.__file__).read_bytes(),
        capture_output=True,
        check=True,
    )
    assert json.loads(said.stdout)["hidden"] is (hidden > 0)


class HidingLink:
    """A host that shows the node's processes only to some user, and lets us become that one or nobody."""

    def __init__(self, seer: str, allowed: bool = True) -> None:
        self._seer = seer
        self._allowed = allowed

    def host(self, user: str | None = None) -> Any:
        vm = {"pid": 7, "fits": True, "owner": "emqx", "name": "emqx@h", "root": "/r", "base": "/r", "data_dir": "/d"}
        sees = user == self._seer and self._allowed
        said = {"user": user or "ops", "hidden": user != "root", "vms": [vm] if sees else []}
        status = 0 if user is None or sees else 1
        answer = SimpleNamespace(rc=status, stdout_bytes=json.dumps(said).encode(), stderr="sudo: no")
        return SimpleNamespace(run=lambda *_words: answer)


@pytest.mark.parametrize(("become", "seer"), [("auto", "root"), ("emqx", "emqx")])
def test_where_processes_are_hidden_another_user_looks(become: str, seer: str) -> None:
    settings = HostSettings(name="n1", become=become)
    seen = node.Node(HidingLink(seer), settings, None)  # type: ignore[arg-type]
    assert (seen.vm["pid"], seen._seen["user"]) == (7, "ops")
    unseen = node.Node(HidingLink(seer, allowed=False), settings, None)  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match=r"can't be seen: /proc hides"):
        _ = unseen.vm


def test_applications_of_a_release() -> None:
    assert applications(REL) == {"kernel": "8.5", "emqx": "5.5.8-x"}
