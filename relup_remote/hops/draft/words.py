"""Names in sentences."""

from collections.abc import Iterable, Sequence

from relup_remote.hops.reading.writing import atom


def listed(words: Sequence[str], most: int = 3) -> str:
    """``a``, ``a and b``, ``a, b and 4 more``."""
    if len(words) > most:
        return f"{', '.join(words[:most])} and {len(words) - most} more"
    return " and ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)


def atoms(names: Iterable[str], most: int = 3) -> str:
    """Names of modules or applications as Erlang has them, sorted and listed."""
    return listed([atom(name) for name in sorted(names)], most)
