"""Where the project's own files are, for an operator who works in a checkout."""

from pathlib import Path


def checkout() -> Path | None:
    """The checkout this package is run from; None when it was installed as a wheel."""
    root = Path(__file__).resolve().parent.parent
    return root if (root / "tasks.py").is_file() and (root / "pyproject.toml").is_file() else None
