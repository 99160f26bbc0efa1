"""Rollouts on simulated hosts and a virtual clock, by many seeds; and that the simulator finds what is wrong."""

import ast
import inspect
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

import relup_remote
from tests.points import Points
from tests.sim.bugs import BUGS, Bug
from tests.sim.engine import ENGINE, WAITING, Threading, Time
from tests.sim.story import Story, Summary

SEEDS = range(10_000)
SOME = 200
"""Seeds that are enough where not all points are tried."""

PACKAGE = Path(relup_remote.__file__).parent


def test_all_rules_hold_in_every_story(points: Points) -> None:
    points.named("simulated rollouts")
    summary = Summary()
    for seed in islice(points.taken(SEEDS), len(SEEDS) if points.all else SOME):
        told = Story(seed).run()
        summary.add(told)
        points.tally.good += told.broken is None
    points.tally.note = str(summary)
    assert not summary.broken, f"{summary}\nto read a story: python -m tests.sim SEED"


def test_a_story_follows_from_its_seed() -> None:
    def lines(seed: int) -> list[tuple[float, str, str]]:
        told: list[tuple[float, str, str]] = []
        Story(seed, lambda *line: told.append(line)).run()
        return told

    assert lines(5) == lines(5)
    assert lines(5) != lines(6)


@pytest.mark.share(4)
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_a_mistake_in_the_engine_is_found(bug: Bug) -> None:
    with bug():
        broken = next((told.broken for seed in range(SOME) if (told := Story(seed).run()).broken), None)
    assert broken is not None
    assert int(broken.split()[1].rstrip(":")) in BUGS[bug], broken


# The code

CLOCKS = ("time", "threading", "queue", "signal", "select", "selectors", "sched", "asyncio", "subprocess", "concurrent")
"""Modules by which Python code can wait."""

BESIDE = ("gates/command.py",)
"""What waits for a process of the operator's own, which is in no story."""


def waits(path: Path) -> Iterator[str]:
    """The names by which a module waits that the simulator does not replace."""
    tree = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in (alias.asname or alias.name for alias in node.names):
                if name.split(".")[0] in CLOCKS and name not in WAITING:
                    yield name
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in CLOCKS:
            yield from (alias.name for alias in node.names if alias.name not in (*WAITING, "Empty"))
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            means = {"time": Time, "threading": Threading}.get(node.value.id)
            if means and not hasattr(means, node.attr):
                yield f"{node.value.id}.{node.attr}"


def has_clocks(path: Path) -> bool:
    """Whether a module imports anything by which it could wait."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if any(name.split(".")[0] in CLOCKS for name in names):
            return True
    return False


def test_the_engine_waits_by_no_means_that_the_simulator_does_not_replace(tmp_path: Path) -> None:
    replaced = {Path(inspect.getfile(module)) for module in ENGINE}
    engine = [*(PACKAGE / "rollout").rglob("*.py"), PACKAGE / "deadline.py", PACKAGE / "commands" / "rolling.py"]
    others = [path for path in engine if path not in replaced and not str(path).endswith(BESIDE)]
    assert [path.name for path in others if has_clocks(path)] == []
    assert {path.name: list(waits(path)) for path in replaced if list(waits(path))} == {}
    planted = tmp_path / "planted.py"
    planted.write_text("import time\nfrom threading import Event\nimport select\ntime.sleep(1)\nEvent().wait()\n")
    assert has_clocks(planted)
    assert sorted(waits(planted)) == ["Event", "select", "time.sleep"]
