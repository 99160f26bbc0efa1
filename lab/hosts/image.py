"""The file systems that machines begin with, and the releases for them.

Both are made once for each system, from Debian's packages, and kept below `.lab/hosts`. That takes minutes and needs a
mirror of Debian. Nothing else here does.
"""

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from lab.build import build, digest_of_sources
from lab.errors import LabError
from lab.hosts.room import run
from lab.layout import DEFAULT_STATE, PROJECT
from lab.release import otp
from lab.release.sources import LEAN

STORE = DEFAULT_STATE / "hosts"
VERSIONS = ("5.10.4-lab", "5.10.5-lab")

PACKAGES = (
    *("systemd", "systemd-sysv", "libpam-systemd", "dbus", "openssh-server", "sudo", "adduser", "python3", "procps"),
    *("iproute2", "libncurses6", "libssl3", "fish"),
)
"""What a machine has beside the base system."""

ERLANG = "base crypto mnesia ssl public-key asn1 runtime-tools syntax-tools os-mon"
"""What releases are built with, as Debian names it. Machines have none of it: a release brings its own."""

UNUSED = "getty.target systemd-firstboot.service apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer"
"""Units that would cost time at each boot."""

PREPARE = f"""
set -e
adduser --quiet --system --group --home /var/lib/emqx --no-create-home --shell /bin/bash --gecos '' emqx
adduser --quiet --disabled-password --gecos '' ops
systemctl --quiet mask {UNUSED}
systemctl --quiet enable ssh
rm -f /etc/ssh/ssh_host_* /etc/machine-id
apt-get clean
"""


@dataclass(frozen=True)
class System:
    """A system that machines can have, by the name of Debian's release."""

    suite: str
    number: int

    @property
    def name(self) -> str:
        return f"Debian {self.number}"

    @property
    def image(self) -> Path:
        """The folder of its file system; the name says what it was made of."""
        recipe = hashlib.sha256(repr((self.packages, PREPARE)).encode()).hexdigest()[:12]
        return STORE / "images" / f"{self.suite}-{recipe}"

    @property
    def packages(self) -> list[str]:
        """What is installed beside the base system."""
        renamed = {"libssl3": "libssl3t64"} if self.number >= 13 else {}
        return [renamed.get(package, package) for package in PACKAGES]

    @property
    def is_ready(self) -> bool:
        """Whether its image is there."""
        return self.image.is_dir()

    def require(self) -> None:
        """Raises `LabError` (``no_image``) where the image has not been made."""
        if not self.is_ready:
            raise LabError(
                "no_image", f"There is no image of {self.name} yet.", "Make it with `inv lab.hosts.image`, in minutes."
            )

    def make(self) -> bool:
        """Make the image, unless it is there; returns whether it was not. Raises `LabError` (``no_image``)."""
        if self.is_ready:
            return False
        if os.geteuid() != 0 or shutil.which("debootstrap") is None:
            raise LabError("no_image", "An image is made by root, with debootstrap.", "apt-get install debootstrap")
        part = self.image.with_name(f"{self.image.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.parent.mkdir(parents=True, exist_ok=True)
        include = f"--include={','.join(self.packages)}"
        mirror = [os.environ["DEBIAN_MIRROR"]] if "DEBIAN_MIRROR" in os.environ else []
        run(["debootstrap", "--variant=minbase", include, self.suite, str(part), *mirror])
        run(["chroot", str(part), "/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "sh", "-c", PREPARE])
        part.rename(self.image)
        return True

    def tarball(self, version: str) -> Path:
        """A release that runs on the system, built if need be. Raises `LabError` as `lab.build.build`."""
        if otp.os_name() == f"debian{self.number}":
            return build([version], STORE.parent / "releases", LEAN)[version]
        return self._built(version)

    def _built(self, version: str) -> Path:
        """A release that was built on the system itself, over its image, with its own Erlang/OTP."""
        folder = STORE / "releases" / f"{self.suite}-{digest_of_sources(ERLANG)[:12]}"
        tarball = folder / LEAN.folder / f"emqx-{version}.tar.gz"
        if not tarball.is_file():
            self.require()
            part = folder.with_name(f"{folder.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            for name in ("out", "upper", "work", "root"):
                (part / name).mkdir(parents=True)
            erlang = " ".join(f"erlang-{each}" for each in ERLANG.split())
            run(
                [
                    "unshare",
                    "--mount",
                    "--pid",
                    "--fork",
                    "sh",
                    "-euc",
                    BUILD,
                    str(part),
                    str(self.image),
                    str(PROJECT),
                    erlang,
                    " ".join(VERSIONS),
                ]
            )
            shutil.rmtree(folder, ignore_errors=True)
            (part / "out").rename(folder)
            shutil.rmtree(part)
        return tarball


BUILD = """
part=$0 image=$1 project=$2 erlang=$3 versions=$4
root=$part/root
mount -t overlay overlay -o "lowerdir=$image,upperdir=$part/upper,workdir=$part/work" "$root"
mount -t proc proc "$root/proc"
mkdir "$root/project" "$root/out"
mount --bind "$project" "$root/project"
mount --bind "$part/out" "$root/out"
cp -L /etc/resolv.conf "$root/etc/"
inside() { chroot "$root" env PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive "$@" >&2; }
inside apt-get update -qq
inside apt-get install -y -qq --no-install-recommends $erlang
inside env -C /project PYTHONDONTWRITEBYTECODE=1 python3 -m lab.build --lean --out /out $versions
"""
"""Build releases in a layer over an image, which is gone afterwards."""


BOOKWORM = System("bookworm", 12)
TRIXIE = System("trixie", 13)
SYSTEMS = (BOOKWORM, TRIXIE)
