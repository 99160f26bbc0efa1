"""The README as somebody pastes it into a shell."""

from collections.abc import Iterator
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def blocks(title: str = "") -> Iterator[list[str]]:
    """The blocks of code below a title, or all of them, without their comments."""
    found: list[str] = []
    is_below = not title
    for line in [*README.read_text().splitlines(), ""]:
        if line.startswith("## "):
            is_below = not title or line == f"## {title}"
        if line.startswith("    ") and is_below:
            found.append(line.partition("  # ")[0].strip())
        elif found:
            yield found
            found = []


def commands(title: str) -> list[str]:
    """The commands of the first block below a title, one by one."""
    return [typed.strip() for line in next(blocks(title)) for typed in line.split(";")]
