"""The agent's modules made into one: none of it calls a module that is not there then."""

import re

import pytest

from relup_remote.core import agent


@pytest.mark.parametrize("ending", [agent._LOOKS, agent._HOP])
def test_no_part_is_named_any_more(ending: str) -> None:
    """Not in a call, nor in a fun, nor as an atom."""
    source = agent._source(ending, "the_whole").decode("utf-8")
    code = re.sub(r"%[^\n]*", "", source)
    assert "-module(the_whole)." in code
    assert re.findall(r"\brelup_agent\w*", code) == []
