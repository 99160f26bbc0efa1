"""What is other in one release than in another."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from relup_remote.hops.compare.release import App, Call, Function, Module, Release
from relup_remote.hops.terms import comparable


@dataclass(frozen=True)
class Application:
    """An application that both releases have."""

    old: App
    new: App

    @property
    def needs_more(self) -> tuple[str, ...]:
        """The applications that it needs only now."""
        return tuple(name for name in self.new.applications if name not in self.old.applications)

    @property
    def needs_no_more(self) -> tuple[str, ...]:
        """The applications that it needs no longer."""
        return tuple(name for name in self.old.applications if name not in self.new.applications)

    @property
    def is_configured_otherwise(self) -> bool:
        """Whether its environment, or what starts it, is another."""
        return self.has_another_start or self.has_another_environment

    @property
    def has_another_start(self) -> bool:
        """Whether another module starts it, or with another argument."""
        return comparable(self.old.start or []) != comparable(self.new.start or [])

    @property
    def has_another_environment(self) -> bool:
        """Whether its variables are others; their order is of no account."""
        return _variables(self.old.environment) != _variables(self.new.environment)

    @property
    def is_other(self) -> bool:
        """Whether its `.app` file says anything else that counts, its version aside."""
        return bool(
            self.needs_more
            or self.needs_no_more
            or self.is_configured_otherwise
            or set(self.old.modules) != set(self.new.modules)
        )


def _variables(environment: Any) -> list[bytes]:
    items = environment if isinstance(environment, list) else [] if environment is None else [environment]
    found = [comparable(item) for item in items]
    # Of a variable that is there twice the order may count.
    names = [comparable(item[0]) for item in items if type(item) is tuple and item]
    return sorted(found) if len(set(names)) == len(items) else found


@dataclass(frozen=True)
class Difference:
    """From ``old`` to ``new``. Modules are compared by their MD5, and names of them are sorted."""

    old: Release
    new: Release

    @cached_property
    def added(self) -> dict[str, Module]:
        """The modules that only the new release has."""
        return {name: self.new.modules[name] for name in sorted(self.new.modules.keys() - self.old.modules.keys())}

    @cached_property
    def removed(self) -> dict[str, Module]:
        """The modules that only the old release has."""
        gone = self.old.modules.keys() - self.new.modules.keys() - self.new.broken_modules.keys()
        return {name: self.old.modules[name] for name in sorted(gone)}

    @cached_property
    def changed(self) -> dict[str, Module]:
        """The modules whose code is another, as they are in the new release."""
        both = sorted(self.new.modules.keys() & self.old.modules.keys())
        return {
            name: self.new.modules[name] for name in both if self.new.modules[name].md5 != self.old.modules[name].md5
        }

    def is_unchanged(self, module: str) -> bool:
        """Whether both releases have the same code of a module."""
        return module in self.old.modules and module in self.new.modules and module not in self.changed

    @cached_property
    def added_apps(self) -> dict[str, App]:
        """The applications that only the new release has."""
        return {name: app for name, app in sorted(self.new.apps.items()) if name not in self.old.apps}

    @cached_property
    def removed_apps(self) -> dict[str, App]:
        """The applications that only the old release has."""
        known = self.new.apps.keys() | self.new.broken_apps.keys()
        return {name: app for name, app in sorted(self.old.apps.items()) if name not in known}

    @cached_property
    def kept_apps(self) -> dict[str, Application]:
        """The applications that both have."""
        both = sorted(self.old.apps.keys() & self.new.apps.keys())
        return {name: Application(self.old.apps[name], self.new.apps[name]) for name in both}

    @cached_property
    def gained(self) -> dict[str, frozenset[Function]]:
        """What modules export only in the new release; all of it for a module that is new."""
        found = {name: self.new.exported.of(name) - self.old.exported.of(name) for name in (*self.changed, *self.added)}
        return {name: functions for name, functions in found.items() if functions}

    @cached_property
    def lost(self) -> dict[str, frozenset[Function]]:
        """What modules export only in the old release; all of it for a module that is gone."""
        found = {
            name: self.old.exported.of(name) - self.new.exported.of(name) for name in (*self.changed, *self.removed)
        }
        return {name: functions for name, functions in found.items() if functions}

    @cached_property
    def new_calls(self) -> dict[tuple[str, str], list[Function]]:
        """The functions `gained` that modules of the new release call, by caller and module called."""
        return _calls(self.new, self.gained)

    @cached_property
    def lost_calls(self) -> dict[tuple[str, str], list[Function]]:
        """The functions `lost` that modules of the old release call, by caller and module called."""
        return _calls(self.old, self.lost)


def _calls(release: Release, functions: dict[str, frozenset[Function]]) -> dict[tuple[str, str], list[Function]]:
    found: dict[tuple[str, str], list[Function]] = defaultdict(list)
    for caller, (called, name, arity) in _imports(release):
        if called in functions and (name, arity) in functions[called] and called != caller:
            found[caller, called].append((name, arity))
    return dict(found)


def _imports(release: Release) -> Iterator[tuple[str, Call]]:
    for name, module in release.modules.items():
        for call in module.imports:
            yield name, call
