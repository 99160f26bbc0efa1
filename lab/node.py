"""One node of a lab: its root on disk, and its VM, started by the release's own wrapper."""

import os
import secrets
import shutil
import socket
import subprocess
import time
from itertools import pairwise
from pathlib import Path

from lab import processes
from lab.errors import LabError
from lab.layout import LOOPBACK, Host
from lab.release.wrapper import with_folders

START_TIMEOUT = 90.0
EVAL_TIMEOUT = 30.0
POLL_INTERVAL = 0.05


def write_secret(path: Path, text: str) -> None:
    """Write a file that only its owner can read, from its first byte on."""
    path.unlink(missing_ok=True)
    path.touch(mode=0o600, exist_ok=False)
    path.write_text(text)


def make_cookie(path: Path) -> str:
    """The cookie kept at ``path``, made at the first call."""
    if not path.exists():
        write_secret(path, secrets.token_hex(16))
    return path.read_text()


def unpack(host: Host, tarball: Path) -> None:
    """Unpack a release into the host's root, which must not exist; a root is there whole or not at all.

    Raises `LabError` (``unpack_failed``).
    """
    partial = host.root.with_name("root.part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    command = ["tar", "-xzf", str(tarball), "-C", str(partial), "--no-same-owner"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError(
            "unpack_failed",
            f"{tarball.name} could not be unpacked for {host.name}: {done.stderr.strip()}",
            "Remove the tarball to have it built again, if the disk is not full.",
        )
    host.root.parent.mkdir(parents=True, exist_ok=True)
    if host.packaged:
        _install(host, partial)
    partial.rename(host.root)


def _install(host: Host, unpacked: Path) -> None:
    """Make of an unpacked release what a package installs: its folders apart, and named in its `emqx_vars`."""
    for name, place in (("etc", host.etc), ("data", host.data), ("log", host.log)):
        place.parent.mkdir(parents=True, exist_ok=True)
        (unpacked / name).rename(place)
    (unpacked / "plugins").rename(host.data / "plugins")
    host.wrapper.parent.mkdir(parents=True, exist_ok=True)
    host.wrapper.symlink_to(host.root / "bin" / "emqx")
    places = {
        "RUNNER_BIN_DIR": host.wrapper.parent,
        "EMQX_ETC_DIR": host.etc,
        "EMQX_LOG_DIR": host.log,
        "EMQX_PLUGINS_DIR": host.data / "plugins",
    }
    file = unpacked / "releases" / "emqx_vars"
    named = {name: str(place) for name, place in places.items()}
    file.write_text(with_folders(file.read_text(), {**named, "RUNNER_USER": ""}))


def configure(host: Host, conf: str) -> None:
    """Write the node's `emqx.conf`."""
    write_secret(host.etc / "emqx.conf", conf)


def boot_root(host: Host) -> Path:
    """The tree the next start would boot: the markers `relup/current` followed from the root on."""
    tree = host.root
    while (marker := tree / "relup" / "current").is_file():
        tree = tree / "relup" / marker.read_text().strip()
    return tree


def pid(host: Host) -> int | None:
    """The pid of the node's VM, or None while it doesn't run."""
    found = processes.find(lambda candidate: is_node(candidate, host))
    return found[0] if found else None


def is_node(candidate: int, host: Host) -> bool:
    """Whether a process is the VM of ``host``: booted from its root or a tree below, under its name.

    The escripts of the wrapper are VMs of the same root too, but have no data folder.
    """
    if processes.executable(candidate) != "beam.smp":
        return False
    words = processes.arguments(candidate)
    options = dict(pairwise(words))
    root = Path(options.get("-root", "/"))
    return "-emqx_data_dir" in options and options.get("-name") == host.node and root.is_relative_to(host.root)


def start(host: Host) -> bool:
    """Start the node, unless it runs, and await its MQTT port; returns whether there was anything to do.

    Raises `LabError` (``node_failed``).
    """
    if pid(host) is not None:
        return False
    if not (_call_start(host) and _await_listener(host)):
        raise LabError(
            "node_failed",
            f"Node {host.node} did not start.",
            f"See {host.start_log} and the logs in {host.log}.",
        )
    return True


def _call_start(host: Host) -> bool:
    try:
        with host.start_log.open("wb") as log:
            subprocess.run(
                [str(host.wrapper), "start"],
                cwd=host.root,
                env=_environment(host),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=START_TIMEOUT,
                start_new_session=True,
                check=True,
            )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return False
    return True


def launch(host: Host) -> int:
    """Start the node in the background, as its wrapper does, and return its pid at once; nothing is awaited."""
    with host.start_log.open("wb") as log:
        started = subprocess.run(
            ["sh", "-c", 'setsid "$0" foreground </dev/null >&2 & echo $!', str(host.wrapper)],
            cwd=host.root,
            env=_environment(host),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            check=True,
        )
    return int(started.stdout)


def stop(host: Host) -> bool:
    """Stop the node as an init system does, by SIGTERM, and await its end; returns whether it ran."""
    running = pid(host)
    return running is not None and processes.end(running, lambda candidate: is_node(candidate, host), timeout=30)


def kill(host: Host) -> bool:
    """End the node by SIGKILL; returns whether it ran."""
    running = pid(host)
    return running is not None and processes.kill(running, lambda candidate: is_node(candidate, host))


def evaluate(host: Host, expression: str) -> str:
    """The value of an Erlang expression in the node, as printed by the wrapper's `eval`.

    Raises `LabError` (``eval_failed``).
    """
    try:
        done = subprocess.run(
            [str(host.wrapper), "eval", expression],
            cwd=host.root,
            env=_environment(host),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=EVAL_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        # The exception's own text would do, but it repeats the whole command.
        raise _eval_failed(host, type(error).__name__) from None
    if done.returncode != 0:
        raise _eval_failed(host, (done.stderr or done.stdout).strip() or f"exit status {done.returncode}")
    return done.stdout.strip()


def _eval_failed(host: Host, reason: str) -> LabError:
    return LabError(
        "eval_failed",
        f"Node {host.node} could not be asked: {reason}",
        "Is it running? `inv lab.status` says so, `inv lab.up` starts it.",
    )


def _environment(host: Host) -> dict[str, str]:
    """What a node and its wrapper are started with; the HOME also tells which host a process belongs to."""
    kept = {name: os.environ[name] for name in ("PATH", "USER", "LOGNAME", "TMPDIR") if name in os.environ}
    return {**kept, "HOME": str(host.home), "LANG": "C.UTF-8"}


def _await_listener(host: Host) -> bool:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        if pid(host) is None:
            return False
        try:
            socket.create_connection((LOOPBACK, host.mqtt_port), timeout=1).close()
            return True
        except OSError:
            time.sleep(POLL_INTERVAL)
    return False
