"""The graph of versions: what can be reached, and how it is drawn."""

import xml.etree.ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from relup_remote.hops.drawing import DRAWINGS, as_mermaid, as_svg, as_text
from relup_remote.hops.graph import MAX_CHAINS, Graph, by_version

PAIRS = [("5.9.1", "5.10.0"), ("5.10.0", "5.10.2"), ("5.9.1", "5.10.2"), ("5.10.2", "5.10.10"), ("4.4.0", "4.4.1")]
SOME = st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("abcdef")).filter(lambda pair: pair[0] != pair[1]))


def test_versions_are_in_order_of_their_numbers() -> None:
    assert Graph(PAIRS).versions == ("4.4.0", "4.4.1", "5.9.1", "5.10.0", "5.10.2", "5.10.10")
    assert sorted(["5.10.4-rc.10", "5.10.4-rc.9", "5.9"], key=by_version) == ["5.9", "5.10.4-rc.9", "5.10.4-rc.10"]


def test_chains_come_with_the_shortest_first() -> None:
    graph = Graph(PAIRS)
    assert graph.chains("5.9.1") == [
        ("5.9.1", "5.10.0"),
        ("5.9.1", "5.10.2"),
        ("5.9.1", "5.10.0", "5.10.2"),
        ("5.9.1", "5.10.2", "5.10.10"),
        ("5.9.1", "5.10.0", "5.10.2", "5.10.10"),
    ]
    assert graph.reachable("5.9.1") == {"5.9.1": 0, "5.10.0": 1, "5.10.2": 1, "5.10.10": 2}
    assert graph.chains("5.10.10") == graph.chains("nowhere") == []
    assert graph.part("5.10.0").edges == [("5.10.0", "5.10.2"), ("5.10.2", "5.10.10")]


def test_hops_back_lead_into_no_circle() -> None:
    graph = Graph([("a", "b"), ("b", "a"), ("b", "c")])
    assert graph.chains("a") == [("a", "b"), ("a", "b", "c")]
    assert graph.reachable("b") == {"b": 0, "a": 1, "c": 1}
    assert as_text(graph) == "a\n└─> b\n    ├─> a (see above)\n    └─> c"


def test_chains_are_followed_up_to_a_limit() -> None:
    versions = [f"{number}" for number in range(40)]
    graph = Graph((source, target) for source in versions for target in versions if source != target)
    assert len(graph.chains("0")) == MAX_CHAINS
    assert len(graph.reachable("0")) == 40


def test_a_tree_draws_no_version_twice() -> None:
    assert as_text(Graph(PAIRS)).splitlines() == [
        "4.4.0",
        "└─> 4.4.1",
        "5.9.1",
        "├─> 5.10.0",
        "│   └─> 5.10.2",
        "│       └─> 5.10.10",
        "└─> 5.10.2 (see above)",
    ]


def test_mermaid_names_versions_and_hops() -> None:
    assert as_mermaid(Graph([("1.0", "1.1")])) == 'flowchart LR\n  v0["1.0"]\n  v1["1.1"]\n  v0 --> v1'


def test_svg_has_a_box_for_each_version_and_an_arrow_for_each_hop() -> None:
    picture = ET.fromstring(as_svg(Graph([*PAIRS, ("<&>", "5.9.1")])))
    space = "{http://www.w3.org/2000/svg}"
    boxes = {
        text.text: box for text, box in zip(picture.iter(f"{space}text"), picture.iter(f"{space}rect"), strict=True)
    }
    assert len(boxes) == 7
    assert "<&>" in boxes
    assert len(picture.findall(f"{space}path")) == 6
    assert (
        float(boxes["5.9.1"].get("x", "")) < float(boxes["5.10.0"].get("x", "")) < float(boxes["5.10.2"].get("x", ""))
    )
    places = {(box.get("x"), box.get("y")) for box in boxes.values()}
    assert len(places) == 7


@given(SOME)
def test_every_graph_can_be_drawn(pairs: list[tuple[str, str]]) -> None:
    graph = Graph(pairs)
    for draw in DRAWINGS.values():
        assert all(version in draw(graph) for version in graph.versions)
    for version in graph.versions:
        assert {chain[-1] for chain in graph.chains(version)} == set(graph.reachable(version)) - {version}
    ET.fromstring(as_svg(graph))
