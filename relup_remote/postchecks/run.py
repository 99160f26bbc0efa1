"""Running the checks without pytest's own output: they come back as rows, a check being a step of its host's.

What the environment or the folder says to pytest is for other tests, and must not choose which checks run. The checks
that ran on each host are counted as well.
"""

import os
import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from relup_remote.core.protocol import Failure
from relup_remote.deadline import NEVER, Deadline
from relup_remote.inventory import HostSettings
from relup_remote.postchecks.ahead import Ahead
from relup_remote.postchecks.node import Node
from relup_remote.postchecks.plugin import AHEAD, CHECKS, DEADLINE, HOSTS
from relup_remote.rollout import rows
from relup_remote.rollout.rows import Row
from relup_remote.rollout.run import Watch, ignore

STAGE = "postcheck"
_CHECK = re.compile(r"^def test_(\w+)\(", re.MULTILINE)
_SPEAKS_TO_PYTEST = ("PYTEST_", "PY_COLORS", "PYTHONBREAKPOINT")
"""How the names of variables begin that pytest reads."""


def names() -> list[str]:
    """The names of all checks, in order: read from their file, since what runs them must not be what counts them."""
    return _CHECK.findall(CHECKS.read_text("utf-8"))


def run(
    hosts: Sequence[HostSettings], target: str | None = None, watch: Watch = ignore, deadline: Deadline = NEVER
) -> list[Row]:
    """Check ``hosts``; ``target`` is the version they should be on, by default what each one's marker says.

    ``watch`` gets an event for each check that has ended. A host's row is ``ok`` or ``failed``; one that can't be
    reached fails as that host, and so does one on which not all checks ran, or not before the ``deadline`` of all.
    Raises RuntimeError if pytest itself fails.
    """
    # While the hosts answer pytest gets ready.
    ahead = Ahead(hosts, target, deadline)
    results = _Results(hosts, watch, deadline, ahead)
    arguments = [str(CHECKS), "-c", os.devnull, "--rootdir", str(CHECKS.parent), "-p", "no:terminal"]
    arguments += ["-p", "no:cacheprovider", "-p", "relup_remote.postchecks.plugin", "--assert=plain"]
    # These two go through all objects of the process, which is a rollout's.
    arguments += ["-p", "no:unraisableexception", "-p", "no:threadexception"]
    if target:
        arguments.append(f"--relup-target={target}")
    try:
        with _alone():
            ended = pytest.main(arguments, plugins=[results])
    finally:
        ahead.stop()
    if ended not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED):
        raise RuntimeError(f"pytest could not run the checks: {ended!r}")
    return results.rows()


@contextmanager
def _alone() -> Iterator[None]:
    """An environment without words for pytest, in which it loads no plugins but those it is given."""
    kept = dict(os.environ)
    for name in kept:
        if name.startswith(_SPEAKS_TO_PYTEST):
            del os.environ[name]
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    try:
        yield
    finally:
        for name in os.environ.keys() - kept.keys():
            del os.environ[name]
        os.environ.update(kept)


class _Results:
    """A pytest plugin that says which hosts there are, and keeps what became of each check on each."""

    def __init__(self, hosts: Sequence[HostSettings], watch: Watch, deadline: Deadline, ahead: Ahead) -> None:
        self._hosts = hosts
        self._ahead = ahead
        self._deadline = deadline
        self._watch = watch
        self._steps: dict[str, list[dict[str, Any]]] = {host.name: [] for host in hosts}
        self._lost: dict[str, Failure] = {}
        self._seconds: dict[str, float] = {}

    def pytest_configure(self, config: pytest.Config) -> None:
        config.stash[HOSTS] = self._hosts
        config.stash[DEADLINE] = self._deadline
        config.stash[AHEAD] = self._ahead

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Function, call: "pytest.CallInfo[None]"
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if report.when == "call" or report.failed:
            self._note(item, call, report)
        return report

    def _note(self, item: pytest.Function, call: "pytest.CallInfo[None]", report: pytest.TestReport) -> None:
        settings = item.callspec.params["emqx_node"]
        assert isinstance(settings, HostSettings)
        host = settings.name
        error = call.excinfo.value if call.excinfo else None
        failure = error if _is_too_late(error) else error and error.__cause__
        if isinstance(failure, Failure):
            self._lost.setdefault(host, failure)
            return
        node, seconds = item.funcargs.get("emqx_node"), call.duration
        if isinstance(node, Node):
            # What was asked ahead of the checks was asked side by side, so a host takes less than its checks.
            self._seconds[host] = self._seconds.get(host, node.known.seconds) + seconds
            seconds += node.seconds_ahead()
        step = {
            "step": item.originalname.removeprefix("test_"),
            "status": "ok" if report.passed else "failed",
            "seconds": round(seconds, 4),
            "detail": {} if error is None else {"message": _first_line(error)},
        }
        self._steps[host].append(step)
        self._watch(host, {"event": "step", **step})

    def rows(self) -> list[Row]:
        """A row for each host, in the order given."""
        return [self._row(host) for host in self._hosts]

    def _row(self, host: HostSettings) -> Row:
        steps = self._steps[host.name]
        failed = {step["step"]: step["detail"]["message"] for step in steps if step["status"] == "failed"}
        missing = [name for name in names() if name not in {step["step"] for step in steps}]
        if host.name in self._lost:
            row = rows.of_failure(host.name, self._lost[host.name])
        elif not steps:
            row = rows.of_failure(host.name, Failure("connection_lost", "The checks were interrupted.", stage=STAGE))
        elif missing:
            message = f"{len(steps)} of {len(names())} checks ran; these did not: {', '.join(missing)}."
            row = rows.of_failure(
                host.name, Failure("checks_not_run", message, detail={"missing": missing, **failed}, stage=STAGE)
            )
        elif failed:
            message = "; ".join(f"{check}: {what}" for check, what in failed.items()) + "."
            row = rows.of_failure(host.name, Failure("verify_failed", message, detail=failed, stage=STAGE))
        else:
            row = {**rows.of_failure(host.name, Failure("verify_failed")), "outcome": "ok", "error": None}
        return {**row, "node": host.node, "steps": steps, "seconds": round(self._seconds.get(host.name, 0.0), 3)}


def _is_too_late(error: BaseException | None) -> bool:
    return isinstance(error, Failure) and error.err_type == "deadline_exceeded"


def _first_line(error: BaseException) -> str:
    said = str(error).strip().splitlines()
    return said[0] if isinstance(error, AssertionError) and said else f"{type(error).__name__}: {error}"
