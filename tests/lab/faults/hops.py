"""The hop of each cell, and the fault that is armed for it. Pure."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from relup_remote.core.erlang.term import Atom
from relup_remote.faults import (
    AFTER,
    APPLY,
    BAD_BEAM,
    BEFORE,
    CALLBACK,
    DEATH,
    DURING,
    EXCEPTION,
    EXIT,
    HALFWAY,
    KILL,
    LOAD,
    LOADED,
    MARKER,
    RESTART,
    SUPERVISORS,
    TIMEOUT,
    TOO_LONG,
    UPDATE,
    Cell,
    ending,
)
from relup_remote.hops.catalogue import Helper, Hop
from tests.lab.cluster import BASE
from tests.lab.faults.release import APP, IN_APP, TARGET, Release

HANG = 2500
"""Milliseconds that whatever takes too long takes; more than `STEP_TIMEOUT`, and than is waited for such a hop."""

STEP_TIMEOUT = 1.0
HOP_TIMEOUT = 1.2
"""Seconds."""

INSTRUCTIONS = {
    LOAD: (f"{{load_module, {APP}_plain}}", f"{{load_module, {APP}_loaded}}"),
    UPDATE: (f"{{update, {APP}_worker, {{advanced, []}}}}",),
    LOADED: (f"{{load_module, {APP}_worker}}", f"{{update, {APP}_worker, {{advanced, []}}}}"),
    SUPERVISORS: (f"{{update, {APP}_sups, {{advanced, []}}}}",),
    RESTART: (f"{{restart_application, {APP}}}",),
    APPLY: (f"{{apply, {APP}_helper, settle, [{APP}_named]}}",),
    CALLBACK: (),
    MARKER: (),
}
"""What the hop of a kind has between the gates."""

MODULES = {
    LOAD: (f"{APP}_plain", f"{APP}_loaded"),
    UPDATE: (f"{APP}_worker",),
    LOADED: (f"{APP}_worker",),
    SUPERVISORS: (f"{APP}_sups",),
    RESTART: IN_APP,
    APPLY: (),
    CALLBACK: (),
    MARKER: (),
}
"""The modules that these instructions load."""

AROUND = (
    "emqx_connection",
    "emqx_release",
    *(f"{APP}_{name}" for name in ("gate_before", "gate_after", "spacer_a", "spacer_b")),
)
"""The modules that every hop loads."""

HELPERS = (
    Helper(
        f"{APP}_helper.erl",
        f"""\
-module({APP}_helper).
-export([settle/1]).
-on_load(loaded/0).
loaded() -> {APP}_point:strike(helper).
settle(Named) -> ok = {APP}:settle(), ok = Named:settled(), ok = {APP}_inner:settled(), {APP}_point:strike(apply).
""",
    ),
    # Named only in an argument, and only in a helper.
    *(
        Helper(f"{APP}_{name}.erl", f"-module({APP}_{name}).\n-export([settled/0]).\nsettled() -> ok.\n")
        for name in ("named", "inner")
    ),
    Helper(
        f"emqx_post_upgrade_{TARGET}.erl",
        f"""\
-module('emqx_post_upgrade_{TARGET}').
-export([first/1, second/1]).
-on_load(loaded/0).
loaded() -> {APP}_point:strike(callbacks).
first(_From) -> ok = {APP}:settle(), {APP}_point:strike(first_callback).
second(_From) -> {APP}_point:strike(second_callback).
""",
    ),
)
"""The catalogue's modules: what `apply` and the callbacks call."""

PASSES = {
    (LOAD, BEFORE): ("gate_before", 1),
    (LOAD, DURING): ("loaded", 1),
    (UPDATE, BEFORE): ("suspend", 1),
    (UPDATE, DURING): ("change", 1),
    (UPDATE, HALFWAY): ("change", 2),
    (LOADED, DURING): ("change", 1),
    (LOADED, HALFWAY): ("change", 2),
    (SUPERVISORS, HALFWAY): ("supervisor", 2),
    (RESTART, BEFORE): ("gate_before", 1),
    (RESTART, DURING): ("stop", 1),
    (RESTART, HALFWAY): ("start", 1),
    (APPLY, BEFORE): ("helper", 1),
    (APPLY, DURING): ("apply", 1),
    (CALLBACK, BEFORE): ("callbacks", 1),
    (CALLBACK, DURING): ("first_callback", 1),
    (CALLBACK, AFTER): ("second_callback", 1),
    (MARKER, BEFORE): ("second_callback", 1),
    (MARKER, DURING): ("second_callback", 1),
    (MARKER, AFTER): ("second_callback", 1),
}
"""Where the armed fault strikes, and at which time of coming by; after a code change, at the gate behind it."""

