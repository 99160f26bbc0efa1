"""What a report tells of a run: plain values, the same for every format, and what ``--format json`` prints.

Moments are milliseconds since the epoch, UTC. Where a thing began and did not end, its ``seconds`` are None.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

UNFINISHED = "unfinished"
"""Outcome of a host, a step, a gate or a wave that began and has no end: the controller was killed, or works still."""

UNKNOWN = "unknown"
"""Status of a step that was in hand when its host was lost: its end was not heard, and may have been any."""

SKIPPED = "skipped"
"""Outcome of a host whose turn had not come when the run ended."""

LEFT = "left"
"""Outcome of a run whose controller died."""

UNDER_WAY = "under way"
"""Outcome of a run that a controller still works on."""

STATES = ("done", "nothing_left", "waiting", "unfinished", "refused", "failed")
"""What a host's outcome comes to, from best to worst; ``waiting`` is a host whose turn has not come: yet, or
at all (`SKIPPED`)."""


@dataclass(frozen=True)
class Stretch:
    """A stretch of time."""

    started_at: int
    ended_at: int

    @property
    def seconds(self) -> float:
        """How long it is."""
        return (self.ended_at - self.started_at) / 1000


@dataclass(frozen=True)
class Step:
    """A step on a host, in the ``phase`` of the run in which it was taken."""

    step: str
    phase: str
    status: str
    started_at: int
    seconds: float | None


@dataclass(frozen=True)
class Turn:
    """A host's part in a phase of the run, and what it came to. A run that was resumed may have several of a phase."""

    phase: str
    outcome: str
    started_at: int
    seconds: float | None


@dataclass(frozen=True)
class Sample:
    """How many connections there were."""

    at: int
    count: int


@dataclass(frozen=True)
class Instruction:
    """An instruction of a hop as it went on a host. ``window_ms``: for how long processes or modules were held up."""

    n: int | None
    text: str
    does: str
    status: str
    seconds: float | None
    window_ms: float | None


@dataclass(frozen=True)
class Hop:
    """A hop as it went on a host. ``suspended_ms``: processes stood still; ``swap_ms``: modules were swapped."""

    file: str
    from_vsn: str
    target: str
    seconds: float | None
    suspended_ms: float | None
    swap_ms: float | None
    instructions: tuple[Instruction, ...]


@dataclass(frozen=True)
class Host:
    """A host of the run. ``state`` is one of `STATES`; ``outcome`` and ``seconds`` are those of its row.

    What has not begun took no time: then ``seconds`` are None.
    ``steps`` are all that were taken; those of the phase `gate` by a gate that looked at the host.
    """

    host: str
    address: str
    node: str
    role: str
    wave: int | None
    from_vsn: str
    target: str
    running: str
    outcome: str
    state: str
    seconds: float | None
    turns: tuple[Turn, ...]
    steps: tuple[Step, ...]
    connections: tuple[Sample, ...]
    hop: Hop | None


@dataclass(frozen=True)
class Gate:
    """A try to pass a gate after a wave; ``status`` is open, closed, or unfinished."""

    wave: int
    gate: str
    status: str
    started_at: int
    seconds: float | None
    message: str
    detail: Mapping[str, Any]


@dataclass(frozen=True)
class Wave:
    """A wave; ``status`` is waiting, unfinished, done, stopped or interrupted.

    A resumed run may have gone at it several times.
    """

    wave: int
    hosts: tuple[str, ...]
    status: str
    stretches: tuple[Stretch, ...]
    gates: tuple[Gate, ...]

    @property
    def last_gates(self) -> tuple[Gate, ...]:
        """Each gate as it was tried last."""
        return tuple({gate.gate: gate for gate in self.gates}.values())


@dataclass(frozen=True)
class Trouble:
    """An error, a problem or a warning, and the hosts that met it. ``overcome``: later it went well on all of them."""

    kind: str
    err_type: str
    stage: str
    message: str
    hint: str
    detail: Mapping[str, Any]
    hosts: tuple[str, ...]
    overcome: bool


@dataclass(frozen=True)
class Override:
    """A check or a habit that the operator has overridden, by which option, and what that means."""

    option: str
    meaning: str


@dataclass(frozen=True)
class Digest:
    """A file that the run was given, and the SHA-256 of its content."""

    what: str
    file: str
    sha256: str
    bytes: int | None = None


@dataclass(frozen=True)
class Resumption:
    """When the run was taken up again, and by whom."""

    at: int
    operator: str


@dataclass(frozen=True)
class Report:
    """A run. ``sittings`` are the times through which it was worked on, as they are drawn.

    ``seconds`` is its time, see `relup_remote.rollout.worked`; for ``seconds_between`` no controller worked on it.

    ``outcome`` is that of its end (see `relup_remote.rollout.endings`), `LEFT` or `UNDER_WAY`.
    """

    run: str
    command: str
    operator: str
    version: str
    inventory: str
    selection: tuple[str, ...]
    started_at: int
    ended_at: int
    seconds: float
    seconds_between: float
    sources: tuple[str, ...]
    target: str
    outcome: str
    err_type: str
    reason: str
    hint: str
    next: str
    interruptions: int
    resumptions: tuple[Resumption, ...]
    sittings: tuple[Stretch, ...]
    hosts: tuple[Host, ...]
    waves: tuple[Wave, ...]
    connections: tuple[Sample, ...]
    troubles: tuple[Trouble, ...]
    overrides: tuple[Override, ...]
    digests: tuple[Digest, ...]
    parallel: int
    max_failures: int
    gates: Mapping[str, Any]
    options: Mapping[str, Any]

    @property
    def went_well(self) -> bool:
        """Whether it came to its end and did what it was to do."""
        return self.outcome == "done"

    def count(self, *states: str) -> int:
        """How many hosts are in one of these ``states``."""
        return sum(host.state in states for host in self.hosts)
