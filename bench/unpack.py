"""Digest and unpacking of a release tarball: ours against ``sha256sum; tar xzf`` and against `tarfile`.

Each run has a file system of its own, ext4 in a fresh image: removing a tree and unpacking over its place again makes
ext4 look several times slower than it is. Without the right to mount, it is a folder on tmpfs, and the report says so.
The contestants take turns, a different one first each round. Each is timed twice: up to the last byte handed to the
kernel, and up to the end of a sync of the file system, which ours always does and the others would not.
"""

import argparse
import hashlib
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from time import perf_counter
from unittest import mock

from tabulate import tabulate

from relup_remote.core.archive import extract
from relup_remote.core.archive.tree import Tree

from . import payload

TARGET = 0.6
OURS, BASELINE, TARFILE = "ours", "sha256sum; tar xzf", "hashlib; tarfile"
MOMENTS = ("written", "synced")

Lap = Callable[[], None]
Disk = Callable[[Path], AbstractContextManager[Path]]


def main(arguments: Sequence[str]) -> int:
    """Prints the table; 0 if ours took at most `TARGET` of the baseline, by median, without sync and with."""
    parser = argparse.ArgumentParser(prog="bench unpack", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7, help="runs of each contestant (default 7)")
    rounds = parser.parse_args(arguments).rounds
    with tempfile.TemporaryDirectory(prefix="bench-unpack-") as name:
        folder = Path(name)
        tarball = payload.make(folder / "release.tar.gz")
        disk, disk_name = choose_disk(folder)
        seconds = measure(tarball.path, folder, disk, rounds)
    print(f"{tarball.size / 1e6:.1f} MB, unpacked {tarball.bytes / 1e6:.0f} MB in {tarball.files:,} files; {disk_name}")
    print(table(seconds))
    worst = max(ratio(seconds, OURS, moment) for moment in MOMENTS)
    print(f"target, ours at most {TARGET} of {BASELINE}: {'met' if worst <= TARGET else 'MISSED'}")
    return int(worst > TARGET)


def ours(tarball: Path, dest: Path, written: Lap) -> None:
    """The core's reader, as it runs on a host but for Python's own start."""
    sync = Tree.sync

    def noted_sync(tree: Tree) -> None:
        written()
        sync(tree)

    with mock.patch.object(Tree, "sync", noted_sync):
        extract(str(tarball), str(dest))


def shell(tarball: Path, dest: Path, written: Lap) -> None:
    """What an operator would type."""
    subprocess.run(["sha256sum", tarball], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["tar", "xzf", tarball, "-C", dest, "bin", "lib", "releases", "erts-15.2.7"], check=True)
    written()
    subprocess.run(["sync", "-f", dest], check=True)


def standard_library(tarball: Path, dest: Path, written: Lap) -> None:
    """What the standard library offers; without its checks, where it has them, for they would slow it down."""
    with tarball.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    with tarfile.open(tarball) as tar:
        if hasattr(tarfile, "fully_trusted_filter"):
            tar.extraction_filter = tarfile.fully_trusted_filter
        tar.extractall(dest)
    written()
    subprocess.run(["sync", "-f", dest], check=True)


CONTESTANTS = {OURS: ours, BASELINE: shell, TARFILE: standard_library}


def measure(tarball: Path, folder: Path, disk: Disk, rounds: int) -> dict[tuple[str, str], list[float]]:
    """Seconds of every run, by contestant and moment."""
    seconds: dict[tuple[str, str], list[float]] = {(name, moment): [] for name in CONTESTANTS for moment in MOMENTS}
    names = list(CONTESTANTS)
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            with disk(folder) as dest:
                laps = [perf_counter()]
                CONTESTANTS[name](tarball, dest, lambda laps=laps: laps.append(perf_counter()))  # type: ignore[misc]
                laps.append(perf_counter())
            for moment, lap in zip(MOMENTS, laps[1:], strict=True):
                seconds[name, moment].append(lap - laps[0])
    return seconds


def ratio(seconds: dict[tuple[str, str], list[float]], name: str, moment: str) -> float:
    """The median of a contestant against that of the baseline."""
    return statistics.median(seconds[name, moment]) / statistics.median(seconds[BASELINE, moment])


def table(seconds: dict[tuple[str, str], list[float]]) -> str:
    """A row a contestant: best and median seconds, and the ratio, for each moment."""
    rows = []
    for name in CONTESTANTS:
        row: list[str | float] = [name]
        for moment in MOMENTS:
            runs = seconds[name, moment]
            row += [min(runs), statistics.median(runs), ratio(seconds, name, moment)]
        rows.append(row)
    columns = [f"{moment}\n{column}" for moment in MOMENTS for column in ("best s", "median s", "ratio")]
    return tabulate(rows, headers=["", *columns], floatfmt=".2f")


def choose_disk(folder: Path) -> tuple[Disk, str]:
    """A fresh ext4 for each run if we may mount one, else a fresh folder in memory; with a name for the report."""
    try:
        with ext4_image(folder):
            return ext4_image, "fresh ext4 for each run"
    except (OSError, subprocess.CalledProcessError):
        return memory_folder, "fresh folders on tmpfs, as we may not mount"


@contextmanager
def ext4_image(folder: Path) -> Iterator[Path]:
    """An empty folder on an ext4 of its own, fully initialised, 1 GB."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        image, mount_point = Path(name) / "image", Path(name) / "mounted"
        mount_point.mkdir()
        with image.open("wb") as file:
            file.truncate(1 << 30)
        quiet(["mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", image])
        quiet(["sync", "-f", image])
        quiet(["mount", "-o", "loop", image, mount_point])
        try:
            with tempfile.TemporaryDirectory(dir=mount_point) as dest:
                yield Path(dest)
        finally:
            quiet(["umount", mount_point])


@contextmanager
def memory_folder(_folder: Path) -> Iterator[Path]:
    """An empty folder on tmpfs."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as dest:
        yield Path(dest)


def quiet(command: Sequence[str | Path]) -> None:
    """Runs a command that must succeed and has nothing to say."""
    subprocess.run(command, check=True, capture_output=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
