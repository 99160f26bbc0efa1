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
        "After the hop, running code calls a function that the called module does not have.",
        "Put both modules in the hop.",
    ),
    "lost_function": ErrorSpec(
        "A module that is the same in both releases calls a function that the target no longer has.",
        "This is a fault of the target, unless the call is guarded. Check that the call is never made.",
    ),
    "load_order": ErrorSpec(
        "For a while, running code calls a function that the called module does not have yet, or no longer has.",
        "Put the two load_module instructions next to each other: they are swapped at once. Or change their order.",
    ),
    "unchanged_module": ErrorSpec(
        "The hop replaces a module that is the same in both releases. The instruction does nothing.",
        "Take it out of the hop.",
    ),
    "replaced_already": ErrorSpec(
        "The hop replaces a module that it has replaced before. The instruction does nothing.",
        "Keep one of the two. An update after a load changes no state.",
    ),
    "module_removed": ErrorSpec(
        "A module that the target no longer has stays loaded until the node's next restart.",
        "If nothing calls it, leave it. restart_application removes modules that an application no longer lists.",
    ),
    "state_not_updated": ErrorSpec(
        "A module whose processes keep a state is loaded, not updated.",
        "If the shape of the state changed, use update: code_change then runs in each process.",
    ),
    "supervisor_changed": ErrorSpec(
        "A supervisor's module changed. A running supervisor keeps its children.",
        "If the children changed, restart the application.",
    ),
    "module_twice": ErrorSpec(
        "A module that the hop replaces lies in the folders of two applications.",
        "Make sure that only one application has the module and lists it.",
    ),
    "apple_double": ErrorSpec(
        "A tarball was packed on macOS. It has files of extended attributes, named ._….",
        "Pack it with COPYFILE_DISABLE=1 set. Nodes ignore these files.",
    ),
    "native_code": ErrorSpec(
        "A module with native code is replaced.",
        "Check that its library can be loaded twice (its upgrade callback). If not, upgrade with a restart.",
    ),
    "loaded_alone": ErrorSpec(
        "A module with on_load can't be swapped together with others. It is loaded alone, after them.",
        "Check that the modules before it can work with its old code for a moment.",
    ),
    "app_added": ErrorSpec(
        "The target starts an application that the hop does not start.",
        "Add a restart_application. It also starts an application that does not run.",
    ),
    "app_removed": ErrorSpec(
        "An application that the target does not have keeps running until the node's next restart.",
        "If it must not run, stop it with an apply.",
    ),
    "dependencies_changed": ErrorSpec(
        "An application needs other applications than before, and the hop does not restart it.",
        "If it can't work without them, restart it after they run.",
    ),
    "configured_otherwise": ErrorSpec(
        "The environment or start module of an application changed, and the hop does not restart it.",
        "Restart it. Its new `.app` file counts only after a restart.",
    ),
    "used_after_restart": ErrorSpec(
        "The hop uses an application after its restart.",
        "relup_remote has restarted it by then. The relup plugin starts such applications only at the end of the hop, "
        "so there the same hop fails.",
    ),
    "erts_differs": ErrorSpec(
        "The releases have different versions of Erlang/OTP or ERTS. The VM keeps its version until the node restarts.",
        "Check that the target's code runs on the VM of the old release.",
    ),
    "only_the_node_can_tell": ErrorSpec(
        "Only a node can evaluate a part of the hop, so that part is not checked here.",
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
