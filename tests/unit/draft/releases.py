"""Releases made up of facts, for drafts between them: no beam and no tarball is read."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from relup_remote.hops.compare import App, Call, Difference, Function, Module, Release

SERVER = ("gen_server",)
CHANGE: Function = ("code_change", 3)


def module(
    name: str,
    md5: str = "1",
    *,
    app: str = "emqx",
    exports: Sequence[Function] = (),
    imports: Sequence[Call] = (),
    behaviours: Sequence[str] = (),
    on_load: bool = False,
    loads_nif: bool = False,
) -> Module:
    """A module; another ``md5`` is other code."""
    return Module(
        name=name,
        folder=f"{app}-1.0",
        md5=md5.encode(),
        exports=tuple(sorted(exports)),
        imports=tuple(sorted(imports)),
        behaviours=tuple(behaviours),
        on_load=on_load,
        loads_nif=loads_nif,
        max_op=170,
    )


def application(
    name: str,
    *,
    needs: Sequence[str] = (),
    optional: Sequence[str] = (),
    environment: object = None,
    started: str | None = "permanent",
    library: bool = False,
    runs: bool | Literal["as told"] | None = "as told",
) -> App:
    """An application, whose modules are told by `release`; a ``library`` starts nothing."""
    return App(
        name=name,
        folder=f"{name}-1.0",
        modules=(),
        applications=tuple(needs),
        optional=tuple(optional),
        start=None if library else (f"{name}_app", []),
        environment=environment,
        started=started,
        runs=started in ("permanent", "transient", "temporary") if runs == "as told" else runs,
    )


def release(
    version: str,
    modules: Sequence[Module],
    apps: Sequence[App] = (),
    *,
    otp: str = "25.2",
    broken: Mapping[str, str] | None = None,
    unstarted: Collection[str] = (),
) -> Release:
    """A release of these and of `emqx_release`; applications that aren't told of start something and need nothing.

    All modules but the ``unstarted`` have processes of some supervisor.
    """
    started = b"".join(bytes([len(each.name)]) + each.name.encode() for each in modules if each.name not in unstarted)
    all_ = [*modules, replace(module("emqx_release", version), names=started)]
    told = {app.name for app in apps}
    every = [*apps, *(application(name) for name in sorted({each.app for each in all_} - told))]
    return Release(
        path=f"{version}.tar.gz",
        version=version,
        erts="13.1",
        build_info={"erlang": otp, "os": "debian12", "arch": "x86_64"},
        is_fork=False,
        modules={each.name: each for each in all_},
        apps={app.name: _with_modules(app, all_) for app in every},
        broken_modules=broken or {},
        broken_apps={},
    )


def _with_modules(app: App, modules: Sequence[Module]) -> App:
    names = tuple(sorted(each.name for each in modules if each.app == app.name))
    return replace(app, modules=names)


def between(
    old: Sequence[Module], new: Sequence[Module], apps: Sequence[App] = (), before: Sequence[App] | None = None
) -> Difference:
    """What two releases of these modules differ in; their applications are the same unless told what was ``before``."""
    return Difference(release("1.0", old, apps if before is None else before), release("1.1", new, apps))
