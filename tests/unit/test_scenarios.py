"""Which scenarios a run of the tests tries: some, the rest, and together all of them."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import scenarios
from tests.scenarios import ALWAYS, BUDGET, NEW, chosen, read_costs

REPOSITORY = Path(__file__).parents[2]
FILES = sorted(str(path.relative_to(REPOSITORY)) for path in scenarios.LAB.rglob("test_*.py"))


def test_some_are_within_the_budget_and_differ_by_the_seed() -> None:
    costs = read_costs()
    found = [chosen(FILES, costs, seed) for seed in range(200)]
    assert all(some >= ALWAYS for some in found)
    assert all(sum(costs.get(file, NEW) for file in some) <= BUDGET for some in found)
    assert len({frozenset(some) for some in found}) > 150
    assert set().union(*found) == set(FILES), "each has its turn"


def test_the_order_in_which_they_are_found_is_nothing_to_the_choice() -> None:
    assert chosen(FILES, read_costs(), 7) == chosen(reversed(FILES), read_costs(), 7)


def test_what_costs_more_than_there_is_is_passed_over() -> None:
    files = {"a", "b", "c"}
    assert chosen(files, {"a": 100, "b": 10, "c": 11}, 1, budget=20) in ({"b"}, {"c"})
    assert chosen(files, {"a": 100, "b": 10}, 1, budget=NEW + 10) == {"b", "c"}


def test_the_table_names_files_that_there_are() -> None:
    assert set(read_costs()) <= set(FILES), "`make costs` writes it anew"
    assert set(FILES) >= ALWAYS
    assert max(read_costs().values()) + sum(read_costs()[file] for file in ALWAYS) <= BUDGET, "one that has no turn"


def report(nodeid: str, seconds: float) -> pytest.TestReport:
    return pytest.TestReport(nodeid, ("", 0, ""), {}, "passed", None, "call", duration=seconds)


def test_costs_are_measured_beside_what_was_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    table = tmp_path / "costs.json"
    table.write_text(json.dumps({FILES[0]: 5, FILES[1]: 6, "tests/lab/test_gone.py": 7}))
    measured = scenarios.Measured()
    for nodeid in (f"{FILES[1]}::test_a@x", f"{FILES[1]}::test_b[1]@x", "tests/unit/test_points.py::test_a@x"):
        measured.pytest_runtest_logreport(report(nodeid, 10.4))
    measured.write(table)
    assert read_costs(table) == {FILES[0]: 5, FILES[1]: 21}


SUITE = """
import pytest

def test_plain():
    pass

def test_points(points):
    for point in points.named("numbers").taken(range(4)):
        with points.trying(point):
            pass
"""


def tried(folder: Path, mode: str) -> tuple[set[str], str]:
    """What a run of a small suite of its own tries, by two workers, and its last words."""
    command = [sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadgroup", "--no-loadscope-reorder", "-v"]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", f"--scenarios={mode}", "tests"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        env={**os.environ, "PYTHONPATH": str(folder), "PYTEST_ADDOPTS": ""},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return set(re.findall(r"PASSED tests/([^@\s]+)@", done.stdout)), done.stdout


def test_some_and_rest_are_all(tmp_path: Path) -> None:
    """With this very conftest.py, and scenarios of which only some fit."""
    tests = tmp_path / "tests"
    for name in ("__init__.py", "conftest.py", "guard.py", "points.py", "scenarios.py"):
        (tests / name).parent.mkdir(exist_ok=True)
        (tests / name).write_text((REPOSITORY / "tests" / name).read_text())
    (tmp_path / "pyproject.toml").write_text((REPOSITORY / "pyproject.toml").read_text())
    labs = [f"lab/test_{number}.py" for number in range(4)]
    for name in (*labs, "unit/test_it.py"):
        (tests / name).parent.mkdir(exist_ok=True)
        (tests / name).write_text(SUITE)
    (tests / "lab" / "costs.json").write_text(json.dumps({f"tests/{name}": BUDGET / 2 for name in labs}))
    some, said = tried(tmp_path, "some")
    of_labs = {name.partition("::")[0] for name in some} - {"unit/test_it.py"}
    assert len(of_labs) == 2
    assert some == {
        f"{file}::{test}" for file in (*of_labs, "unit/test_it.py") for test in ("test_plain", "test_points")
    }
    assert "2 of 4 tried; `make test-more` tries the other 2" in said
    rest, said = tried(tmp_path, "rest")
    others = set(labs) - of_labs
    assert rest == {f"{file}::test_plain" for file in others} | {
        f"{file}::test_points" for file in (*labs, "unit/test_it.py")
    }
    assert "2 of 4 tried; `make test` tries the other 2" in said
    assert {name for name in some | rest if "plain" in name} == {
        f"{file}::test_plain" for file in (*labs, "unit/test_it.py")
    }