CUT = {LOAD: f"{APP}_plain", UPDATE: f"{APP}_worker", RESTART: APP}
"""The beam that is read at the beginning of an instruction."""


def hop(cell: Cell) -> Hop:
    """A hop with the cell's kind of instruction between two gates, and of the broker what all connections run."""
    changes = (
        "{load_module, emqx_connection}",
        f"{{load_module, {APP}_gate_before}}",
        f"{{update, {APP}_spacer_a, {{advanced, []}}}}",
        *INSTRUCTIONS[cell.kind],
        f"{{update, {APP}_spacer_b, {{advanced, []}}}}",
        f"{{load_module, {APP}_gate_after}}",
        "{load_module, emqx_release}",
    )
    callbacks = ("first", "second") if cell.kind in (CALLBACK, MARKER) else ()
    text = (
        f'#{{from_version => "{BASE}",\n  target_version => "{TARGET}",\n'
        f"  code_changes => {_listed(changes)},\n  post_upgrade_callbacks => {_listed(callbacks)}}}.\n"
    )
    return Hop(f"{BASE}-to-{TARGET}.relup", BASE, TARGET, text)


def loaded_by(cell: Cell) -> tuple[str, ...]:
    """The modules of the target that the cell's hop loads."""
    return (*AROUND, *MODULES[cell.kind])


def options(cell: Cell, on_failure: str) -> dict[str, Any]:
    """The request's options: short times, for what takes too long in the cell."""
    waits = {"hop_timeout": HOP_TIMEOUT} if ending(cell) == TOO_LONG else {}
    return {"on_failure": on_failure, "step_timeout": STEP_TIMEOUT, "settle": 0.5, **waits}


def arming(cell: Cell, root: Path, target: Release, hang: int) -> tuple[Any, ...]:
    """The arguments of ``emqx_faults_point:arm/2`` for a cell: where it strikes, and with what.

    ``hang``: the milliseconds that whatever takes too long takes.
    """
    place, nth = PASSES.get((cell.kind, cell.point), ("gate_after", 1))
    if cell.fault == BAD_BEAM:
        beam = f"{APP}_gate_after" if cell.point == AFTER else CUT[cell.kind]
        cut = (Atom("cut"), str(root / "relup" / TARGET / target.place(beam)))
        return (Atom("gate_before"), 1), cut
    return (Atom(place), nth), _fault(cell, root, hang)


def in_the_way(root: Path) -> tuple[Path, Path, Path]:
    """Where a fault puts a folder in the place of a file: the marker's temporary file, the marker, the outcome."""
    marker = root / "relup" / "current"
    return marker.with_name("current.tmp"), marker, root / "data" / "relup_remote" / "outcome"


def _fault(cell: Cell, root: Path, hang: int) -> Any:
    temporary, marker, outcome = map(str, in_the_way(root))
    special: dict[tuple[str, str, str], Any] = {
        # All go on, and it is asked once more to stand still.
        (UPDATE, BEFORE, TIMEOUT): (Atom("timeout"), 2 * hang),
        (RESTART, HALFWAY, EXIT): Atom("shutdown"),
        (APPLY, DURING, DEATH): Atom("death_of_server"),
        (CALLBACK, DURING, DEATH): Atom("death_of_server"),
        (CALLBACK, AFTER, DEATH): Atom("death_of_server"),
        (MARKER, BEFORE, EXCEPTION): (Atom("folder"), temporary),
        (MARKER, DURING, EXCEPTION): (Atom("folder"), marker),
        (MARKER, DURING, TIMEOUT): (Atom("freeze"), Atom("file_server_2"), hang),
        (MARKER, DURING, KILL): (Atom("kill_at"), Atom("file_server_2"), Atom("rename")),
        (MARKER, AFTER, EXCEPTION): (Atom("folder"), outcome),
        (MARKER, AFTER, TIMEOUT): (Atom("freeze"), Atom("code_server"), hang),
    }
    usual = (Atom("timeout"), hang) if cell.fault == TIMEOUT else Atom(cell.fault)
    return special.get(cell, usual)


def _listed(items: Sequence[str]) -> str:
    return f"[{', '.join(items)}]"
