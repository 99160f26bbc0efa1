"""The applications of each release, as source: the base in `apps/`, and what each version changes in `changes/`.

A file of `changes/<version>/<app>/` replaces the one of the same name, or is new. `?RELEASE_VERSION` stands for the
release's version. From a `<module>_NUMBER.erl.template` come as many modules as `COPIES`.
"""

import re
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
COPIES = 200

CHANGES: dict[str, tuple[str, ...]] = {
    "5.10.4-lab": (),
    "5.10.5-lab": ("5.10.5-lab",),
    "5.10.6-lab": ("5.10.5-lab", "5.10.6-lab"),
    "5.10.8-lab": ("5.10.5-lab", "5.10.8-lab"),
    "5.10.9-lab": ("5.10.9-lab",),
}
"""The releases there are, each with the changes it consists of. The last two stand apart: one changes applications that
need each other, the other, for benchmarks, very many modules."""

APPS = ("ekka", "mria", "emqx", "emqx_dashboard", "emqx_alarms", "emqx_pool", "emqx_rules")
"""The applications, in the order in which a node starts them."""


@dataclass(frozen=True)
class App:
    """An application: its name, version, `.app` file, and the source of each module."""

    name: str
    version: str
    spec: str
    modules: dict[str, str]

    @property
    def directory(self) -> str:
        """Its folder in a release."""
        return f"lib/{self.name}-{self.version}"


def apps(release: str) -> list[App]:
    """The applications of a release."""
    return [_app(name, release) for name in APPS]


def _app(name: str, release: str) -> App:
    folders = [HERE / "apps" / name / "src", *(HERE / "changes" / change / name for change in CHANGES[release])]
    files = {path.name: path.read_text() for folder in folders if folder.is_dir() for path in sorted(folder.iterdir())}
    source = files.pop(f"{name}.app.src")
    modules = {
        module: text.replace("?RELEASE_VERSION", f'"{release}"')
        for file, content in files.items()
        for module, text in _modules(file, content)
    }
    version = re.search(r'{vsn, "([^"]+)"}', source)
    assert version, f"{name}.app.src has no vsn"
    spec = source.replace("{modules, []}", f"{{modules, [{', '.join(sorted(modules))}]}}")
    return App(name, version[1], spec, modules)


def _modules(file: str, content: str) -> list[tuple[str, str]]:
    stem = file.partition(".")[0]
    if not file.endswith(".template"):
        return [(stem, content)]
    numbers = [f"{number:03}" for number in range(1, COPIES + 1)]
    return [(stem.replace("NUMBER", number), content.replace("NUMBER", number)) for number in numbers]
