"""The graph of versions, drawn: as text, as Mermaid, as SVG."""

from collections.abc import Iterator
from html import escape

from relup_remote.hops.graph import Graph

_CHARACTER, _HEIGHT, _GAP, _ROW = 8, 28, 60, 52
"""Of the SVG, in pixels: the width of a character, the height of a box, between columns, from row to row."""


def as_text(graph: Graph) -> str:
    """A tree from each version that no hop leads to. What has been drawn already is named, and not drawn again."""
    led_to = {target for _, target in graph.edges}
    lines: list[str] = []
    drawn: set[str] = set()
    # Versions that lead to one another in a circle come last, since none of them is a beginning.
    for root in sorted(graph.versions, key=lambda version: version in led_to):
        if root not in drawn:
            lines += _tree(graph, root, drawn)
    return "\n".join(lines)


def _tree(graph: Graph, root: str, drawn: set[str]) -> Iterator[str]:
    waiting = [(root, "", "")]
    while waiting:
        version, before, indent = waiting.pop()
        targets = graph.following[version]
        if version in drawn and targets:
            yield f"{before}{version} (see above)"
            continue
        yield f"{before}{version}"
        drawn.add(version)
        for target in reversed(targets):
            is_last = target == targets[-1]
            waiting.append((target, f"{indent}{'└─' if is_last else '├─'}> ", f"{indent}{' ' if is_last else '│'}   "))


def as_mermaid(graph: Graph) -> str:
    """A flowchart, as Markdown viewers draw it."""
    names = {version: f"v{number}" for number, version in enumerate(graph.versions)}
    nodes = [f'  {name}["{escape(version)}"]' for version, name in names.items()]
    edges = [f"  {names[source]} --> {names[target]}" for source, target in graph.edges]
    return "\n".join(["flowchart LR", *nodes, *edges])


def as_svg(graph: Graph) -> str:
    """A picture: each version right of those that lead to it, each hop an arrow."""
    columns = _columns(graph)
    width = _CHARACTER * max(map(len, graph.versions), default=0) + 2 * _CHARACTER
    places = {
        version: (10 + column * (width + _GAP), 10 + row * _ROW)
        for column, versions in enumerate(columns)
        for row, version in enumerate(versions)
    }
    size = 20 + len(columns) * (width + _GAP), 20 + max(map(len, columns), default=0) * _ROW
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{size[0]}" height="{size[1]}" font-family="monospace"'
            ' font-size="13">',
            '<defs><marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8"'
            ' orient="auto"><path d="M0 0L8 4L0 8z"/></marker></defs>',
            *(_arrow(places[source], places[target], width) for source, target in graph.edges),
            *(_box(version, place, width) for version, place in places.items()),
            "</svg>",
        ]
    )


def _columns(graph: Graph) -> list[list[str]]:
    """The versions by how many hops may have led to them at most; where hops go in circles, not further than all."""
    depth = dict.fromkeys(graph.versions, 0)
    for _ in graph.versions:
        deeper = {target: depth[source] + 1 for source, target in graph.edges if depth[target] <= depth[source]}
        if not deeper:
            break
        depth.update({version: min(column, len(graph.versions) - 1) for version, column in deeper.items()})
    used = sorted(set(depth.values()))
    return [[version for version in graph.versions if depth[version] == column] for column in used]


def _arrow(source: tuple[int, int], target: tuple[int, int], width: int) -> str:
    start, end = (source[0] + width, source[1] + _HEIGHT // 2), (target[0], target[1] + _HEIGHT // 2)
    bend = _GAP // 2
    return (
        f'<path d="M{start[0]} {start[1]}C{start[0] + bend} {start[1]} {end[0] - bend} {end[1]} {end[0]} {end[1]}"'
        ' fill="none" stroke="black" marker-end="url(#head)"/>'
    )


def _box(version: str, place: tuple[int, int], width: int) -> str:
    x, y = place
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{_HEIGHT}" rx="4" fill="white" stroke="black"/>'
        f'<text x="{x + width // 2}" y="{y + 18}" text-anchor="middle">{escape(version)}</text>'
    )


DRAWINGS = {"text": as_text, "mermaid": as_mermaid, "svg": as_svg}
"""How a graph can be drawn."""
