"""The two releases of the matrix: the lab's first one with an application that can be made to fail, in two versions."""

import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lab.release.sources import HERE as LAB_SOURCES
from lab.variants import renamed, variant

APP = "emqx_faults"
TARGET = "5.10.5-faults"
SOURCES = Path(__file__).parent / "app"
IN_APP = (APP, f"{APP}_app", f"{APP}_sup", f"{APP}_sups", f"{APP}_worker")
"""The application's modules as its `.app` file lists them; no restart touches the others in its folder."""

GATES = (f"{APP}_gate_before", f"{APP}_gate_after")
"""Modules that are new in the target."""

SPEC = """\
{{application, {app},
 [{{description, "Fails when it is told to"}},
  {{vsn, "{version}.0.0"}},
  {{modules, [{modules}]}},
  {{registered, []}},
  {{applications, [kernel, stdlib]}},
  {{mod, {{{app}_app, []}}}}]}}.
"""


@dataclass(frozen=True)
class Release:
    """A release made from the lab's first one: ``version`` of the application, compiled into ``folder``."""

    version: int
    folder: Path
    tarball: Path

    @property
    def ebin(self) -> str:
        """The application's `ebin` in the release."""
        return f"lib/{APP}-{self.version}.0.0/ebin"

    def place(self, module: str) -> str:
        """Where a module lies in the release."""
        return f"{self.ebin}/{module}.beam" if module.startswith(APP) else f"{self._emqx}/{module}.beam"

    @cached_property
    def beams(self) -> Mapping[str, bytes]:
        """What was compiled, by module."""
        return {path.stem: path.read_bytes() for path in sorted(self.folder.glob("*.beam"))}

    @property
    def _emqx(self) -> str:
        found = re.search(r'{vsn, "([^"]+)"}', (LAB_SOURCES / "apps/emqx/src/emqx.app.src").read_text())
        assert found
        return f"lib/emqx-{found[1]}/ebin"


def base(original: Path, folder: Path) -> Release:
    """The release that the nodes run first."""
    made = Release(1, folder, folder / original.name)
    modules = [module for module in _own() if module not in GATES]
    _compile([*(SOURCES / f"{module}.erl" for module in modules)], made)
    variant(original, made.tarball, add=_files(made))
    return made


def target(original: Path, folder: Path) -> Release:
    """The release that the hop leads to. Of the broker it changes a module that every connection runs."""
    made = Release(2, folder, folder / f"emqx-{TARGET}.tar.gz")
    lab = LAB_SOURCES / "apps" / "emqx" / "src"
    connection = (lab / "emqx_connection.erl").read_text()
    changed = connection.replace("-behaviour(gen_server).\n", "-behaviour(gen_server).\n-export([version/0]).\n", 1)
    assert changed != connection
    sources = {
        "emqx_connection": changed + "\nversion() -> ?VERSION.\n",
        "emqx_release": (lab / "emqx_release.erl").read_text().replace("?RELEASE_VERSION", f'"{TARGET}"'),
    }
    for module, text in sources.items():
        (folder / f"{module}.erl").write_text(text)
    _compile([*(SOURCES / f"{module}.erl" for module in _own()), *(folder / f"{name}.erl" for name in sources)], made)
    plain = renamed(original, folder / "renamed.tar.gz", TARGET)
    broker = {made.place(module): made.beams[module] for module in sources}
    variant(plain, made.tarball, replace=broker, add=_files(made))
    return made


def _own() -> list[str]:
    return [path.stem for path in sorted(SOURCES.glob("*.erl"))]


def _compile(sources: Iterable[Path], release: Release) -> None:
    options = ["+deterministic", "+debug_info", f"-DVERSION={release.version}", "-o", str(release.folder)]
    subprocess.run(["erlc", "-Werror", *options, *map(str, sources)], check=True)


def _files(release: Release) -> dict[str, bytes]:
    spec = SPEC.format(app=APP, version=release.version, modules=", ".join(IN_APP))
    own = {release.place(name): beam for name, beam in release.beams.items() if name.startswith(APP)}
    return {f"{release.ebin}/{APP}.app": spec.encode(), **own}
