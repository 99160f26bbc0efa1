"""The two ways into a node give the same."""

from pathlib import Path

import pytest

from lab.cluster import Lab
from relup_remote.core import running_node
from relup_remote.core.agent import Agent
from relup_remote.core.erlang.link import CallFailed, WrapperLink, connect
from relup_remote.core.erlang.term import Atom
from relup_remote.core.release import beams_in
from tests.lab.cluster import NOTHING, foreign

CALLS: list[tuple[str, str, list[object]]] = [
    ("emqx_release", "version", []),
    ("lists", "seq", [1, 30_000]),
    ("maps", "from_list", [[(Atom("a"), b"binary"), (b"b", 1.5), ((1, 2), 'text with "quotes" and \u20ac')]]),
    ("binary", "copy", [b"x", 200_000]),
]


def test_same_values_and_errors(lab: Lab) -> None:
    node = running_node.find(str(lab.root("n3")), None)
    assert node is not None
    direct, wrapper = connect(node.peer), WrapperLink(node.peer.wrapper)
    try:
        assert direct.kind == "distribution"
        for module, function, args in CALLS:
            assert wrapper.call(module, function, args) == direct.call(module, function, args)
        for link in (direct, wrapper):
            with pytest.raises(CallFailed):
                link.call("erlang", "no_such_function", [])
            assert link.attempt("erlang", "no_such_function", [], default="none") == "none"
    finally:
        direct.close()


def test_agent_comes_and_goes_by_the_wrapper_too(lab: Lab, tmp_path: Path) -> None:
    node = running_node.find(str(lab.root("n3")), None)
    assert node is not None
    agent = Agent(WrapperLink(node.peer.wrapper), str(tmp_path))
    try:
        assert agent.verify(None, [], timeout=30)["suspended_count"] == 0
        # As many as a node of EMQX has, more than fit into an argument of a command.
        beams = 5 * beams_in(str(lab.root("n3")))
        found = agent.verify(beams, [], timeout=60)
        assert (len(beams) > 3000, found["left_count"], found["unloaded_count"]) == (True, 0, 0)
    finally:
        agent.unload()
    assert foreign(lab, "n3") == NOTHING
