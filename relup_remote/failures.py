"""What a failed hop leaves: the state table at the top of the agent's source, which the agent obeys."""

from importlib.resources import files
from typing import NamedTuple


class State(NamedTuple):
    """A row of the state table. The text around the table says what its words mean."""

    failed_in: str
    undone: str
    modules: str
    marker: str
    stop: str
    """The VM with ``--on-failure stop``."""
    restart: str
    """The VM with ``--on-failure restart``."""
    next_upgrade: str


COLUMNS = ("failed in", "undone", "modules", "marker", "VM on stop", "VM on restart", "next upgrade")
PREFIX = "%%     "


def states(source: str | None = None) -> list[State]:
    """The state table in ``source``, by default the agent's. Raises `ValueError` if there is none of this form.

    It is a block of comment lines with columns between ``|``; one whose first column is empty goes on with the row
    above.
    """
    text = source or files("relup_remote.core.agent").joinpath("relup_agent.erl").read_text("utf-8")
    rows: list[list[str]] = []
    for line in text.splitlines():
        if line.startswith(PREFIX) and "|" in line:
            cells = [cell.strip() for cell in line.removeprefix(PREFIX).split("|")]
            if rows and not cells[0]:
                rows[-1] = [f"{above} {cell}".strip() for above, cell in zip(rows[-1], cells, strict=True)]
            else:
                rows.append(cells)
    if not rows or tuple(rows[0]) != COLUMNS or {len(cells) for cells in rows} != {len(COLUMNS)}:
        raise ValueError(f"no table with the columns {', '.join(COLUMNS)}")
    return [State(*cells) for cells in rows[1:]]
