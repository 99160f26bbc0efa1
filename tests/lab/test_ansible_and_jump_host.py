"""A whole upgrade driven by an Ansible inventory and an ssh_config whose only way to the hosts is a jump host."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import sshd
from lab.cluster import Lab
from lab.layout import LOOPBACK
from tests.lab.cluster import BASE, FIRST, Tool, running_lab
from tests.unit.host import ssh_server
from tests.unit.host.ssh_server import Server

HOSTS = ("n1", "n2")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Two nodes."""
    with running_lab(tmp_path_factory.mktemp("lab"), len(HOSTS)) as made:
        yield made


@pytest.fixture(scope="module")
def bastion(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a key of its own, that lets through to the hosts and to nothing else."""
    hosts = " ".join(f"{LOOPBACK}:{lab.host(name).ssh_port}" for name in HOSTS)
    with ssh_server.running(tmp_path_factory.mktemp("bastion"), f"PermitOpen {hosts}", "LogLevel DEBUG1") as server:
        yield server


@pytest.fixture(scope="module")
def relup(lab: Lab, bastion: Server, tmp_path_factory: pytest.TempPathFactory) -> Tool:
    """The tool, on an inventory in which the hosts are mere names."""
    folder = tmp_path_factory.mktemp("ansible")
    files = {"ssh_config": SSH_CONFIG, "hosts": INVENTORY, "group_vars/cores.yml": "relup_role: core\n"}
    for name in HOSTS:
        host = lab.host(name)
        files[f"host_vars/{name}.yml"] = f"relup_root_dir: {host.root}\nrelup_node: {host.node}\n"
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(
            text.format(
                lab=lab.layout.ssh_config,
                user=lab.user,
                port=bastion.host.ssh_port,
                key=bastion.key,
                known_hosts=bastion.known_hosts,
                folder=folder,
            )
        )
    return Tool(folder / "hosts")


SSH_CONFIG = """\
Include {lab}
Host bastion
    HostName 127.0.0.1
    Port {port}
    User {user}
    IdentityFile {key}
    IdentitiesOnly yes
    UserKnownHostsFile {known_hosts}
Match originalhost n*
    ProxyJump bastion
"""

INVENTORY = """\
[cores]
n[1:2]

[emqx:children]
cores

[emqx:vars]
ansible_user={user}
ansible_ssh_common_args='-F {folder}/ssh_config'
"""


def ways(bastion: Server, lab: Lab) -> dict[str, int]:
    """How often the bastion has let somebody through to each host."""
    log = (bastion.host.ssh_dir / "sshd.log").read_text()
    return {name: log.count(f"target {LOOPBACK} port {lab.host(name).ssh_port}") for name in HOSTS}


def logins(lab: Lab) -> dict[str, int]:
    """How often somebody has logged in to each host."""
    logs = {name: (lab.host(name).ssh_dir / "sshd.log").read_text() for name in HOSTS}
    return {name: log.count("Accepted publickey") for name, log in logs.items()}


def test_the_bastion_is_the_only_way(relup: Tool, lab: Lab, bastion: Server) -> None:
    found = relup.run("hosts", "--host", "emqx")
    assert found.status == 0, found.stdout + found.stderr
    assert [(row["host"], row["running"]) for row in found.document["hosts"]] == [(name, BASE) for name in HOSTS]
    assert ways(bastion, lab) == logins(lab) == dict.fromkeys(HOSTS, 1)
    sshd.stop(bastion.host)
    closed = relup.run("hosts")
    sshd.start(bastion.host)
    assert closed.status == 1
    assert {row["error"]["err_type"] for row in closed.document["hosts"]} == {"host_unreachable"}
    assert logins(lab) == dict.fromkeys(HOSTS, 1)


def test_ansible_itself_goes_the_same_way(relup: Tool, lab: Lab, bastion: Server, tmp_path: Path) -> None:
    before = ways(bastion, lab)
    program = Path(sys.executable).with_name("ansible")
    asked = subprocess.run(
        [program, "emqx", "-i", relup.inventory, "-m", "raw", "-a", "echo reached"],
        cwd=tmp_path,
        # Without a shared connection that outlives it.
        env={**os.environ, "ANSIBLE_HOME": str(tmp_path), "ANSIBLE_SSH_ARGS": "-o ControlMaster=no"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (asked.returncode, asked.stdout.count("reached")) == (0, len(HOSTS)), asked.stdout + asked.stderr
    assert ways(bastion, lab) == {name: count + 1 for name, count in before.items()}


def test_nodes_of_this_machine_are_reached_without_ssh(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = logins(lab)
    monkeypatch.setenv("HOME", str(tmp_path))
    lines = [
        f"  {name}: {{root_dir: {lab.host(name).root}, transport: local, address: nowhere.invalid}}" for name in HOSTS
    ]
    inventory = tmp_path / "hosts.yml"
    inventory.write_text("\n".join(["hosts:", *lines, ""]))
    here = Tool(inventory)
    seen = here.run("status")
    assert seen.status == 0, seen.stdout + seen.stderr
    assert [(row["node"], row["running"]) for row in seen.document["hosts"]] == [
        (lab.host(name).node, BASE) for name in HOSTS
    ]
    refused = here.run("status", "--transport", "fabric")
    assert {row["error"]["err_type"] for row in refused.document["hosts"]} == {"host_unreachable"}
    assert logins(lab) == before


def test_a_whole_upgrade_goes_that_way(relup: Tool, lab: Lab, bastion: Server) -> None:
    tarball = str(lab.tarball(FIRST))
    staged = relup.run("stage", "--tarball", tarball, "--transport", "openssh")
    assert staged.status == 0, staged.stdout + staged.stderr
    plan = relup.run("plan", "--tarball", tarball)
    assert plan.status == 0, plan.stdout + plan.stderr
    upgrade = relup.run("upgrade", "--tarball", tarball, "--yes", "--no-backup", "--host", "cores", timeout=600)
    assert upgrade.status == 0, upgrade.stdout + upgrade.stderr
    assert [row["outcome"] for row in upgrade.document["hosts"]] == ["upgraded"] * len(HOSTS)
    for command in ("verify", "postcheck"):
        for transport in ("auto", "openssh"):
            checked = relup.run(command, "--host", "all", "--transport", transport)
            assert checked.status == 0, checked.stdout + checked.stderr
    assert [lab.eval(name, "emqx_release:version()") for name in HOSTS] == [f'"{FIRST}"'] * len(HOSTS)
    assert ways(bastion, lab) == logins(lab)
