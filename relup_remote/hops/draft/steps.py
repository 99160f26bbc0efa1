"""What a hop has to do: the instruction for each module and application that differs, and the order of them."""

from collections import defaultdict
from functools import cached_property

from relup_remote.hops.check.course import STICKY
from relup_remote.hops.check.rules.coverage import RELEASE
from relup_remote.hops.check.rules.state import STATEFUL
from relup_remote.hops.compare import Difference, Module
from relup_remote.hops.draft.order import Kind, Step, ordered
from relup_remote.hops.draft.restarts import is_supervisor, needs_of, restarts

_STATE_CHANGES = frozenset({("code_change", 3), ("code_change", 4), ("system_code_change", 4)})

Needs = dict[Step, set[Step]]
"""Steps, each with those that come before it or, as one swap, with it."""


class Steps:
    """The steps over a difference."""

    def __init__(self, difference: Difference) -> None:
        self.difference = difference

    @property
    def restarts(self) -> dict[str, list[str]]:
        """The applications that are restarted, each with the reasons."""
        return self._restarts[0]

    @property
    def spared(self) -> dict[str, list[str]]:
        """The applications that are not restarted for the sake of their connections, each with the reasons to do so."""
        return self._restarts[1]

    @cached_property
    def _restarts(self) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        return restarts(self.difference)

    @cached_property
    def of_module(self) -> dict[str, Step]:
        """The step that replaces, brings or removes a module. Modules that none touches are left out."""
        touched = {**self.difference.changed, **self.difference.added}
        found = {name: self._step(module) for name, module in touched.items() if module.app not in STICKY}
        if RELEASE in self.difference.new.modules:
            found[RELEASE] = self._step(self.difference.new.modules[RELEASE])
        # A restart takes away what its application has no more.
        gone = {name: module for name, module in self.difference.removed.items() if module.app in self.restarts}
        return found | {name: Step(Kind.RESTART, module.app) for name, module in gone.items()}

    def _step(self, module: Module) -> Step:
        if module.app in self.restarts and module.name in self.difference.new.apps[module.app].modules:
            return Step(Kind.RESTART, module.app)
        if module.name == RELEASE:
            return Step(Kind.RELEASE, module.app, module.name)
        is_update = module.name in self.difference.changed and changes_state(module) and self.has_processes(module)
        kind = Kind.UPDATE if is_update else Kind.LOAD
        return Step(kind, module.app, module.name)

    def has_processes(self, module: Module) -> bool:
        """Whether an update may find processes of a module: those of supervisors and event managers."""
        # One's own supervisor is named by what starts its application, and handlers by whoever adds them.
        by_others = is_supervisor(module) or "gen_event" in module.behaviours
        return by_others or self.difference.old.is_started(module.name)

    @cached_property
    def must(self) -> Needs:
        """What is wrong for a while in any other order.

        Calls of functions that are not there yet, or no more; and an application that starts before one that it needs.
        """
        needs: Needs = {step: set() for step in self.of_module.values()}
        for app in self.restarts:
            others = needs_of(app, self.difference) & self.restarts.keys()
            needs[Step(Kind.RESTART, app)] = {Step(Kind.RESTART, other) for other in others}
        pairs = [*self.difference.new_calls, *((called, caller) for caller, called in self.difference.lost_calls)]
        for later, earlier in pairs:
            if later in self.of_module and earlier in self.of_module:
                needs[self.of_module[later]].add(self.of_module[earlier])
        return {step: others - {step} for step, others in needs.items()}

    @cached_property
    def should(self) -> Needs:
        """The same, and every module that is loaded or updated before those that call it."""
        needs: Needs = {step: set(before) for step, before in self.must.items()}
        for caller, called in self._calls:
            if max(caller.kind, called.kind) <= Kind.UPDATE:
                needs[caller].add(called)
        return needs

    @cached_property
    def order(self) -> list[list[Step]]:
        """All steps in the order to take them; those that are best one swap, for they call each other, in one list.

        Only loads can be one swap. What else is on a cycle is put in the order that it must have.
        """
        groups: list[list[Step]] = []
        for group in ordered(self.should):
            if len(group) == 1 or group[-1].kind is Kind.LOAD:
                groups.append(group)
            else:
                groups += ordered({step: self.must[step] & set(group) for step in group})
        return groups

    @cached_property
    def callers(self) -> dict[Step, set[str]]:
        """The modules or applications that call the module of a step, and are brought after it."""
        place = {step: index for index, step in enumerate(step for group in self.order for step in group)}
        found: dict[Step, set[str]] = defaultdict(set)
        for caller, called in self._calls:
            if place[caller] > place[called]:
                found[called].add(caller.name)
        return found

    @cached_property
    def stranded(self) -> dict[Step, dict[str, list[str]]]:
        """The modules that stay as they are and call what a step takes away, by the module that they call."""
        found: dict[Step, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        for caller, called in self.difference.lost_calls:
            if called in self.of_module and caller not in self.of_module:
                found[self.of_module[called]][called].append(caller)
        return found

    @cached_property
    def _calls(self) -> set[tuple[Step, Step]]:
        """Steps that bring a module which calls one that the other brings."""
        modules = self.difference.new.modules
        return {
            (step, self.of_module[called])
            for name, step in self.of_module.items()
            if name in modules
            for called, _, _ in modules[name].imports
            if self.of_module.get(called, step) != step
        }


def has_state(module: Module) -> bool:
    """Whether a module's processes keep a state that is its own."""
    return not set(STATEFUL).isdisjoint(module.behaviours)


def changes_state(module: Module) -> bool:
    """Whether a module can change the state of processes that an older version of it started."""
    # A supervisor does it by its init.
    return is_supervisor(module) or not _STATE_CHANGES.isdisjoint(module.exports)
