"""The Pythons found on this machine: the core has to run on the oldest and on the newest of them."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

OLDEST = (3, 6)
VERSION = "import sys; print(*sys.version_info[:2])"


@cache
def oldest_and_newest() -> tuple[Path, ...]:
    """The interpreters to test with, at least this one; two if there are several versions."""
    found: dict[tuple[int, int], Path] = {}
    # Most names are links to others.
    for path in {path.resolve(): path for path in [*_candidates(), Path(sys.executable)]}.values():
        version = _version(path)
        if version is not None and version >= OLDEST:
            found.setdefault(version, path)
    return tuple(dict.fromkeys([found[min(found)], found[max(found)]]))


def _candidates() -> Iterator[Path]:
    """Interpreters on the PATH and of pyenv; not its shims, which stand for the latter and take long to say so."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or "~/.pyenv").expanduser()
    folders = [Path(name) for name in os.environ.get("PATH", "").split(":") if name]
    folders = [folder for folder in folders if folder != pyenv / "shims"]
    for folder in [*folders, *sorted(pyenv.glob("versions/*/bin"))]:
        yield from (path for path in sorted(folder.glob("python3*")) if re.fullmatch(r"python3(\.\d+)?", path.name))


def _version(python: Path) -> tuple[int, int] | None:
    """Its version; None if it does not run."""
    command = [str(python), "-I", "-S", "-c", VERSION]
    try:
        said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    major, minor = said.split()
    return int(major), int(minor)
