"""The table of what we call in a VM names every call that the code makes, and no other."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import relup_remote.core
from relup_remote.calls import CALLS

CORE = Path(relup_remote.core.__file__).parent

DATA = {"lists", "maps", "io_lib", "unicode", "string", "proplists", "filename", "erl_anno", "binary", "ordsets"}
"""Modules whose functions only compute."""

NAMED_ELSEWHERE = {"mria_rlog:role", "mria_config:whoami", "erl_eval:exprs"}
"""Calls of the core that are not written out where they are made."""


def table(by: str) -> set[str]:
    return {name for calls in CALLS if calls.by == by for name in calls.names.split()}


def python_calls() -> Iterator[str]:
    """What the core's modules call by a link, as far as it is written out."""
    for path in CORE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and len(node.args) > 1:
                names = [each.value for each in node.args[:2] if isinstance(each, ast.Constant)]
                if node.func.attr in ("call", "attempt") and len(names) == 2:
                    yield ":".join(map(str, names))


def erlang_calls(path: Path) -> set[str]:
    """The functions of other modules that an Erlang source calls."""
    text = re.sub(r"%[^\n]*|\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|\$(?:\\.|.)", "0", path.read_text("utf-8"))
    found = re.findall(r"\b([a-z]\w*)\s*:\s*([a-z]\w*)\(", text)
    return {f"{module}:{name}" for module, name in found if module not in DATA and not module.startswith("relup_agent")}


def test_calls_of_the_core() -> None:
    assert table("command") == set(python_calls()) | NAMED_ELSEWHERE


@pytest.mark.parametrize("path", sorted((CORE / "agent").glob("*.erl")), ids=lambda path: path.stem)
def test_calls_of_the_agent(path: Path) -> None:
    part = path.stem.removeprefix("relup_").removeprefix("agent_")
    assert table(part) == erlang_calls(path)
