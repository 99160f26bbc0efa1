"""A real OpenSSH server for each host of a lab, run by whoever runs the lab."""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

from lab import config_files, processes
from lab.errors import LabError
from lab.layout import LOOPBACK, Host

PRIVILEGE_SEPARATION = Path("/run/sshd")
"""A folder that sshd demands as root, and that usually the system's service makes."""

START_TIMEOUT = 10.0
OPTIONAL = ("PerSourcePenalties=no",)
"""Options only newer servers know: they would shut out the whole loopback after some refused logins."""


def make_key(path: Path, comment: str) -> str:
    """Make an ed25519 key without a passphrase at ``path`` unless it is there; returns the public half."""
    if not path.exists():
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return path.with_name(path.name + ".pub").read_text()


def prepare(host: Host, user: str, client_public_key: str) -> str:
    """Write all that the host's server needs; returns its public key. Safe to repeat: an existing host key stays."""
    host.ssh_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    host.home.mkdir(mode=0o700, exist_ok=True)
    if os.geteuid() == 0:
        PRIVILEGE_SEPARATION.mkdir(mode=0o755, exist_ok=True)
    public_key = make_key(host.ssh_dir / "host_key", host.name)
    (host.ssh_dir / "authorized_keys").write_text(client_public_key)
    session = host.ssh_dir / "session"
    session.write_text(config_files.SESSION)
    session.chmod(0o755)
    config(host).write_text(config_files.sshd_config(host, user))
    return public_key


def config(host: Host) -> Path:
    """The server's configuration file, by which its process is recognised too."""
    return host.ssh_dir / "sshd_config"


def pid(host: Host) -> int | None:
    """The pid of the host's server, or None while it doesn't run."""
    found = processes.read_pid(host.ssh_dir / "sshd.pid")
    return found if found is not None and is_server(found, host) else None


def is_server(candidate: int, host: Host) -> bool:
    """Whether a process is the listening server of ``host``.

    sshd writes its title over its command line, but what it was called with stays in it.
    """
    return processes.executable(candidate) == "sshd" and str(config(host)) in " ".join(processes.arguments(candidate))


def start(host: Host) -> bool:
    """Start the host's server, unless it runs, and await its banner; returns whether there was anything to do.

    Raises `LabError` (``sshd_missing``, ``sshd_failed``).
    """
    if pid(host) is not None:
        return False
    server = _server()
    log = host.ssh_dir / "sshd.log"
    command = [server, "-f", str(config(host)), "-E", str(log)]
    for option in OPTIONAL:
        if subprocess.run([*command, "-t", "-o", option], capture_output=True, check=False).returncode == 0:
            command += ["-o", option]
    started = subprocess.run(command, capture_output=True, check=False, text=True)
    if started.returncode != 0 or not _await_banner(host):
        reason = started.stderr.strip() or "it does not answer"
        raise LabError("sshd_failed", f"The SSH server of {host.name} did not start: {reason}", f"Its log is {log}.")
    return True


def stop(host: Host) -> bool:
    """Stop the host's server and all its sessions; returns whether it ran."""
    server = pid(host)
    if server is None:
        return False
    sessions = _sessions(server)
    processes.end(server, lambda candidate: is_server(candidate, host))
    for session in sessions:
        processes.end(session, _is_sshd)
    return True


def _server() -> str:
    found = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin")
    if found is None:
        raise LabError("sshd_missing", "There is no OpenSSH server here.", "Install it: apt-get install openssh-server")
    return found


def _is_sshd(candidate: int) -> bool:
    """Newer servers run their sessions as programs of their own, `sshd-session` and `sshd-auth`."""
    return processes.executable(candidate).startswith("sshd")


def _sessions(server: int) -> list[int]:
    """The sshd processes below ``server``: a monitor for each connection and, as root, its unprivileged child."""
    below = [server]
    children: dict[int, list[int]] = {}
    for candidate in processes.find(_is_sshd):
        children.setdefault(processes.parent(candidate), []).append(candidate)
    for process in below:
        below += children.get(process, [])
    return below[1:]


def _await_banner(host: Host) -> bool:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        try:
            with socket.create_connection((LOOPBACK, host.ssh_port), timeout=1) as connection:
                if connection.recv(4) == b"SSH-":
                    return pid(host) is not None
        except OSError:
            pass
        time.sleep(0.02)
    return False
