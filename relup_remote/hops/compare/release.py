"""A release as values: its modules and applications by name."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from relup_remote.hops.beam import is_named
from relup_remote.hops.code import Found

Function = tuple[str, int]
"""The name of a function, and its arity."""

Call = tuple[str, str, int]
"""A module, and a function of it."""


@dataclass(frozen=True, slots=True)
class Module:
    """A module, as `relup_remote.hops.beam.Beam` has it; ``folder`` is its application's in lib: ``emqx-5.5.8``."""

    name: str
    folder: str
    md5: bytes
    exports: tuple[Function, ...]
    imports: tuple[Call, ...]
    behaviours: tuple[str, ...]
    on_load: bool
    loads_nif: bool
    max_op: int
    names: bytes = b""

    @property
    def app(self) -> str:
        """The application that it lies in."""
        return app_of(self.folder)


@dataclass(frozen=True, slots=True)
class App:
    """An application, as `relup_remote.hops.app_file.App` has it.

    ``started`` is how the release starts it (permanent, transient, temporary, load, none); None if no `.rel` file
    names it. ``runs`` says whether it is started once a node has booted the release; None where only a node can tell.
    ``start`` and ``environment`` are what `mod` and `env` say.
    """

    name: str
    folder: str
    modules: tuple[str, ...]
    applications: tuple[str, ...]
    optional: tuple[str, ...]
    start: Any
    environment: Any
    started: str | None
    runs: bool | None
    included: tuple[str, ...] = ()
    """The applications that run as parts of it."""

    @property
    def version(self) -> str:
        """Its version, as its folder has it."""
        return self.folder.partition("-")[2]

    @property
    def is_library(self) -> bool:
        """Whether it has no process of its own: nothing starts it, it is only code."""
        return not self.start


@dataclass(frozen=True)
class Release:
    """The release in a tarball at ``path``.

    ``broken_modules`` and ``broken_apps`` are those that can't be read, each with a clause about it: ``is cut short``.
    ``twice`` are the modules that more than one of its applications has; ``apple_doubles`` is how many files of macOS
    lie among its code.
    """

    path: str
    version: str
    erts: str
    build_info: Mapping[str, str]
    is_fork: bool
    modules: Mapping[str, Module]
    apps: Mapping[str, App]
    broken_modules: Mapping[str, str]
    broken_apps: Mapping[str, str]
    twice: Mapping[str, Found] = field(default_factory=dict)
    apple_doubles: int = 0

    @property
    def otp(self) -> str:
        """The version of Erlang/OTP that it is built with; empty where it is not told."""
        return self.build_info.get("erlang", "")

    @property
    def otp_major(self) -> str:
        """The major version of Erlang/OTP."""
        return self.otp.partition(".")[0]

    @cached_property
    def exported(self) -> "Exports":
        """What its modules export."""
        return Exports(self.modules)

    @cached_property
    def max_op(self) -> int:
        """The highest opcode that its modules have."""
        return max((module.max_op for module in self.modules.values()), default=0)

    def is_started(self, module: str) -> bool:
        """Whether anything that starts processes names a module: no supervisor has processes of another.

        True where it can't be told, in a release whose modules are stripped of what they say of themselves.
        """
        return not self._names or any(is_named(module, names) for names in self._names)

    @cached_property
    def _names(self) -> list[bytes]:
        return [module.names for module in self.modules.values() if module.names]

    def has_module(self, name: str) -> bool:
        """Whether there is such a module, readable or not."""
        return name in self.modules or name in self.broken_modules


class Exports:
    """What modules export, looked up often."""

    def __init__(self, modules: Mapping[str, Module]) -> None:
        self._modules = modules
        self._sets: dict[str, frozenset[Function]] = {}

    def of(self, module: str) -> frozenset[Function]:
        """The functions that a module exports; none if there is no such module."""
        if module not in self._sets:
            found = self._modules.get(module)
            self._sets[module] = frozenset(found.exports if found else ())
        return self._sets[module]


def app_of(folder: str) -> str:
    """The application that a folder of lib is of."""
    return folder.partition("-")[0]


def by_app(modules: Iterable[Module]) -> dict[str, list[str]]:
    """The names of modules by their applications, both sorted."""
    found: dict[str, list[str]] = {}
    for module in sorted(modules, key=lambda module: (module.app, module.name)):
        found.setdefault(module.app, []).append(module.name)
    return found
