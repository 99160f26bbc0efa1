"""Machines as careful administrators set them up: what a shell, sudo, mounts and disks may be like."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import yaml

from lab.hosts import files
from lab.hosts.lab import Hosts
from lab.hosts.machine import Machine
from tests.hosts.operator import Operator
from tests.hosts.test_package import versions
from tests.lab.cluster import BASE, FIRST, Ran

PASSWORD = "correct horse"
OURS = "/var/lib/emqx/relup_remote"


@contextmanager
def sudoers(machine: Machine, text: str) -> Iterator[None]:
    """Other rules of sudo for a while."""
    machine.run("tee", "/etc/sudoers.d/ops", given=text)
    try:
        yield
    finally:
        machine.run("tee", "/etc/sudoers.d/ops", given=files.SUDOERS)


@contextmanager
def mounted(machine: Machine, place: str, options: str) -> Iterator[None]:
    """A file system in memory at a place for a while."""
    machine.run("mount", "-t", "tmpfs", "-o", options, "tmpfs", place)
    try:
        yield
    finally:
        machine.run("umount", "--lazy", place)


@contextmanager
def fish(machine: Machine) -> Iterator[None]:
    """A login shell that is no POSIX shell."""
    machine.run("usermod", "--shell", "/usr/bin/fish", files.OPERATOR)
    try:
        yield
    finally:
        machine.run("usermod", "--shell", "/bin/bash", files.OPERATOR)


@contextmanager
def hidden_processes(machine: Machine) -> Iterator[None]:
    """Users see no processes but their own."""
    machine.run("mount", "-o", "remount,hidepid=2", "/proc")
    try:
        yield
    finally:
        machine.run("mount", "-o", "remount,hidepid=0", "/proc")


def test_an_upgrade_of_odd_machines(cluster: Hosts, tmp_path: Path, tarball: Path) -> None:
    shell, hidden, password = cluster.nodes
    inventory = yaml.safe_load(cluster.inventory.read_text())
    # Who may not become root can't be told whose the node is.
    inventory["hosts"][hidden.name]["become"] = "emqx"
    path = tmp_path / "odd.yml"
    path.write_text(yaml.safe_dump(inventory))
    operator = Operator(cluster, tmp_path / "odd", path)
    password.run("chpasswd", given=f"{files.OPERATOR}:{PASSWORD}\n")
    with ExitStack() as odd:
        odd.enter_context(fish(shell))
        odd.enter_context(mounted(shell, "/tmp", "noexec,nosuid,nodev,mode=1777"))
        odd.enter_context(hidden_processes(hidden))
        odd.enter_context(sudoers(hidden, f"Defaults use_pty\n{files.SUDOERS}"))
        odd.enter_context(sudoers(password, files.SUDOERS.replace("ops ALL=(emqx) NOPASSWD:", "ops ALL=(emqx)")))

        refused = operator.run("status", "--host", password.name)
        assert (refused.status, refused.error(password.name)["err_type"]) == (1, "become_failed")
        assert "--ask-sudo-password" in refused.error(password.name)["hint"]

        options = ("--tarball", str(tarball), "--yes", "--no-backup", "--ask-sudo-password")
        status, seen = operator.on_terminal(
            "upgrade", *options, typed=[f"{PASSWORD}\n"], question=b"sudo password on the hosts"
        )
        assert status == 0, seen
        assert PASSWORD not in seen
        # The live table may show an instruction of the hop, which begins as a document does.
        rows = json.loads(seen[seen.index('{\r\n  "command"') :])["hosts"]
        assert [row["outcome"] for row in rows] == ["upgraded"] * 3
        assert versions(cluster) == [FIRST] * 3
    for machine in cluster.nodes:
        assert machine.run("find", OURS, "/usr/lib/emqx/relup", "!", "-user", "emqx") == ""


def test_a_sudo_that_wants_a_terminal_is_named(cluster: Hosts, operator: Operator) -> None:
    first = cluster.nodes[0]
    with sudoers(first, f"Defaults requiretty\n{files.SUDOERS}"):
        ran = operator.run("status", "--host", first.name)
    assert (ran.status, ran.error()["err_type"]) == (1, "become_failed")
    assert "requiretty" in ran.error()["hint"]


def test_no_node_is_touched_where_a_disk_is_full(cluster: Hosts, operator: Operator, tarball: Path) -> None:
    first = cluster.nodes[0]
    owner = f"uid={first.run('id', '-u', 'emqx').strip()},gid={first.run('id', '-g', 'emqx').strip()},mode=700"
    first.run("runuser", "-u", "emqx", "--", "mkdir", "-p", OURS)

    def upgrade() -> Ran:
        return operator.run("upgrade", "--tarball", str(tarball), "--yes", "--no-backup", "--host", first.name)

    with mounted(first, OURS, f"size=1m,{owner}"):
        refused = upgrade()
        assert (refused.status, refused.error()["err_type"]) == (3, "disk_full"), refused.stdout
        first.run("sh", "-c", f"head -c 900k /dev/zero >{OURS}/other; cat /dev/zero >>{OURS}/other || true")
        refused = upgrade()
        assert (refused.status, refused.error()["err_type"]) == (3, "disk_full"), refused.stdout
    assert versions(cluster) == [BASE] * 3
