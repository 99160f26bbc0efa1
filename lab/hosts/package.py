"""A node on a machine, installed as EMQX's packages do."""

import tarfile
from pathlib import Path

from lab.hosts import files
from lab.hosts.machine import Machine
from lab.release.wrapper import Vars, folders, with_folders

ROOT = "/usr/lib/emqx"
DATA = "/var/lib/emqx"
LOG = "/var/log/emqx"
ETC = "/etc/emqx"
MQTT_PORT = 1883

OWNED = f"chown -R emqx:emqx {ROOT} {DATA} {LOG} {ETC}"

PLACES = f"""
mv {ROOT}/etc {ETC}
mv {ROOT}/data {DATA}
mv {ROOT}/log {LOG}
mv {ROOT}/plugins {DATA}/plugins
ln -s {ROOT}/bin/emqx /usr/bin/emqx
{OWNED}
systemctl --quiet enable emqx
"""


def install(machine: Machine, tarball: Path) -> None:
    """Install a release on a machine that is off and has none."""
    root = machine.path(ROOT)
    with tarfile.open(tarball) as tar:
        tar.extractall(root, filter="tar")
    file = root / "releases" / "emqx_vars"
    file.write_text(with_folders(file.read_text(), folders(Vars.PACKAGE)))
    machine.write("/etc/systemd/system/emqx.service", files.UNIT)
    machine.chroot(PLACES)


def configure(machine: Machine, conf: str) -> None:
    """Write the node's `emqx.conf`."""
    machine.write(f"{ETC}/emqx.conf", conf)
    machine.chroot(OWNED)
