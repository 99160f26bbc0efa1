"""What EMQX's engineers know about its code and no release tells: a table, a reason in each row.

A row says which modules it is about, and what follows for a hop: an instruction, where one is always right, or else a
question to the author. Sources: the public sources of EMQX, and hops written for them.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from relup_remote.hops.compare import Call, Difference, Module
from relup_remote.hops.draft.words import atoms

CONNECTOR = "emqx_resource"
"""The behaviour of modules that hold clients of other systems: databases, brokers, services."""


@dataclass(frozen=True)
class Row:
    """One thing to know. ``{modules}`` in a text stands for the modules that it is about, sorted.

    - ``about``: modules that are new, changed, or either.
    - ``name``: a regular expression that a module's whole name fits; ``exports``: a function that it has to export.
    - ``behaviour``: one that it must have; ``used_by``: it is of no application of EMQX's own, and a module of another
      application that has this behaviour calls it.
    - ``needs``: a function that the target must have, for the row to make sense.
    - ``instruction``: what comes after all other code changes but the version's; ``question``: what is asked instead.
    """

    reason: str
    about: Literal["added", "changed", "touched"] = "touched"
    name: str = r"\w+"
    exports: tuple[str, int] | None = None
    behaviour: str | None = None
    used_by: str | None = None
    needs: Call | None = None
    instruction: str | None = None
    question: str | None = None

    def modules(self, difference: Difference) -> list[str]:
        """The names of the modules that it is about, sorted; none where it does not apply."""
        if self.needs and self.needs[1:] not in difference.new.exported.of(self.needs[0]):
            return []
        touched = {
            "added": difference.added,
            "changed": difference.changed,
            "touched": {**difference.added, **difference.changed},
        }[self.about]
        return sorted(name for name, module in touched.items() if self._is_about(module, difference))

    def _is_about(self, module: Module, difference: Difference) -> bool:
        return bool(
            re.fullmatch(self.name, module.name)
            and (self.exports is None or self.exports in module.exports)
            and (self.behaviour is None or self.behaviour in module.behaviours)
            and (self.used_by is None or (_is_foreign(module) and _is_used(module, self.used_by, difference)))
        )


TABLE: tuple[Row, ...] = (
    Row(
        reason="a node uses a version of another node's internal API only after that node has announced it",
        about="added",
        name=r"\w+_proto_v[0-9]+",
        needs=("emqx_bpapi", "announce", 2),
        question="Should other nodes use {modules} before the next boot? They do so after this node has announced it. "
        "emqx_bpapi:announce/2 reads a file in the code path. Once all code is new, that is the target's file. "
        "--callback announce_apis writes a callback that announces it.",
    ),
    Row(
        reason="emqx ctl has a table of commands; this module fills it when the node boots",
        name="emqx_mgmt_cli",
        exports=("load", 0),
        instruction="{apply, emqx_mgmt_cli, load, []}",
    ),
    Row(
        reason="emqx ctl has a table of commands; these modules fill it when their application starts",
        name=r"(?!emqx_mgmt_cli$)\w+_cli",
        exports=("load", 0),
        question="Did the commands of emqx ctl in {modules} change? emqx ctl knows new ones after load/0 is called.",
    ),
    Row(
        reason="a connector keeps the clients that it has started, with the options and funs of the old code",
        about="changed",
        behaviour=CONNECTOR,
        question="Must connectors of {modules} be restarted? Those that run keep the clients of the old code. "
        "A helper can stop and start them after the load.",
    ),
    Row(
        reason="the processes of a driver run in the connectors that use it, and belong to no application",
        about="changed",
        used_by=CONNECTOR,
        question="Do connectors hold processes of {modules}? Such processes run old code until they are restarted, "
        "and a second change would kill them. A helper can stop the connectors before it and start them after it.",
    ),
)

CALLBACKS = {"announce_apis": "emqx_bpapi:announce(node(), emqx)"}
"""The bodies of callbacks that rows speak of."""


def instructions(difference: Difference) -> Iterator[tuple[str, str]]:
    """The instructions that follow from the table, each with the reason."""
    for row in TABLE:
        if row.instruction and row.modules(difference):
            yield row.instruction, row.reason


def questions(difference: Difference) -> Iterator[str]:
    """The questions that follow from the table."""
    for row in TABLE:
        names = row.modules(difference) if row.question else []
        if row.question and names:
            yield row.question.format(modules=atoms(names))


def _is_foreign(module: Module) -> bool:
    """Whether a module is of an application that EMQX only uses."""
    return not module.app.startswith("emqx")


def _is_used(module: Module, behaviour: str, difference: Difference) -> bool:
    return any(
        called == module.name
        for caller in difference.new.modules.values()
        if behaviour in caller.behaviours and caller.app != module.app
        for called, _, _ in caller.imports
    )
