"""Builds the lab's releases: tarballs shaped as EMQX's, with real OTP libraries and a broker of our own.

    python -m lab.build [VERSION…] [--elixir] [--libraries N] [--no-machine] [--lean] [--out DIR]

A tarball is built again only when something it is made of has changed. The same inputs give the same bytes.
"""

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError
from lab.layout import DEFAULT_STATE, Layout
from lab.release import otp, sources
from lab.release.otp import Otp
from lab.release.sources import USUAL, App, Traits
from lab.release.tarball import File, sidecar, write, write_sidecar
from lab.release.wrapper import Vars, emqx_vars, folders

OUT_DIR = Layout(DEFAULT_STATE).releases
VERSIONS = tuple(sources.CHANGES)
EMPTY_DIRECTORIES = ("data", "log", "plugins")
FILES = sources.HERE / "files"
NODETOOL = "bin/nodetool"
"""A program of a release that is compiled; elsewhere it is shipped as its source, and takes twice as long to start."""
VARS = Vars.RELATIVE
"""Which folders a release names to its wrapper, unless a variant of it has others."""


def build_release(version: str, out_dir: Path = OUT_DIR, traits: Traits = USUAL) -> Path:
    """The tarball of one release, built if need be. Raises as `build`."""
    return build([version], out_dir, traits)[version]


def build_all(out_dir: Path = OUT_DIR, traits: Traits = USUAL) -> dict[str, Path]:
    """The tarballs of all releases by version, built if need be. Raises as `build`."""
    return build(VERSIONS, out_dir, traits)


def build(versions: Iterable[str], out_dir: Path, traits: Traits = USUAL) -> dict[str, Path]:
    """The tarballs of some releases by version, in ``out_dir``, each with its sidecar; built if need be.

    ``traits`` are what they take on of real ones; those with other traits than the usual lie beside, under other names
    or in another folder.
    Several processes may build into one folder: they take turns, and the second finds what the first built.

    Raises `LabError` (``unknown_release``, ``erlang_missing``, ``otp_incomplete``, ``build_failed``).
    """
    out_dir /= traits.folder
    wanted = {version: out_dir / f"emqx-{version}{traits.suffix}.tar.gz" for version in versions}
    for version in wanted:
        if version not in VERSIONS:
            raise LabError("unknown_release", f"There is no release {version}.", f"There are {', '.join(VERSIONS)}.")
    installed = otp.find()
    inputs = digest_of_inputs(installed)
    out_dir.mkdir(parents=True, exist_ok=True)
    with _turn(out_dir):
        stale = {version: path for version, path in wanted.items() if not _is_current(path, inputs)}
        if stale:
            with tempfile.TemporaryDirectory(prefix=".build-", dir=out_dir) as work:
                _build(stale, installed, Path(work), traits)
            for path in stale.values():
                _stamp(path).write_text(inputs)
    return wanted


def digest_of_inputs(installed: Otp) -> str:
    """A digest of all that a release is made of."""
    beam = installed.beam.stat()
    return digest_of_sources((installed, otp.os_name(), beam.st_size, beam.st_mtime_ns))


