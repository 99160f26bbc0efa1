"""What a check finds, and the words for what only it can find."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from relup_remote.core.protocol import ERRORS, ErrorSpec

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")

CHECK_ERRORS: dict[str, ErrorSpec] = {
    "undefined_call": ErrorSpec(
        "After the hop, code that runs calls a function that what it calls does not have.",
        "Put both modules in the hop.",
    ),
    "lost_function": ErrorSpec(
        "A module that is the same in both releases calls a function that the target no longer has.",
        "The target itself is at fault, unless the call is guarded: see that it is never made.",
    ),
    "load_order": ErrorSpec(
        "For a while, code that runs calls a function that what it calls does not have yet, or no more.",
        "Put the two side by side as load_module, which swaps them at once, or change their order.",
    ),
    "unchanged_module": ErrorSpec(
        "The hop replaces a module that is the same in both releases; nothing is done about it.",
        "Take it out of the hop.",
    ),
    "replaced_already": ErrorSpec(
        "The hop replaces a module that it has replaced before; nothing is done about it.",
        "Keep one of the two. An update after a load changes no state.",
    ),
    "module_removed": ErrorSpec(
        "A module that the target no longer has stays loaded until the node's next restart.",
        "Nothing, if nobody calls it; restart_application takes away what an application no longer lists.",
    ),
    "state_not_updated": ErrorSpec(
        "A module with processes that keep a state is loaded and not updated.",
        "If the state has another shape now, make it an update: code_change then runs in each process.",
    ),
    "supervisor_changed": ErrorSpec(
        "A supervisor's module is another; one that runs keeps the children that it has.",
        "If there are other children now, restart its application.",
    ),
    "module_twice": ErrorSpec(
        "A module that the hop replaces lies in the folders of two applications.",
        "See that only one application has and lists it: a node boots what its application lists.",
    ),
    "apple_double": ErrorSpec(
        "A tarball was packed on macOS and has its files of extended attributes, named ._….",
        "Pack it with COPYFILE_DISABLE=1 set. Nodes take no notice of these files.",
    ),
    "native_code": ErrorSpec(
        "A module with functions in native code is replaced.",
        "See that its library can be loaded twice (its upgrade callback), or upgrade by a restart.",
    ),
    "loaded_alone": ErrorSpec(
        "A module with on_load can't be swapped together with others: it is loaded after them, by itself.",
        "See that its neighbours bear that.",
    ),
    "app_added": ErrorSpec(
        "The target starts an application that the hop does not start.",
        "restart_application starts one that does not run, too.",
    ),
    "app_removed": ErrorSpec(
        "An application that the target does not have goes on running until the node's next restart.",
        "Stop it by an apply, if it must not run.",
    ),
    "dependencies_changed": ErrorSpec(
        "An application needs others than before and is not restarted.",
        "Restart it once those that it needs run, if it can't do without them.",
    ),
    "configured_otherwise": ErrorSpec(
        "An application has another environment or start module and is not restarted.",
        "Restart it: only then its new `.app` file counts.",
    ),
    "used_after_restart": ErrorSpec(
        "The hop uses an application after its restart.",
        "It runs by then: restarts are done in place. The plugin starts such applications at the end of the hop, so "
        "there the same hop fails.",
    ),
    "erts_differs": ErrorSpec(
        "The releases have different versions of Erlang/OTP or ERTS: the VM stays what it is until the node restarts.",
        "See that the target's code runs on the VM of the release before.",
    ),
    "only_the_node_can_tell": ErrorSpec(
        "A part of the hop can be evaluated by a node only, so it is not checked here.",
        "`inv plan` checks it on the nodes.",
    ),
}
"""What only the check of a hop finds; what a node's preflight finds as well has the same name as there."""


@dataclass(frozen=True)
class Finding:
    """Something about a hop. ``n`` is the instruction's number; None: of the hop as a whole, or not to be told.

    ``line`` and ``column`` count from 1, in the hop's file.
    """

    err_type: str
    severity: Severity
    message: str
    line: int
    column: int
    n: int | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def spec(self) -> ErrorSpec:
        """What its ``err_type`` means, and what to do."""
        return specs()[self.err_type]


@cache
def specs() -> dict[str, ErrorSpec]:
    """Every ``err_type`` that a finding may have."""
    return {**ERRORS, **CHECK_ERRORS}


def sentence(clause: str) -> str:
    """A clause as a sentence of its own."""
    return f"{clause[:1].upper()}{clause[1:]}."
