"""What all tests share: where they write, which points they try, and that nothing they start outlives them."""

import gc
import os
import random
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from tabulate import tabulate

from tests import guard, scenarios
from tests.points import ALL, EXAMPLES, FEW_EXAMPLES, SLICE, Points, Tally, as_property, from_properties, seed_of_commit

MARK = "RELUP_TESTS"
"""An environment variable that tells the processes of one run of the tests from all others."""

STARTED = pytest.StashKey[float]()
GUARD = pytest.StashKey["subprocess.Popen[bytes]"]()
TALLIES = pytest.StashKey["Tallies"]()
MEASURED = pytest.StashKey["scenarios.Measured"]()
COMMIT = pytest.StashKey[int]()
TRIED = pytest.StashKey[tuple[int, int, int]]()
"""How many scenarios are tried, how many there are, and how many cases of marked tests are left out."""

hypothesis.settings.register_profile("all", max_examples=EXAMPLES, deadline=None)
hypothesis.settings.register_profile("slice", max_examples=FEW_EXAMPLES, deadline=None)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the tests."""
    group = parser.getgroup("points", "points (tests/points.py)")
    group.addoption(
        "--points",
        default=str(SLICE),
        metavar="SECONDS",
        help=f"how long each test begins new points, or '{ALL}' (default: {SLICE:.0f})",
    )
    group.addoption(
        "--points-until",
        type=float,
        metavar="SECONDS",
        help="begin no point at all so long after the start of the tests",
    )
    group.addoption("--seed", type=int, metavar="NUMBER", help="the seed of the points (default: from the commit)")
    group = parser.getgroup("scenarios", "scenarios (tests/scenarios.py)")
    group.addoption(
        "--scenarios",
        default=scenarios.ALL,
        choices=(scenarios.SOME, scenarios.REST, scenarios.ALL),
        help="which tests of the lab are tried: 'some' by the commit, or the 'rest' of these with no other tests but"
        " those of points (default: all)",
    )
    group.addoption("--write-costs", action="store_true", help="write what scenarios cost into the table")


def pytest_configure(config: pytest.Config) -> None:
    """Settle the seed, once for all workers, and what tests hand on to what they start."""
    # Who runs tests in the background may have Ctrl-C ignored, and what they start would inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Programs start several times faster where Python may keep what it has compiled.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    config.stash[TALLIES] = Tallies()
    config.pluginmanager.register(config.stash[TALLIES])
    given = getattr(config, "workerinput", {})
    config.stash[STARTED] = given.get("started", time.monotonic())
    config.stash[COMMIT] = given["commit"] if given else seed_of_commit(Path(__file__).parent)
    if config.option.seed is None:
        config.option.seed = given.get("seed", config.stash[COMMIT])
    if config.option.write_costs and not given:
        config.stash[MEASURED] = scenarios.Measured()
        config.pluginmanager.register(config.stash[MEASURED])
    hypothesis.settings.load_profile("all" if config.option.points == ALL else "slice")


def pytest_report_header(config: pytest.Config) -> str:
    """Say which points are tried."""
    points = config.option.points
    how = "all" if points == ALL else f"new ones for {float(points):g} s in each test"
    return f"points: {how}, seed {config.option.seed}"


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Look for no garbage meanwhile, nor later among all that is found: it stays to the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Iterator[None]:
    """Say which tests stay together in one worker: those that share a lab, else those of a file."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(shared_by(item)))
        if "points" in getattr(item, "fixturenames", ()):
            item.add_marker("points")
    costs = scenarios.read_costs()
    tried, there_are = choose(config, items, costs)
    left = leave_out(config, items) if config.option.points != ALL else 0
    config.stash[TRIED] = (tried, there_are, left)
    put_dear_first(items, costs)
    if config.option.scenarios == scenarios.REST:
        put_points_last(config, items)
    yield
    if config.getoption("loadgroup", default=False):
        for item in items:
            keep_group(item)


def leave_out(config: pytest.Config, items: list[pytest.Item]) -> int:
    """Of the tests that are marked `share`, keep so many cases of each, which ones by the seed; how many are left out.

    Where the rest is tried, those without a lab keep the others: what is left out of the first run of this commit.
    """
    cases: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("share"):
            cases.setdefault(item.nodeid.partition("[")[0], []).append(item)
    left: set[str] = set()
    for name, found in cases.items():
        marker = found[0].get_closest_marker("share")
        count = min(marker.args[0], len(found)) if marker else len(found)
        is_rest = config.option.scenarios == scenarios.REST and not is_scenario(found[0])
        seed = config.stash[COMMIT] if is_rest else config.option.seed
        some = {item.nodeid for item in random.Random(f"{seed} {name}").sample(found, count)}
        left |= some if is_rest else {item.nodeid for item in found} - some
    keep(config, items, lambda item: item.nodeid not in left)
    return len(left)


def keep(config: pytest.Config, items: list[pytest.Item], is_kept: Callable[[pytest.Item], bool]) -> None:
    """Leave out all other tests, and say so."""
    left = [item for item in items if not is_kept(item)]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if is_kept(item)]


def is_scenario(item: pytest.Item) -> bool:
    """Whether a test needs a lab."""
    return item.path.is_relative_to(scenarios.LAB)


def choose(config: pytest.Config, items: list[pytest.Item], costs: Mapping[str, float]) -> tuple[int, int]:
    """Keep the scenarios that are asked for; how many these are, and how many there are.

    Where it is the rest of them, all else was tried but for points, and cases that were left out.
    """
    mode = config.option.scenarios
    files = {file_of(item) for item in items if is_scenario(item)}
    wanted = files
    if mode != scenarios.ALL:
        some = scenarios.chosen(files, costs, config.stash[COMMIT])
        wanted = some if mode == scenarios.SOME else files - some
        keep(config, items, lambda item: file_of(item) in wanted or is_tried_anyway(item, mode))
    return len(wanted), len(files)


def is_tried_anyway(item: pytest.Item, mode: str) -> bool:
    """Whether a test is tried, whatever scenarios are wanted."""
    if mode == scenarios.SOME:
        return not is_scenario(item)
    has_others = item.get_closest_marker("share") is not None and not is_scenario(item)
    return has_others or item.get_closest_marker("points") is not None


def file_of(item: pytest.Item) -> str:
    """The file of a test, as the table of costs names it."""
    return item.nodeid.partition("::")[0]


def group_of(item: pytest.Item) -> str:
    """The name under which tests stay together."""
    marker = item.get_closest_marker("xdist_group")
    return str(marker.args[0]) if marker else ""


def put_dear_first(items: list[pytest.Item], costs: Mapping[str, float]) -> None:
    """Workers take groups in this order. What takes long comes first, so that no worker is left with it in the end."""
    files = {(group_of(item), file_of(item)): scenarios.NEW if is_scenario(item) else 0 for item in items}
    dear: Counter[str] = Counter()
    for (group, file), unknown in files.items():
        dear[group] += round(costs.get(file, unknown))
    items.sort(key=lambda item: (-dear[group_of(item)], group_of(item)))


def put_points_last(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Points fill the time that is left: so their tests come last, in an order by the seed, and hold up no others."""
    with_points = [item for item in items if item.get_closest_marker("points")]
    groups = sorted({group_of(item) for item in with_points})
    random.Random(config.option.seed).shuffle(groups)
    with_points.sort(key=lambda item: groups.index(group_of(item)))
    for item in with_points:
        group = f"{group_of(item)}, points"
        item.own_markers[:] = [mark for mark in item.own_markers if mark.name != "xdist_group"]
        item.add_marker(pytest.mark.xdist_group(group), append=False)
    last = set(with_points)
    items[:] = [item for item in items if item not in last] + with_points


def keep_group(item: Any) -> None:
    """See to it that a worker's item tells its group, by which pytest-xdist hands out tests, at the end of its id.

    pytest-xdist 3.8 writes the id to where pytest 9.2 does not read it any more. Raises `pytest.UsageError` where the
    group is not told after all: tests that share a lab would run in several workers.
    """
    told = getattr(item, "_nodeid", item.nodeid)
    if told != item.nodeid:
        item._id = type(item.id).parse(told)
    if "@" not in item.nodeid.rpartition("]")[2]:
        raise pytest.UsageError(f"pytest-xdist can't group tests with pytest {pytest.__version__}: {item.nodeid}")


LABS = ("six", "lab", "machines")
"""Fixtures of whole packages, which take long to make. The session's lab is made in each worker that needs it."""


def shared_by(item: pytest.Item) -> str:
    """The package that shares a lab with a test, else the test's file."""
    made = item._fixtureinfo.name2fixturedefs  # type: ignore[attr-defined]
    labs: list[pytest.FixtureDef[Any]] = [made[name][-1] for name in LABS if name in made]
    return next((lab.baseid for lab in labs if lab.scope == "package"), item.nodeid.split("::")[0])


# Nothing outlives the tests


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Start the guard, which is there even if this process is killed."""
    if hasattr(session.config, "workerinput"):
        return
    os.environ[MARK] = secrets.token_hex(8)
    folder = session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
    session.config.stash[GUARD] = subprocess.Popen(
        [sys.executable, "-I", guard.__file__, f"{MARK}={os.environ[MARK]}", f"{folder}/"],
        stdin=subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if name != MARK},
        # Ctrl-C is not meant for it.
        start_new_session=True,
    )


def pytest_unconfigure(config: pytest.Config) -> None:
    """Let the guard clean up, and wait for that."""
    watching = config.stash.get(GUARD, None)
    if watching is not None:
        watching.communicate(timeout=60)


@pytest.fixture(scope="session", autouse=True)
def _state_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing is written where the files of the person are who runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for what in ("STATE", "CACHE"):
            patch.setitem(os.environ, f"XDG_{what}_HOME", str(tmp_path_factory.mktemp(what.lower())))
        # The agent is compiled by the first test that needs it.
        home = tmp_path_factory.mktemp("home")
        (home / ".cache" / "relup_remote").mkdir(parents=True, mode=0o700)
        patch.setitem(os.environ, "HOME", str(home))
        yield


# Points


@pytest.fixture
def points(request: pytest.FixtureRequest) -> Iterator[Points]:
    """The points of a test: which to try, and how they are counted."""
    options = request.config.option
    seconds = None if options.points == ALL else float(options.points)
    until = None if options.points_until is None else request.config.stash[STARTED] + options.points_until
    made = Points(options.seed, seconds, until).named(request.node.nodeid)
    yield made
    request.node.user_properties.append(as_property(made.tally))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Hand on to a worker what all have in common."""
    node.workerinput["seed"] = node.config.option.seed
    node.workerinput["commit"] = node.config.stash[COMMIT]
    node.workerinput["started"] = node.config.stash[STARTED]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand on from a worker how much of all is tried, and keep what scenarios cost."""
    config = session.config
    if hasattr(config, "workeroutput"):
        config.workeroutput["scenarios"] = config.stash.get(TRIED, None)
    elif MEASURED in config.stash:
        config.stash[MEASURED].write()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """All workers say the same."""
    told = getattr(node, "workeroutput", {}).get("scenarios")
    if told:
        node.config.stash[TRIED] = tuple(told)


class Tallies:
    """Adds up what the reports of all workers say of points."""

    def __init__(self) -> None:
        self.by_name: dict[str, Tally] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Reports of the last phase of a test have all of its properties."""
        if report.when == "teardown":
            for tally in from_properties(report.user_properties):
                self.by_name.setdefault(tally.name, Tally(tally.name)).add(tally)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The table of all points, and how many scenarios were tried."""
    # A test may ask whether all points are tried, and have none by itself.
    tallies = [tally for tally in config.stash[TALLIES].by_name.values() if tally.of or tally.done]
    if tallies:
        rows = [(tally.name, tally.of, tally.done, tally.good, f"{tally.seconds:.0f}") for tally in tallies]
        terminalreporter.section(f"points, seed {config.option.seed}")
        terminalreporter.write_line(tabulate(rows, headers=["", "there are", "tried", "as they should be", "seconds"]))
        for tally in tallies:
            if tally.note:
                terminalreporter.write_line(f"\n{tally.name}: {tally.note}")
    tried, there_are, left = config.stash.get(TRIED, (0, 0, 0))
    points = left + sum(tally.of - tally.done for tally in tallies)
    told = scenarios.summary(config.option.scenarios, tried, there_are, points)
    if told:
        terminalreporter.write_line(f"\n{told}")
