"""The applications of each release, as source: the base in `apps/`, and what each version changes in `changes/`.

A file of `changes/<version>/<app>/` replaces the one of the same name, or is new. `?RELEASE_VERSION` stands for the
release's version. From a `<module>_NUMBER.erl.template` come as many modules as `COPIES`.

`elixir/` holds what a build with Elixir brings: an application, and the protocols that are consolidated for a release.
`libraries/` is what further libraries are made of.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
COPIES = 200
MODULES_OF_A_LIBRARY = 10

CHANGES: dict[str, tuple[str, ...]] = {
    "5.10.4-lab": (),
    "5.10.5-lab": ("5.10.5-lab",),
    "5.10.6-lab": ("5.10.5-lab", "5.10.6-lab"),
    "5.10.8-lab": ("5.10.5-lab", "5.10.8-lab"),
    "5.10.9-lab": ("5.10.9-lab",),
}
"""The releases there are, each with the changes it consists of. The last two stand apart: one changes applications that
need each other, the other, for benchmarks, very many modules."""

MACHINE = "emqx_machine"
"""The application that starts those that the boot script only loads."""

APPS = ("ekka", "mria", "emqx", "emqx_dashboard", "emqx_alarms", "emqx_pool", "emqx_rules", "emqx_ds", MACHINE)
"""The applications of the broker. Without `Traits.machine` a node starts them in this order."""


@dataclass(frozen=True)
class Traits:
    """What a release takes on of real ones.

    - ``machine``: EMQX's applications, and mnesia, are of type `load`, and `emqx_machine` starts them.
    - ``libraries``: so many further applications, of type `load`, that nothing starts.
    - ``elixir``: it is built as by Elixir: a program `elixir` in place of the shell, and consolidated protocols beside
      the `.rel` file. No Elixir is needed for it.
    - ``lean``: it has fewer applications of OTP, and their beam files lack what only debuggers read. A node boots in
      two thirds of the time, and the tarball is a third as large.
    """

    machine: bool = True
    libraries: int = 0
    elixir: bool = False
    lean: bool = False

    @property
    def folder(self) -> str:
        """The folder of its tarball: lean releases have the names of others, so that tests are the same with both."""
        return "lean" if self.lean else "."

    @property
    def suffix(self) -> str:
        """What tells its tarball from one with the usual traits in the same folder."""
        parts = {"plain": not self.machine, f"{self.libraries}libs": self.libraries, "elixir": self.elixir}
        return "".join(f"+{part}" for part, has in parts.items() if has)


USUAL = Traits()
"""The traits that cost nothing."""
LEAN = Traits(lean=True)
"""The traits of releases that cost least."""


@dataclass(frozen=True)
class App:
    """An application: its name, version, `.app` file, the source of each module, and the files of its `priv`.

    ``start`` is how the `.rel` file has it started; empty where it does not say, which is permanent.
    """

    name: str
    version: str
    spec: str
    modules: dict[str, str]
    priv: dict[str, str] = field(default_factory=dict)
    start: str = ""

    @property
    def directory(self) -> str:
        """Its folder in a release."""
        return f"lib/{self.name}-{self.version}"


def apps(release: str, traits: Traits = USUAL) -> list[App]:
    """The applications of a release."""
    names = [name for name in APPS if traits.machine or name != MACHINE]
    start = "load" if traits.machine else ""
    found = [_app(HERE / "apps" / name, release, "" if name == MACHINE else start) for name in names]
    if traits.elixir:
        found.append(_app(HERE / "elixir" / "elixir", release, ""))
    return [*found, *(_library(number) for number in range(1, traits.libraries + 1))]


def consolidated(release: str, traits: Traits) -> dict[str, str]:
    """The protocols that are consolidated for a release: the source of each module."""
    if not traits.elixir:
        return {}
    return dict(_all_modules(_files(HERE / "elixir" / "consolidated", "consolidated", release), release))


def _app(folder: Path, release: str, start: str) -> App:
    name = folder.name
    files = _files(folder / "src", name, release)
    source = files.pop(f"{name}.app.src")
    priv = {path.name: path.read_text() for path in folder.glob("priv/*")}
    return _made(name, source, dict(_all_modules(files, release)), priv, start)


def _files(folder: Path, name: str, release: str) -> dict[str, str]:
    folders = [folder, *(HERE / "changes" / change / name for change in CHANGES[release])]
    return {path.name: path.read_text() for each in folders if each.is_dir() for path in sorted(each.iterdir())}


def _library(number: int) -> App:
    source, module = ((HERE / "libraries" / file).read_text() for file in ("library.app.src", "library.erl"))
    modules = {
        f"lab_library_{number:03}_{each:02}": module.replace("NUMBER", f"{number:03}_{each:02}")
        for each in range(1, MODULES_OF_A_LIBRARY + 1)
    }
    return _made(f"lab_library_{number:03}", source.replace("NUMBER", f"{number:03}"), modules, {}, "load")


def _made(name: str, source: str, modules: dict[str, str], priv: dict[str, str], start: str) -> App:
    version = re.search(r'{vsn, "([^"]+)"}', source)
    assert version, f"{name}.app.src has no vsn"
    listed = ", ".join(module if re.fullmatch(r"[a-z]\w*", module) else f"'{module}'" for module in sorted(modules))
    return App(name, version[1], source.replace("{modules, []}", f"{{modules, [{listed}]}}"), modules, priv, start)


def _all_modules(files: dict[str, str], release: str) -> Iterator[tuple[str, str]]:
    for file, content in files.items():
        for module, text in _modules(file, content):
            yield module, text.replace("?RELEASE_VERSION", f'"{release}"')


def _modules(file: str, content: str) -> list[tuple[str, str]]:
    stem = file.removesuffix(".template").removesuffix(".erl")
    if not file.endswith(".template"):
        return [(stem, content)]
    numbers = [f"{number:03}" for number in range(1, COPIES + 1)]
    return [(stem.replace("NUMBER", number), content.replace("NUMBER", number)) for number in numbers]
