"""The fault matrix: every kind of instruction of a hop, at every point of it, with every fault. Pure.

`meaningless` says why a combination is left out, `ending` which row of the state table (see `relup_remote.failures`)
must hold for one that is not.
"""

from collections.abc import Iterator, Mapping
from itertools import product
from typing import NamedTuple

LOAD, UPDATE, LOADED, SUPERVISORS, RESTART, APPLY, CALLBACK, MARKER = KINDS = (
    "load_module",
    "update",
    "update after load_module",
    "update of supervisors",
    "restart_application",
    "apply",
    "callback",
    "marker",
)
BEFORE, DURING, HALFWAY, AFTER = POINTS = ("before", "during", "halfway", "after")
EXCEPTION, TIMEOUT, DEATH, KILL, EXIT, BAD_BEAM = FAULTS = (
    "exception",
    "timeout",
    "death",
    "kill",
    "exit",
    "bad beam",
)
MEANINGS: Mapping[str, str] = {
    EXCEPTION: "what runs there raises an error, or a file can't be written",
    TIMEOUT: "what runs there takes longer than allowed",
    DEATH: "the process that it runs in, or that it calls, dies",
    KILL: "the hop's own process is killed",
    EXIT: "the application that it is about exits",
    BAD_BEAM: "the next beam is cut after it was checked",
}


class Place(NamedTuple):
    """What a hop does at a point of an instruction, and what a fault there means.

    ``failed_in``, ``result``: the row of the state table and the history's result, where it fails by itself.
    ``killed``: the result where the hop's process is killed there. ``meets``: the faults that something there can
    meet. ``bounded``: how long it may take is limited by ``step_timeout``; otherwise only how long is waited for the
    hop. ``harmless``: the faults that are no failure of the hop.
    """

    does: str
    failed_in: str
    result: str
    killed: str
    meets: tuple[str, ...] = (EXCEPTION, TIMEOUT, DEATH, KILL, EXIT)
    bounded: bool = False
    harmless: tuple[str, ...] = (EXIT,)


_UNTIL_CHANGED, _ONCE_CHANGED = "update, until a state has changed", "update, once a state has changed"
_UNTIL_STOP, _ONCE_STOPS = "restart_application, until its stop", "restart_application, once it stops"
_UNTIL_CALLED, _ONCE_CALLED = "apply, until it is called", "apply, once it is called"
_LATER, _WRITTEN = "a code change after one of the latter", "nothing: the marker is written"

_NOT_LOADED, _NOT_CHANGED, _NOT_STARTED = "failed_to_load", "code_change_failed", "failed_to_start_app"
_NOT_APPLIED, _NOT_CALLED, _NOT_WRITTEN = "apply_failed", "post_upgrade_failed", "marker_failed"
_NO_MODULE = "post_upgrade_module_not_loaded"

_ON_LOAD = "whose `on_load` is called"
_READ = (KILL, EXIT, BAD_BEAM)
_OF_PROCESSES = (DEATH, EXIT)
_NEXT = Place(f"the next module is loaded, {_ON_LOAD}", _LATER, _NOT_LOADED, _NOT_LOADED, FAULTS)

