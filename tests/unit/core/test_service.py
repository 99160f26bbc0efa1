"""The service that runs a node: found by control group and unit, asked for before anything is changed."""

import io
import json
import os
import pwd
import subprocess
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from relup_remote.core import checks, commands
from relup_remote.core.context import Context
from relup_remote.core.erlang.link import Peer
from relup_remote.core.protocol import Failure
from relup_remote.core.running_node import RunningNode
from relup_remote.core.service import check_permitted, restart_command, unit_for, unit_of
from relup_remote.core.site import Site
from tests.unit.host.accounts import account

from .others import as_root

PID = 4711
UNIT = "emqx.service"

OF_A_SERVICE = {
    "version 2": ("0::/system.slice/emqx.service", UNIT),
    "version 2, a template in a slice of its own": (
        "0::/system.slice/system-emqx.slice/emqx@1.service",
        "emqx@1.service",
    ),
    "version 2, a group delegated to the service": ("0::/system.slice/emqx.service/payload", UNIT),
    "version 2, a slice of the operator's": ("0::/brokers.slice/brokers-eu.slice/emqx.service", UNIT),
    "an escaped name": (r"0::/system.slice/emqx\x2dedge.service", r"emqx\x2dedge.service"),
    "version 1": (
        "12:pids:/system.slice/emqx.service\n11:cpu,cpuacct:/\n4:memory:/system.slice/emqx.service\n"
        "1:name=systemd:/system.slice/emqx.service",
        UNIT,
    ),
    "both versions": (
        "11:memory:/other\n1:name=systemd:/system.slice/emqx.service\n0::/system.slice/emqx.service",
        UNIT,
    ),
    "both versions, the second unused": ("1:name=systemd:/system.slice/emqx.service\n0::/", UNIT),
    "systemd in a container, seen from within": ("0::/docker/58424f4810362acf/system.slice/emqx.service", UNIT),
}
"""What /proc/<pid>/cgroup says of a process that a service runs, and the unit."""

OF_NO_SERVICE = {
    "a session, version 2": "0::/user.slice/user-1000.slice/session-1.scope",
    "a session, version 1": "10:memory:/user.slice\n1:name=systemd:/user.slice/user-0.slice/session-3.scope",
    "a user's own service": "0::/user.slice/user-1000.slice/user@1000.service/app.slice/emqx.service",
    "a desktop's terminal": "0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-terminal.slice/vte-1.scope",
    "docker, version 1": "12:memory:/docker/58424f4810362acf\n1:name=systemd:/docker/58424f4810362acf",
    "docker with systemd": "0::/system.slice/docker-58424f4810362acf.scope",
    "podman": "0::/machine.slice/libpod-58424f4810362acf.scope/container",
    "kubernetes": "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/cri-containerd-58.scope",
    "a container, seen from within": "0::/",
    "another hierarchy's service": "4:memory:/system.slice/emqx.service\n1:name=systemd:/",
    "no systemd": "",
}
"""What it says of one that none runs."""

STAND_IN = """#!/bin/sh
echo "$*" >>"{log}"
{does}
"""


@pytest.mark.parametrize(("cgroup", "unit"), OF_A_SERVICE.values(), ids=OF_A_SERVICE)
def test_a_control_group_names_the_service(cgroup: str, unit: str) -> None:
    assert unit_of(cgroup + "\n") == unit


@pytest.mark.parametrize("cgroup", OF_NO_SERVICE.values(), ids=OF_NO_SERVICE)
def test_sessions_users_and_containers_are_no_service(cgroup: str) -> None:
    assert unit_of(cgroup + "\n") is None


class Machine:
    """A root with its wrapper, a /proc, and stand-ins for systemctl and sudo in front of the PATH."""

    def __init__(self, folder: Path) -> None:
        self.base = folder / "emqx"
        self.bin = folder / "bin"
        self.proc = folder / "proc"
        self.log = folder / "calls"
        self.wrapper = self.base / "bin" / "emqx"
        for made in (self.wrapper.parent, self.bin, self.proc / str(PID)):
            made.mkdir(parents=True)
        self.wrapper.touch()

    def group(self, cgroup: str) -> None:
        """Puts the VM into a control group."""
        (self.proc / str(PID) / "cgroup").write_text(cgroup + "\n")

    def stand_in(self, name: str, does: str) -> None:
        """A program that notes how it is called, and does something."""
        path = self.bin / name
        path.write_text(STAND_IN.format(log=self.log, does=does))
        path.chmod(0o755)

    def unit(self, main_pid: int, executes: str) -> None:
        """What systemctl says of every unit."""
        program = executes.partition(" ")[0]
        said = f"MainPID={main_pid}\nExecStart={{ path={program} ; argv[]={executes} ; ignore_errors=no ; }}"
        self.stand_in("systemctl", f"cat <<'END'\n{said}\nEND")

    def found(self, restart_by: str = "auto", *, runs: bool = True) -> str | None:
        base, data = str(self.base), str(self.base / "data")
        node = RunningNode(PID, 0, "emqx@127.0.0.1", base, base, data, Peer("emqx@127.0.0.1", "", "/none", list))
        return unit_for(restart_by, Site(base, data, None, node if runs else None), str(self.proc))

    @property
    def calls(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path)
    monkeypatch.setenv("PATH", str(made.bin), prepend=os.pathsep)
    return made