def digest_of_sources(*others: object) -> str:
    """A digest of what a release is made of but for Erlang/OTP, and of ``others``."""
    digest = hashlib.sha256(repr(others).encode())
    for path in sorted([Path(__file__), *sources.HERE.rglob("*")]):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(f"{path.name} {path.stat().st_mode}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def _is_current(tarball: Path, inputs: str) -> bool:
    stamp = _stamp(tarball)
    return tarball.is_file() and sidecar(tarball).is_file() and stamp.is_file() and stamp.read_text() == inputs


def _stamp(tarball: Path) -> Path:
    return tarball.with_name(f".{tarball.name}.inputs")


@contextmanager
def _turn(out_dir: Path) -> Iterator[None]:
    with (out_dir / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in out_dir.glob(".build-*"):
            shutil.rmtree(left)
        yield


@dataclass(frozen=True)
class _Release:
    """A release to be built: its applications, the source of its consolidated protocols, and what it takes on."""

    version: str
    traits: Traits
    apps: Sequence[App]
    consolidated: dict[str, str]
    installed: Otp

    @property
    def modules(self) -> Iterator[tuple[str, str]]:
        """All its modules with their sources; a protocol is there twice."""
        for app in self.apps:
            yield from app.modules.items()
        yield from self.consolidated.items()


def _build(tarballs: dict[str, Path], installed: Otp, work: Path, traits: Traits) -> None:
    releases = {
        version: _Release(
            version, traits, sources.apps(version, traits), sources.consolidated(version, traits), installed
        )
        for version in tarballs
    }
    tree = installed.tree(traits.lean)
    stripped = {name: work / "stripped" / name for name in tree if traits.lean and name.endswith(".beam")}
    to_strip = {path: to for name, to in stripped.items() if isinstance(path := tree[name].content, Path)}
    beams = _compile(releases.values(), installed, work, to_strip)
    tree |= {name: File(path) for name, path in stripped.items()}
    common = tree | {
        str(path.relative_to(FILES)): File(path, executable=os.access(path, os.X_OK))
        for path in FILES.rglob("*")
        if path.is_file()
    }
    common[NODETOOL] = File(work / "nodetool", executable=True)

    def pack(version: str) -> None:
        made = work / tarballs[version].name
        own = _own_files(releases[version], beams)
        boot = {f"releases/{version}/start.boot": File(_boot_dir(work, version) / "start.boot")}
        write(made, {**common, **own, **boot}, EMPTY_DIRECTORIES)
        write_sidecar(made)
        _stamp(tarballs[version]).unlink(missing_ok=True)
        for part in (made, sidecar(made)):
            part.rename(tarballs[version].with_name(part.name))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(pack, tarballs))


def _compile(
    releases: Iterable[_Release], installed: Otp, work: Path, stripped: Mapping[Path, Path]
) -> dict[str, Path]:
    """Compile each different source once, make the boot files, and strip the beams in ``stripped`` to where it says.

    Returns the beams by source.
    """
    beams: dict[str, Path] = {}
    steps = []
    for release in releases:
        for module, source in release.modules:
            if source not in beams:
                directory = work / "modules" / hashlib.sha256(source.encode()).hexdigest()
                directory.mkdir(parents=True)
                (directory / f"{module}.erl").write_text(source)
                beams[source] = directory / f"{module}.beam"
                steps.append(_term("compile", directory / f"{module}.erl", directory))
        boot_dir = _boot_dir(work, release.version)
        _prepare_boot(release, boot_dir)
        steps.append(_term("boot", boot_dir / "emqx", boot_dir / "lib", boot_dir))
    for beam, to in stripped.items():
        to.parent.mkdir(parents=True, exist_ok=True)
        steps.append(_term("strip", beam, to))
    steps.append(_term("escript", FILES / NODETOOL, work / "nodetool"))
    plan = work / "plan"
    plan.write_text("".join(steps))
    escript = installed.root / "bin" / "escript"
    done = subprocess.run([escript, sources.HERE / "make.escript", plan], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError("build_failed", "The release could not be built.", (done.stderr or done.stdout).strip())
    return beams


def _prepare_boot(release: _Release, boot_dir: Path) -> None:
    """A `lib` with all applications of a release, as far as the boot file's maker looks, and the `.rel` file."""
    lib = boot_dir / "lib"
    lib.mkdir(parents=True)
    for name in otp.STARTED + otp.loaded(release.traits.lean):
        directory = release.installed.app_dir(name)
        (lib / directory.name).symlink_to(directory)
    for app in release.apps:
        ebin = boot_dir / app.directory / "ebin"
        ebin.mkdir(parents=True)
        (ebin / f"{app.name}.app").write_text(app.spec)
    (boot_dir / "emqx.rel").write_text(_rel(release))


def _boot_dir(work: Path, version: str) -> Path:
    return work / "boot" / version


def _own_files(release: _Release, beams: dict[str, Path]) -> dict[str, File]:
    version, installed = release.version, release.installed
    ours = {
        "releases/emqx_vars": emqx_vars(version, installed.erts, folders(VARS), release.traits.elixir),
        "releases/start_erl.data": f"{installed.erts} {version}\n",
        f"releases/{version}/emqx.rel": _rel(release),
        f"releases/{version}/BUILD_INFO": _build_info(release),
    }
    tree = {name: File(text.encode()) for name, text in ours.items()}
    for app in release.apps:
        ebin = f"{app.directory}/ebin"
        tree[f"{ebin}/{app.name}.app"] = File(app.spec.encode())
        tree.update({f"{ebin}/{module}.beam": File(beams[source]) for module, source in app.modules.items()})
        tree.update({f"{app.directory}/priv/{name}": File(text.encode()) for name, text in app.priv.items()})
    protocols = {f"releases/{version}/consolidated/{name}.beam": name for name in release.consolidated}
    return tree | {path: File(beams[release.consolidated[name]]) for path, name in protocols.items()}


def _rel(release: _Release) -> str:
    # Mnesia is started with the broker, which needs it.
    by_broker = ("mnesia",) if release.traits.machine else ()
    installed = release.installed
    members = [(app, installed.app_version(app), "load" if app in by_broker else "") for app in otp.STARTED]
    members += [(app, installed.app_version(app), "load") for app in otp.loaded(release.traits.lean)]
    members += [(app.name, app.version, app.start) for app in release.apps]
    listed = ",\n  ".join(f'{{{name}, "{vsn}"{f", {start}" if start else ""}}}' for name, vsn, start in members)
    return f'{{release, {{"emqx", "{release.version}"}}, {{erts, "{installed.erts}"}},\n [{listed}]}}.\n'


def _build_info(release: _Release) -> str:
    installed = release.installed
    elixir = next((app.version for app in release.apps if app.name == "elixir"), "none")
    facts = {
        "arch": installed.arch,
        "wordsize": installed.wordsize,
        "os": otp.os_name(),
        "erlang": installed.version,
        "elixir": elixir,
        "relform": "tgz",
    }
    return "".join(f'{key}: "{value}"\n' for key, value in facts.items())


def _term(name: str, *paths: Path) -> str:
    # A string is written alike in JSON and in Erlang.
    return f"{{{name}, {', '.join(json.dumps(str(path), ensure_ascii=False) for path in paths)}}}.\n"


def main(arguments: Sequence[str]) -> int:
    """Build the releases that ``arguments`` name, by default all, and print their paths; the exit status."""
    parser = argparse.ArgumentParser(prog="lab.build", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("versions", metavar="VERSION", nargs="*", help=f"one of {', '.join(VERSIONS)}; default: all")
    parser.add_argument("--out", metavar="DIR", type=Path, default=OUT_DIR, help="folder of the tarballs")
    parser.add_argument("--elixir", action="store_true", help="as a build with Elixir")
    parser.add_argument("--libraries", metavar="N", type=int, default=0, help="so many further libraries")
    parser.add_argument("--lean", action="store_true", help="with less of Erlang/OTP, as the tests' labs")
    parser.add_argument("--no-machine", action="store_true", help="have the boot script start all applications")
    options = parser.parse_args(arguments)
    traits = Traits(not options.no_machine, options.libraries, options.elixir, options.lean)
    try:
        for path in build(options.versions or VERSIONS, options.out.absolute(), traits).values():
            print(path)
    except LabError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
