"""A catalogue, for people and for ``--json``."""

from collections.abc import Iterator, Sequence
from typing import Any

from relup_remote.hops.catalogue import Catalogue
from relup_remote.hops.graph import MAX_CHAINS, Graph, graph_of
from relup_remote.hops.helpers import Mention, Unused, missing, unused


class Findings:
    """What is not as it should be in a catalogue."""

    def __init__(self, found: Catalogue) -> None:
        self.malformed = found.malformed
        self.ambiguous = found.ambiguous
        self.overridden = found.overridden
        self.unused: list[Unused] = unused(found.hops, found.helpers)
        self.missing: list[Mention] = missing(found.hops, found.helpers)

    def __bool__(self) -> bool:
        return bool(self.malformed or self.ambiguous or self.unused or self.missing)


def document(found: Catalogue, findings: Findings, start: str = "") -> dict[str, Any]:
    """The catalogue for ``--json``; with ``start``, also what can be reached from that version."""
    listed: dict[str, Any] = {
        "catalogue": found.name,
        "hops": [
            {"file": hop.file, "from": hop.from_vsn, "target": hop.target, "catalogue": str(hop.catalogue)}
            for hop in found.hops
        ],
        "helpers": [helper.file for helper in found.helpers],
        "malformed": [
            {"file": file.file, "line": file.line, "column": file.column, "reason": file.reason}
            for file in findings.malformed
        ],
        "ambiguous": [
            {"from": pair[0], "target": pair[1], "files": files, "err_type": "ambiguous_hop"}
            for pair, files in findings.ambiguous.items()
        ],
        "overridden": [
            {"file": each.file, "catalogue": str(each.catalogue), "by": str(each.by)} for each in findings.overridden
        ],
        "unused": [{"file": each.helper.file, "meant": each.meant and vars(each.meant)} for each in findings.unused],
        "missing": [vars(mention) for mention in findings.missing],
    }
    if start:
        graph = graph_of(found.hops)
        listed["from"] = start
        listed["reachable"] = [{"target": version, "hops": hops} for version, hops in _reached(graph, start)]
        listed["chains"] = graph.chains(start)
    return listed


def text(found: Catalogue, findings: Findings, start: str = "") -> str:
    """The catalogue for people: a line a hop, or with ``start`` a line a chain of hops; then what is not right."""
    listed = _chains(graph_of(found.hops), start) if start else _hops(found)
    blocks = [listed]
    if found.helpers and not start:
        blocks.append("helper modules: " + ", ".join(helper.file for helper in found.helpers))
    blocks += _findings(found, findings)
    return "\n\n".join(blocks)


def _hops(found: Catalogue) -> str:
    pairs = [(f"{hop.from_vsn} -> {hop.target}", found.named(hop)) for hop in found.hops]
    width = max((len(pair) for pair, _ in pairs), default=0)
    return "\n".join(f"{pair:{width}}  {file}" for pair, file in pairs) or f"no hops in {found.name}"


def _chains(graph: Graph, start: str) -> str:
    chains = graph.chains(start)
    lines = [" -> ".join(chain) for chain in chains] or [f"no hop leads from {start}"]
    if len(chains) == MAX_CHAINS:
        reached = ", ".join(version for version, _ in _reached(graph, start))
        lines.append(f"only the first {MAX_CHAINS} chains; reached in all: {reached}")
    return "\n".join(lines)


def _reached(graph: Graph, start: str) -> list[tuple[str, int]]:
    return [(version, hops) for version, hops in graph.reachable(start).items() if hops]


def _findings(found: Catalogue, findings: Findings) -> Iterator[str]:
    yield from _block("malformed:", [f"{found.named(file)}: {file.place}{file.reason}" for file in findings.malformed])
    yield from _block(
        "ambiguous_hop, keep one of each:",
        [f"{pair[0]} -> {pair[1]}: {', '.join(files)}" for pair, files in findings.ambiguous.items()],
    )
    yield from _block(
        "not used, because a catalogue before it has another one:",
        [f"{each.catalogue / each.file}: {each.by}" for each in findings.overridden],
    )
    yield from _block(
        "helper modules that no hop names:",
        [
            each.helper.file + (f" ({each.meant.place}: {each.meant.module}?)" if each.meant else "")
            for each in findings.unused
        ],
    )
    yield from _block(
        "helper modules that are missing:", [f"{mention.place}: {mention.module}.erl" for mention in findings.missing]
    )


def _block(title: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield "\n".join([title, *(f"  {line}" for line in lines)])