def test_a_service_whose_main_process_is_the_vm(machine: Machine) -> None:
    machine.group("0::/system.slice/broker.service")
    machine.unit(PID, "/bin/bash /usr/bin/emqx foreground")
    assert machine.found() == "broker.service"
    assert machine.calls == ["show --property=MainPID,ExecStart -- broker.service"]


def test_a_service_that_starts_the_wrapper(machine: Machine, tmp_path: Path) -> None:
    machine.group("0::/system.slice/emqx.service")
    (tmp_path / "link").symlink_to(machine.wrapper)
    machine.unit(17, f"/bin/bash {tmp_path}/link foreground")
    assert machine.found() == UNIT


@pytest.mark.parametrize("service", ["ssh.service", "cron.service", "salt-minion.service", "containerd.service"])
def test_a_node_started_out_of_another_service_is_not_run_by_it(machine: Machine, service: str) -> None:
    machine.group(f"0::/system.slice/{service}")
    machine.unit(17, "/usr/sbin/sshd -D")
    assert machine.found() is None


def test_without_a_unit_systemctl_is_not_asked(machine: Machine) -> None:
    machine.group("0::/user.slice/user-0.slice/session-1.scope")
    machine.unit(PID, "/usr/bin/emqx")
    assert machine.found() is None
    assert machine.calls == []


def test_a_node_that_is_down_is_started_by_the_packages_unit_if_that_is_of_its_root(machine: Machine) -> None:
    machine.unit(0, f"/bin/bash {machine.wrapper} foreground")
    assert machine.found(runs=False) == UNIT
    machine.unit(0, "/bin/bash /usr/bin/emqx foreground")
    assert machine.found(runs=False) is None


