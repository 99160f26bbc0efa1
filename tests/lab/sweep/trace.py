"""What the driver notes of a run of the core."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Event:
    """One thing that the core did: the number `index` of its phase, `at` seconds after the core's start."""

    phase: str
    index: int
    label: str
    at: float

    @property
    def is_boundary(self) -> bool:
        """Whether a step begins or ends here, or the whole run."""
        return self.label.startswith(("says step", "says hello", "says result"))


def read(path: Path) -> list[Event]:
    """The events of a run, in order; a last line that is cut short does not count."""
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [Event(phase, int(index), label, float(at)) for phase, index, label, at in (x.split("\t") for x in lines)]
