"""What a cleanup would remove from the hosts, for people to agree to."""

from collections.abc import Iterator, Sequence

from relup_remote.rollout.rows import Row, succeeded
from relup_remote.summary.text import clean, many, room, size


def removals(rows: Sequence[Row]) -> str:
    """What would be removed from each host with its size, and in sum; and the trees that would be left."""
    asked = [row for row in rows if "would_remove" in row["facts"]]
    lines = [line for row in asked for line in _of_host(row)]
    full = [row["facts"]["bytes"] for row in asked if row["facts"]["would_remove"]]
    if full:
        lines.append(f"in all {size(sum(full))} on {many(len(full), 'host')}")
    if lines:
        return "\n".join(lines)
    # One that refused, or was not reached, did not say that there is nothing.
    empty = [row["host"] for row in asked if succeeded(row)]
    where = "" if len(empty) == len(rows) else f" on {', '.join(empty)}"
    return f"nothing to remove{where}" if empty else ""


def _of_host(row: Row) -> Iterator[str]:
    facts = row["facts"]
    remaining = [tree for tree in facts["trees"] if tree not in facts["would_remove"]]
    if not facts["would_remove"] and not (remaining and succeeded(row)):
        return
    yield f"{row['host']}: {size(facts['bytes']) if facts['would_remove'] else 'nothing to remove'}"
    things = [(size(thing["bytes"]), clean(thing["path"]), "") for thing in facts["would_remove"]]
    things += [(size(tree["bytes"]), clean(tree["path"]), ", not needed; --trees removes it too") for tree in remaining]
    lines = [f"  {much:<8}  {path}{note}" for much, path, note in things]
    columns = room()
    if columns is None or max(map(len, lines)) <= columns:
        yield from lines
        return
    # A path is there to be copied, so nothing breaks it and nothing follows it.
    for much, path, note in things:
        yield from (f"  {much}{note}", f"    {path}")
