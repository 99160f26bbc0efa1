"""The agent's modules made into one: none of it calls a module that is not there then."""

import re
import subprocess
from pathlib import Path

import pytest

from relup_remote.core import agent


@pytest.mark.parametrize("ending", [agent._LOOKS, agent._HOP])
def test_no_part_is_named_any_more(ending: str) -> None:
    """Not in a call, nor in a fun, nor as an atom."""
    source = agent._source(ending, "the_whole").decode("utf-8")
    code = re.sub(r"%[^\n]*", "", source)
    assert "-module(the_whole)." in code
    assert re.findall(r"\brelup_agent\w*", code) == []


@pytest.mark.parametrize("ending", [agent._LOOKS, agent._HOP])
def test_each_whole_has_all_that_it_calls(ending: str, tmp_path: Path) -> None:
    (tmp_path / "the_whole.erl").write_bytes(agent._source(ending, "the_whole"))
    done = subprocess.run(
        ["erlc", "the_whole.erl"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout
