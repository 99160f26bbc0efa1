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
    costs = read_costs()
    assert [file for file in costs if not (REPOSITORY / file).exists()] == [], "`make costs` writes it anew"
    assert set(FILES) >= ALWAYS
    assert max(costs.get(file, NEW) for file in FILES) + sum(costs[file] for file in ALWAYS) <= BUDGET, "no turn"


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
    assert read_costs(table) == {FILES[0]: 5, FILES[1]: 21, "tests/unit/test_points.py": 10}


SUITE = """
import pytest

def test_plain():
    pass

def test_points(points):
    for point in points.named("numbers").taken(range(4)):
        with points.trying(point):
            pass
"""

CASES = """
import pytest

@pytest.mark.share(2)
@pytest.mark.parametrize("case", range(5))
def test_cases(case):
    pass
"""


def test_what_was_not_run_is_told_last() -> None:
    assert scenarios.summary(scenarios.SOME, 13, 41, 1234).splitlines() == [
        "scenarios (files of tests/lab): 13 of 41 tried",
        "28 scenarios and 1,234 points were not run: `make test-more` runs the rest",
    ]
    assert scenarios.summary(scenarios.REST, 28, 41, 5).endswith("\n5 points were not run: `make test-all` runs all")
    assert scenarios.summary(scenarios.ALL, 0, 0, 5) == "5 points were not run: `make test-all` runs all"
    assert scenarios.summary(scenarios.ALL, 0, 0, 0) == ""


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


def split(found: set[str]) -> tuple[set[str], set[str]]:
    """Tests, and the cases of the one that has many."""
    cases = {name for name in found if name.startswith("unit/test_cases.py")}
    return found - cases, cases


def test_some_and_rest_are_all(tmp_path: Path) -> None:
    """With this very conftest.py, scenarios of which only some fit, and cases of which not all are tried."""
    tests = tmp_path / "tests"
    for name in ("__init__.py", "conftest.py", "guard.py", "points.py", "scenarios.py"):
        (tests / name).parent.mkdir(exist_ok=True)
        (tests / name).write_text((REPOSITORY / "tests" / name).read_text())
    (tmp_path / "pyproject.toml").write_text((REPOSITORY / "pyproject.toml").read_text())
    labs = [f"lab/test_{number}.py" for number in range(4)]
    for name in (*labs, "unit/test_it.py"):
        (tests / name).parent.mkdir(exist_ok=True)
        (tests / name).write_text(SUITE)
    (tests / "unit" / "test_cases.py").write_text(CASES)
    (tests / "lab" / "costs.json").write_text(json.dumps({f"tests/{name}": BUDGET / 2 for name in labs}))
    some, said = tried(tmp_path, "some")
    some, cases = split(some)
    of_labs = {name.partition("::")[0] for name in some} - {"unit/test_it.py"}
    assert (len(of_labs), len(cases)) == (2, 2)
    assert some == {
        f"{file}::{test}" for file in (*of_labs, "unit/test_it.py") for test in ("test_plain", "test_points")
    }
    assert said.splitlines()[-2].startswith("2 scenarios and 3 points were not run: `make test-more` runs the rest")
    rest, said = tried(tmp_path, "rest")
    rest, others_of_cases = split(rest)
    assert (len(others_of_cases), len(cases | others_of_cases)) == (3, 5)
    others = set(labs) - of_labs
    assert rest == {f"{file}::test_plain" for file in others} | {
        f"{file}::test_points" for file in (*labs, "unit/test_it.py")
    }
    assert "2 of 4 tried" in said
    assert {name for name in some | rest if "plain" in name} == {
        f"{file}::test_plain" for file in (*labs, "unit/test_it.py")
    }
