"""Reading the releases of two tarballs, each in a process of its own."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from relup_remote.core.protocol import Failure
from relup_remote.hops import app_file
from relup_remote.hops.beam import Beam
from relup_remote.hops.code import Found
from relup_remote.hops.compare.boot import running
from relup_remote.hops.compare.release import App, Module, Release
from relup_remote.hops.release import Contents, read_contents

T = TypeVar("T")


def read_both(old: Path, new: Path) -> tuple[Release, Release]:
    """The releases in two tarballs, read at once. Raises as `read_release`."""
    with ProcessPoolExecutor(1) as other:
        waiting = other.submit(_read_or_failure, new)
        first = read_release(old)
        second = waiting.result()
    if isinstance(second, Release):
        return first, second
    raise Failure(second["err_type"], second["message"], detail=second["detail"])


def read_release(path: Path) -> Release:
    """The release in a tarball. Raises `Failure` as `relup_remote.hops.release.read_contents`; it names the file."""
    try:
        contents = read_contents(str(path))
    except Failure as failure:
        raise Failure(
            failure.err_type, f"{path}: {failure.message.removeprefix('The tarball: ')}", detail=failure.detail
        ) from failure
    return _release(path, contents)


def _read_or_failure(path: Path) -> Release | dict[str, Any]:
    # A failure does not pass from process to process: what it is made of does.
    try:
        return read_release(path)
    except Failure as failure:
        return failure.to_json()


def _release(path: Path, contents: Contents) -> Release:
    modules = contents.code.modules(contents.boot)
    apps = contents.code.apps(contents.boot)
    readable = {name: app.facts for name, app in apps.items() if isinstance(app.facts, app_file.App)}
    started = {
        app.name: app.start for app in contents.released if app.name in apps and apps[app.name].folder == app.folder
    }
    runs = running(readable, started, contents.reboot_lists)
    values = _Values()
    return Release(
        path=str(path),
        version=contents.version,
        erts=contents.emqx_vars.get("ERTS_VSN", ""),
        build_info=contents.build_info,
        is_fork=contents.is_fork,
        modules={
            name: _module(name, found.folder, found.facts, values)
            for name, found in modules.items()
            if isinstance(found.facts, Beam)
        },
        apps={name: _app(apps[name].folder, app, started.get(name), runs[name]) for name, app in readable.items()},
        broken_modules=dict(_broken(modules)),
        broken_apps=dict(_broken(apps)),
        twice={name: found for name, found in modules.items() if found.also},
        apple_doubles=contents.code.apple_doubles,
    )


def _broken(found: dict[str, Found]) -> Iterator[tuple[str, str]]:
    return ((name, each.facts) for name, each in found.items() if isinstance(each.facts, str))


class _Values:
    """Names and functions, each kept once: thousands of modules call the same ones."""

    def __init__(self) -> None:
        self._names: dict[bytes, str] = {}
        self._functions: dict[Any, Any] = {}

    def name(self, name: bytes) -> str:
        found = self._names.get(name)
        if found is None:
            found = self._names[name] = name.decode()
        return found

    def names(self, names: Iterable[bytes]) -> tuple[str, ...]:
        return tuple(map(self.name, names))

    def functions(self, functions: Iterable[tuple[bytes | int, ...]]) -> tuple[Any, ...]:
        known = self._functions
        found = []
        for function in functions:
            value = known.get(function)
            if value is None:
                value = tuple(part if isinstance(part, int) else self.name(part) for part in function)
                known[function] = value
            found.append(value)
        return tuple(found)


def _module(name: str, folder: str, beam: Beam, values: _Values) -> Module:
    return Module(
        name=name,
        folder=folder,
        md5=beam.md5,
        exports=values.functions(beam.exports),
        imports=values.functions(beam.imports),
        behaviours=values.names(beam.behaviours),
        on_load=beam.on_load,
        loads_nif=beam.loads_nif,
        max_op=beam.max_op,
        names=beam.names,
    )


def _app(folder: str, app: app_file.App, started: str | None, runs: bool | None) -> App:
    return App(
        name=app.name,
        folder=folder,
        modules=tuple(app.modules),
        applications=tuple(app.applications),
        optional=tuple(app.optional),
        start=app.start,
        environment=app.environment,
        started=started,
        runs=runs,
        included=tuple(app.included),
    )