def test_where_there_is_no_systemctl_there_is_no_service(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.group("0::/system.slice/emqx.service")
    monkeypatch.setenv("PATH", str(machine.bin))
    assert machine.found() is None
    assert machine.found(runs=False) is None


def test_a_systemctl_that_does_not_answer_is_not_taken_for_no_service(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relup_remote.core.service._SYSTEMCTL_SECONDS", 0.5)
    machine.group("0::/system.slice/emqx.service")
    machine.stand_in("systemctl", "exec sleep 600")
    with pytest.raises(Failure, match=r"did not say within 0\.5 s whether emqx\.service runs the node") as caught:
        machine.found()
    assert caught.value.err_type == "service_unknown"
    assert machine.found("wrapper") is None


def test_a_systemctl_that_can_not_say_is_not_taken_for_no_service(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the user may not reach the system's bus; on a machine that systemd does not run it says so, too."""
    monkeypatch.setattr("relup_remote.core.service._BOOTED", str(tmp_path / "systemd"))
    machine.group("0::/system.slice/emqx.service")
    machine.stand_in("systemctl", "echo 'Failed to connect to bus' >&2; exit 1")
    assert machine.found() is None
    (tmp_path / "systemd").mkdir()
    with pytest.raises(Failure, match=r"can't say whether emqx\.service runs the node: Failed to connect") as caught:
        machine.found()
    assert caught.value.err_type == "service_unknown"
    assert machine.found("wrapper") is None


def test_the_inventory_may_say_by_what(machine: Machine) -> None:
    machine.group("0::/system.slice/emqx.service")
    machine.unit(PID, "/usr/bin/emqx")
    assert machine.found("wrapper") is None
    assert machine.found("service:broker") == "broker.service"
    assert machine.found("service:emqx@1.service", runs=False) == "emqx@1.service"
    assert machine.calls == []


@pytest.mark.parametrize("value", ["", "service:", "service:-x", "service:a b", "service:a/b", "reboot"])
def test_what_can_not_restart_a_node_is_a_bad_request(machine: Machine, value: str) -> None:
    with pytest.raises(Failure, match="bad_request"):
        machine.found(value)


# ------------------------------------------------------------------------------------------------- permission


def test_root_needs_no_sudo(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    machine.stand_in("systemctl", "")
    check_permitted(UNIT)
    assert restart_command(UNIT) == ["systemctl", "restart", UNIT]
    assert machine.calls == []


def test_sudo_is_asked_whether_others_may(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    machine.stand_in("systemctl", "")
    machine.stand_in("sudo", "")
    check_permitted(UNIT)
    assert machine.calls == ["-n -l systemctl restart emqx.service"]
    assert restart_command(UNIT) == ["sudo", "-n", "systemctl", "restart", UNIT]


@pytest.mark.parametrize("sudo", ["refuses", "is not there"])
def test_what_sudo_does_not_allow_is_told_with_the_line_that_would(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, sudo: str
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    machine.stand_in("systemctl", "")
    if sudo == "refuses":
        machine.stand_in("sudo", "exit 1")
    else:
        monkeypatch.setenv("PATH", str(machine.bin))
    with pytest.raises(Failure) as caught:
        check_permitted(UNIT)
    rule = f"uid 12345 ALL=(root) NOPASSWD: {machine.bin}/systemctl restart emqx.service"
    assert caught.value.err_type == "service_not_permitted"
    assert caught.value.detail == {"unit": UNIT, "user": "uid 12345", "sudoers": rule}
    assert rule in caught.value.hint


def test_without_systemctl_nothing_is_permitted(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(machine.bin))
    with pytest.raises(Failure, match="service_not_permitted: There is no systemctl"):
        check_permitted(UNIT)


@as_root
def test_a_real_sudo_takes_the_line_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with account() as user, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        systemctl, calls = folder / "systemctl", folder / "calls"
        systemctl.write_text(STAND_IN.format(log=calls, does="id -un >>" + str(calls)))
        systemctl.chmod(0o755)
        monkeypatch.setenv("PATH", name, prepend=os.pathsep)
        asked = partial(_by, user.name, partial(_refusal, UNIT))
        told = asked()
        assert told["sudoers"] == f"{user.name} ALL=(root) NOPASSWD: {systemctl} restart {UNIT}"
        # Where sudo would look for systemctl on its own is the machine's business.
        rule = told["sudoers"].partition(" ")[2] + f"\nDefaults:{user.name} !secure_path"
        with user.in_sudoers(rule):
            assert asked() is None
            assert _by(user.name, partial(_refusal, "other.service"))["unit"] == "other.service"
            assert _by(user.name, lambda: subprocess.call(restart_command(UNIT))) == 0
        assert calls.read_text().splitlines() == [f"restart {UNIT}", "root"]
        with user.in_sudoers(f"ALL=(root) {systemctl} restart {UNIT}\nDefaults:{user.name} !secure_path"):
            assert asked() == told, "a password would have to be given"


def _refusal(unit: str) -> dict[str, Any] | None:
    """The detail of the failure of asking, or None where it is permitted."""
    try:
        check_permitted(unit)
    except Failure as failure:
        return failure.detail
    return None


def _by(user: str, act: Callable[[], Any]) -> Any:
    """What something comes to in a process of that user."""
    ready, say = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            found = pwd.getpwnam(user)
            os.chdir("/")
            os.setgroups([])
            os.setgid(found.pw_gid)
            os.setuid(found.pw_uid)
            os.write(say, json.dumps(act()).encode())
        finally:
            os._exit(0)
    os.close(say)
    with os.fdopen(ready, "rb") as answer:
        said = json.loads(answer.read())
    os.waitpid(child, 0)
    return said


def test_a_rollback_that_could_not_restart_the_node_leaves_the_marker(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(machine.bin))
    release = machine.base / "releases"
    (release / "5.10.4").mkdir(parents=True)
    (release / "emqx_vars").write_text('REL_VSN="5.10.4"\n')
    (release / "5.10.4" / "BUILD_INFO").write_text('erlang: "27.3"\n')
    marker = machine.base / "relup" / "current"
    marker.parent.mkdir()
    marker.write_text("5.10.5")
    (machine.base / "data").mkdir()
    options = {"restart_by": "service:emqx"}
    request = {"run": "run", "command": "rollback", "operator": "alice@desk", "node": {}, "options": options}
    site = Site(str(machine.base), str(machine.base / "data"), None, None)
    context = Context(request, site, lambda _: None, io.BytesIO())
    with pytest.raises(Failure, match="service_not_permitted"):
        commands.run(context)
    assert marker.read_text() == "5.10.5"
    assert not context.changed
    assert [row["result"] for row in context.journal.rows()] == ["service_not_permitted"]


@pytest.mark.parametrize(("on_failure", "refused"), [("restart", ["service_not_permitted"]), ("stop", [])])
def test_an_upgrade_that_may_have_to_restart_the_node_is_refused_before_it_begins(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, on_failure: str, refused: list[str]
) -> None:
    monkeypatch.setenv("PATH", str(machine.bin))
    options = {"restart_by": "service:emqx", "on_failure": on_failure}
    request = {"run": "run", "command": "upgrade", "operator": "alice@desk", "node": {}, "options": options}
    site = Site(str(machine.base), str(machine.base / "data"), None, None)
    context = Context(request, site, lambda _: None, io.BytesIO())
    found = checks.refusals(context, (("upgrade", checks.restarting),))
    assert [failure.err_type for failure in found] == refused