PLACES: Mapping[tuple[str, str], Place] = {
    (LOAD, BEFORE): Place("the beam is read", LOAD, _NOT_LOADED, _NOT_LOADED, _READ),
    (LOAD, DURING): Place("modules of the run are swapped, an `on_load` is called", LOAD, _NOT_LOADED, _NOT_LOADED),
    (LOAD, AFTER): _NEXT._replace(failed_in=LOAD),
    (UPDATE, BEFORE): Place(
        "the beam is read, the processes are suspended",
        _UNTIL_CHANGED,
        "suspend_failed",
        _NOT_CHANGED,
        (TIMEOUT, DEATH, KILL, EXIT, BAD_BEAM),
        bounded=True,
        harmless=_OF_PROCESSES,
    ),
    (UPDATE, DURING): Place(
        "the first process changes its state",
        _UNTIL_CHANGED,
        _NOT_CHANGED,
        _NOT_CHANGED,
        bounded=True,
        harmless=_OF_PROCESSES,
    ),
    (UPDATE, HALFWAY): Place(
        "the others change theirs",
        _ONCE_CHANGED,
        _NOT_CHANGED,
        _NOT_CHANGED,
        bounded=True,
        harmless=_OF_PROCESSES,
    ),
    (UPDATE, AFTER): _NEXT,
    (LOADED, DURING): Place(
        "the first process changes its state",
        _UNTIL_CHANGED,
        _NOT_CHANGED,
        _NOT_CHANGED,
        (EXCEPTION,),
        bounded=True,
        harmless=_OF_PROCESSES,
    ),
    (LOADED, HALFWAY): Place(
        "the others change theirs",
        _ONCE_CHANGED,
        _NOT_CHANGED,
        _NOT_CHANGED,
        (EXCEPTION, DEATH),
        bounded=True,
        harmless=_OF_PROCESSES,
    ),
    (SUPERVISORS, HALFWAY): Place(
        "the second one's `init` is called",
        _ONCE_CHANGED,
        _NOT_CHANGED,
        _NOT_CHANGED,
        (EXCEPTION,),
        bounded=True,
        harmless=_OF_PROCESSES,
    ),
    (RESTART, BEFORE): Place("its modules are read", _UNTIL_STOP, _NOT_STARTED, _NOT_LOADED, _READ),
    (RESTART, DURING): Place(
        "it is stopped",
        _ONCE_STOPS,
        "failed_to_stop_app",
        _NOT_STARTED,
        (EXCEPTION, TIMEOUT, DEATH, KILL),
        bounded=True,
        harmless=(EXCEPTION, DEATH),
    ),
    (RESTART, HALFWAY): Place("it is started", _ONCE_STOPS, _NOT_STARTED, _NOT_STARTED, bounded=True, harmless=()),
    (RESTART, AFTER): _NEXT,
    (APPLY, BEFORE): Place(f"its helper is loaded, {_ON_LOAD}", _UNTIL_CALLED, _NOT_LOADED, _NOT_APPLIED),
    (APPLY, DURING): Place("the function runs", _ONCE_CALLED, _NOT_APPLIED, _NOT_APPLIED),
    (APPLY, AFTER): _NEXT,
    (CALLBACK, BEFORE): Place(f"its module is loaded, {_ON_LOAD}", CALLBACK, _NO_MODULE, _NOT_CALLED),
    (CALLBACK, DURING): Place("the function runs", CALLBACK, _NOT_CALLED, _NOT_CALLED),
    (CALLBACK, AFTER): Place("the next callback runs", CALLBACK, _NOT_CALLED, _NOT_CALLED),
    (MARKER, BEFORE): Place("a temporary file is written", MARKER, _NOT_WRITTEN, _NOT_WRITTEN, (EXCEPTION,)),
    (MARKER, DURING): Place(
        "the VM's file server renames it", MARKER, _NOT_WRITTEN, _NOT_WRITTEN, (EXCEPTION, TIMEOUT, KILL)
    ),
    (MARKER, AFTER): Place(
        "the VM's code server removes helpers, the outcome is written", _WRITTEN, "success", "", (EXCEPTION, TIMEOUT)
    ),
}


ON_FAILURE = ("stop", "restart")


class Cell(NamedTuple):
    """One fault at one point of one kind of instruction."""

    kind: str
    point: str
    fault: str

    @property
    def place(self) -> Place:
        """What happens there. Raises `KeyError` where the kind has no such point."""
        return PLACES[self.kind, self.point]


class Ending(NamedTuple):
    """What a cell comes to: a row of the state table, by its first column, and the history's result."""

    failed_in: str
    result: str


IN_DOUBT = ((UPDATE, DURING, TIMEOUT), (UPDATE, DURING, KILL))
"""Where a process was asked to change its state and has not answered: it is killed, all else is taken back."""

DONE = Ending(_WRITTEN, "success")
TOO_LONG = Ending("nothing: it takes longer than allowed", "hop_timeout")


def cells() -> Iterator[Cell]:
    """The cells of the matrix, those without a meaning left out."""
    return (cell for cell in map(Cell._make, product(KINDS, POINTS, FAULTS)) if meaningless(cell) is None)


def meaningless(cell: Cell) -> str | None:
    """Why a combination is not tried, None if it is."""
    kind, point, fault = cell
    if kind in (LOADED, SUPERVISORS) and ((kind, point) not in PLACES or fault not in cell.place.meets):
        return "the same as for any other `update`"
    if (kind, point) not in PLACES:
        return "only `update` and `restart_application` have two halves"
    if fault in cell.place.meets:
        return None
    special = {
        (UPDATE, BEFORE, EXCEPTION): "a process that raises an error while it is being suspended has died: see death",
        (RESTART, DURING, EXIT): "it is being stopped",
        (MARKER, AFTER, KILL): "the hop's process has ended",
    }
    usual = {
        EXCEPTION: "no code of the release runs there, and no file is written",
        TIMEOUT: "nothing is waited for there",
        DEATH: "no process but the hop's own has a part in it",
        KILL: "the hop's process does not wait there: it is killed before or after",
        EXIT: "the marker is about no application",
        BAD_BEAM: "no beam is read there: it was before, or was compiled from a helper's source before the hop",
    }
    return special.get(cell, usual[fault])


def ending(cell: Cell) -> Ending:
    """How a cell must end."""
    place = cell.place
    if cell == (MARKER, DURING, KILL):
        # The file server goes on for a caller that has died.
        return DONE
    if cell.fault == KILL:
        return Ending(place.failed_in, place.killed)
    if cell.fault == TIMEOUT and not place.bounded:
        return TOO_LONG
    if cell.fault == EXIT and (cell.kind, cell.point) in ((APPLY, BEFORE), (CALLBACK, BEFORE)):
        # It is the function that needs the application.
        return ending(Cell(cell.kind, DURING, EXCEPTION))
    if cell.fault in place.harmless:
        return DONE
    return Ending(place.failed_in, "bad_beam" if cell.fault == BAD_BEAM else place.result)
