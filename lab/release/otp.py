"""The Erlang/OTP that releases are built with and ship."""

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lab.errors import LabError
from lab.release.tarball import File

STARTED = ("kernel", "stdlib", "sasl", "compiler", "crypto", "asn1", "public_key", "ssl", "runtime_tools", "mnesia")
"""The applications of OTP that a node starts, in this order."""

LOADED = ("syntax_tools", "parsetools", "tools", "xmerl", "inets", "os_mon", "snmp")
"""The applications of OTP that are in a release without being started."""

LEAN_LOADED = ("syntax_tools", "os_mon")
"""Those of them that are in a lean release: the small ones."""

BOOT_FILES = ("no_dot_erlang.boot", "start_clean.boot")
"""The boot files that `escript` and `erl_call` look for in a root's `bin`."""

_ASK = """
io:format("~ts~n~ts~n~ts~n~p~n", [code:root_dir(), erlang:system_info(version),
    erlang:system_info(system_architecture), erlang:system_info(wordsize) * 8]),
Place = [code:root_dir(), "releases", erlang:system_info(otp_release), "OTP_VERSION"],
{ok, Version} = file:read_file(filename:join(Place)),
io:format("~ts", [Version]),
halt().
"""


@dataclass(frozen=True)
class Otp:
    """An installation: its `root` folder, and how BUILD_INFO puts what it is."""

    root: Path
    erts: str
    arch: str
    wordsize: str
    version: str

    @property
    def beam(self) -> Path:
        """The VM's program."""
        return self.root / f"erts-{self.erts}" / "bin" / "beam.smp"

    def app_dir(self, app: str) -> Path:
        """The folder of an application, ``lib/<app>-<vsn>``. Raises `LabError` (``otp_incomplete``)."""
        found = sorted(self.root.glob(f"lib/{app}-[0-9]*/ebin/{app}.app"))
        if not found:
            raise LabError(
                "otp_incomplete",
                f"The Erlang/OTP in {self.root} lacks the application {app}.",
                f"Install it: apt-get install erlang-{app.replace('_', '-')}",
            )
        return found[-1].parent.parent

    def app_version(self, app: str) -> str:
        """The version of an application."""
        return self.app_dir(app).name.removeprefix(f"{app}-")

    def tree(self, lean: bool = False) -> dict[str, File]:
        """What a release takes over: the VM, the applications, the boot files of the tools.

        ``lean``: of the applications, only what a VM reads.
        """
        erts = self.root / f"erts-{self.erts}"
        tree = dict(_files(erts, erts.name))
        for app in STARTED + loaded(lean):
            directory = self.app_dir(app)
            for part in (directory / "ebin", directory / "priv") if lean else (directory,):
                tree.update(_files(part, f"lib/{part.relative_to(directory.parent)}"))
        tree.update({f"bin/{name}": File(self.root / "bin" / name) for name in BOOT_FILES})
        return tree


def loaded(lean: bool) -> tuple[str, ...]:
    """The applications of OTP that are in a release, lean or not, without being started."""
    return LEAN_LOADED if lean else LOADED


@cache
def find() -> Otp:
    """The installation that `erl` belongs to. Raises `LabError` (``erlang_missing``)."""
    program = shutil.which("erl")
    if program is None:
        raise LabError("erlang_missing", "There is no Erlang/OTP here.", "Run `make setup`, which installs it.")
    expression = " ".join(_ASK.split("\n"))
    command = [program, "-noinput", "-boot", "no_dot_erlang", "-eval", expression]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL).stdout
    root, erts, arch, wordsize, version = answer.split()
    return Otp(Path(root), erts, arch, wordsize, version)


def os_name() -> str:
    """This system in BUILD_INFO's manner: ``debian12``."""
    release = platform.freedesktop_os_release()
    return re.sub(r"\W", "", release["ID"]) + release.get("VERSION_ID", "").partition(".")[0]


def _files(directory: Path, name: str) -> Iterator[tuple[str, File]]:
    for path in directory.rglob("*"):
        if path.is_file():
            yield f"{name}/{path.relative_to(directory)}", File(path, executable=os.access(path, os.X_OK))
