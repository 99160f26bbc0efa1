"""The hop as it will run: which code of which module is loaded at each point of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from relup_remote.hops.compare import Difference
from relup_remote.hops.hop import Callback, Hop, Instruction
from relup_remote.hops.reading.values import Dynamic

Step: TypeAlias = Instruction | Callback | Dynamic
"""An instruction of a hop; a `Dynamic` can be read by a node only."""

NOT_RESTARTABLE = ("kernel", "stdlib", "compiler")
"""The applications that no hop restarts."""

STICKY = NOT_RESTARTABLE
"""The applications whose modules no hop replaces."""


@dataclass(frozen=True)
class Turn:
    """When something happens: in which ``piece`` of the hop, and by which instruction.

    A piece is a run of loads, which are one swap, or any other instruction.
    """

    piece: int
    step: Instruction


@dataclass
class Course:
    """What the code changes do, in their order.

    - ``loaded``: the modules that become the target's version, or a helper, when they first do.
    - ``last``: the same modules, when they last are loaded.
    - ``moved``: those of them whose code is then another.
    - ``gone``: the modules of a restarted application that the target has no more.
    - ``restarted``: the applications started anew, when they first are.
    - ``again``: instructions for modules that were loaded before, with the earlier one.
    - ``unknown``: the pieces of which it can't be told what they do.
    - ``places``: the piece of each code change, by its identity.
    """

    pieces: int
    loaded: dict[str, Turn] = field(default_factory=dict)
    last: dict[str, Turn] = field(default_factory=dict)
    moved: dict[str, Turn] = field(default_factory=dict)
    gone: dict[str, Turn] = field(default_factory=dict)
    restarted: dict[str, Turn] = field(default_factory=dict)
    again: list[tuple[Instruction, Instruction]] = field(default_factory=list)
    unknown: list[int] = field(default_factory=list)
    places: dict[int, int] = field(default_factory=dict)

    @property
    def is_known(self) -> bool:
        """Whether all code changes can be told."""
        return not self.unknown

    def piece_of(self, step: Instruction | Callback) -> int:
        """The piece that an instruction is in; a number past all of them for a callback."""
        return self.places.get(id(step), self.pieces)

    def is_known_before(self, piece: int) -> bool:
        """Whether all that comes before a piece can be told."""
        return self.is_known or self.unknown[0] >= piece

    def has_gone(self, module: str, piece: int) -> bool:
        """Whether a restart has taken a module away by the end of a piece, and nothing has loaded it since."""
        gone, loaded = self.gone.get(module), self.last.get(module)
        return gone is not None and gone.piece <= piece and not (loaded and gone.piece < loaded.piece <= piece)

    def is_before(self, first: Turn, then: Turn) -> bool:
        """Whether one thing surely happens before another, and not in one swap with it."""
        return first.piece < then.piece and not any(first.piece < piece < then.piece for piece in self.unknown)


def course_of(hop: Hop, difference: Difference) -> Course:
    """The course of a hop."""
    pieces = list(_pieces(hop))
    course = Course(len(pieces))
    for piece, steps in enumerate(pieces):
        for step in steps:
            course.places[id(step)] = piece
            if is_unknown(step):
                course.unknown.append(piece)
            elif isinstance(step, Instruction) and step.name is not None:
                _take(course, Turn(piece, step), step.name, difference)
    return course


def is_open(step: Step) -> bool:
    """Whether something about an instruction can be told by a node only."""
    if isinstance(step, Dynamic):
        return True
    if step.problem is not None:
        return False
    if isinstance(step, Callback):
        return None in (step.function, step.arity)
    return step.name is None or (step.kind == "apply" and None in (step.function, step.arity))


def is_unknown(step: Instruction | Dynamic) -> bool:
    """Whether it can't be told what an instruction does, or is meant to do, to the code."""
    return isinstance(step, Dynamic) or step.kind == "unknown" or (step.kind != "apply" and step.name is None)


def _pieces(hop: Hop) -> Iterator[Sequence[Instruction | Dynamic]]:
    run: list[Instruction | Dynamic] = []
    for change in hop.changes:
        if isinstance(change, Instruction) and change.kind == "load_module":
            run.append(change)
            continue
        if run:
            yield run
        run = []
        yield [change]
    if run:
        yield run


def _take(course: Course, turn: Turn, name: str, difference: Difference) -> None:
    if turn.step.kind in ("load_module", "update"):
        if name in course.loaded and not course.has_gone(name, turn.piece):
            course.again.append((turn.step, course.loaded[name].step))
        _load(course, turn, name, difference)
    elif turn.step.kind == "restart_application" and name not in NOT_RESTARTABLE:
        course.restarted.setdefault(name, turn)
        app = difference.new.apps.get(name)
        for module in app.modules if app else ():
            _load(course, turn, module, difference)
        before = difference.old.apps.get(name)
        for module in before.modules if before else ():
            # One that the target has in another application stays.
            if not difference.new.has_module(module):
                course.gone[module] = turn


def _load(course: Course, turn: Turn, module: str, difference: Difference) -> None:
    course.loaded.setdefault(module, turn)
    course.last[module] = turn
    if not difference.is_unchanged(module):
        course.moved.setdefault(module, turn)
