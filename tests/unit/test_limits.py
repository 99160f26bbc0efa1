"""Nothing waits for ever: deadlines of requests and commands, and a look at the code for waits without a limit."""

import ast
import threading
from pathlib import Path
from typing import Any

import pytest

import relup_remote
from relup_remote.core.protocol import COMMANDS, OPTIONS
from relup_remote.deadline import Deadline
from relup_remote.rollout import run
from relup_remote.rollout.request import limit, request
from relup_remote.rollout.run import Job, Runner
from relup_remote.rollout.stop import Stop

from .fake_host import Fleet, result
from .rollout.plans import order, settings

PACKAGE = Path(relup_remote.__file__).parent
HOSTS = list(settings("n1", "n2").values())


def jobs(command: str) -> list[Job]:
    return [Job(host, request(order(command), host)) for host in HOSTS]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_request_has_a_deadline_that_leaves_time_for_its_own_waits(command: str) -> None:
    options = {name: default for name, (default, _meaning) in OPTIONS.items()}
    assert limit(command, options) > options["hop_timeout"] + 2 * options["boot_timeout"]
    assert limit(command, {**options, "hop_timeout": 5000}) == limit(command, options) + 5000 - options["hop_timeout"]


def test_no_request_has_more_time_than_the_command() -> None:
    fleet = Fleet({(host.name, "status"): result("ok") for host in HOSTS})
    Runner(fleet.connect, deadline=Deadline(100)).at_once(jobs("status"))
    assert all(90 < asked["deadline"] <= 100 for _host, asked, _file in fleet.asked)


def test_a_command_whose_time_is_over_asks_no_host_but_gives_back_what_it_holds() -> None:
    fleet = Fleet({(host.name, command): result("ok") for host in HOSTS for command in ("status", "unlock")})
    runner = Runner(fleet.connect, deadline=Deadline(0))
    rows = runner.at_once(jobs("status"))
    assert [row["error"]["err_type"] for row in rows] == ["deadline_exceeded"] * 2
    assert fleet.asked == []
    assert [row["outcome"] for row in runner.at_once(jobs("unlock"))] == ["ok", "ok"]


def test_a_host_that_nothing_gives_up_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    never = threading.Event()

    class Stuck(Fleet):
        def answer(self, host: str, request: dict[str, Any]) -> dict[str, Any]:
            if host == "n1":
                never.wait(60)
            return result("ok")

    monkeypatch.setattr(run, "GRACE", 0.2)
    monkeypatch.setattr(run, "TURN", 0.05)
    asked = [Job(job.host, {**job.request, "deadline": 0.1}) for job in jobs("status")]
    rows = Runner(Stuck({}).connect).at_once(asked)
    never.set()
    assert (rows[0]["error"]["err_type"], rows[0]["error"]["stage"]) == ("deadline_exceeded", "status")
    assert rows[1]["outcome"] == "ok"


def test_the_deadline_of_a_run_stops_it_as_an_operator_would() -> None:
    stop = Stop(deadline=Deadline(0.05))
    assert not stop
    assert stop.wait(60)
    assert stop
    assert stop.why().err_type == "out_of_time"


# The code

LIMITLESS = {
    # What has a limit by other means, and which.
    "core/archive/stream.py": "the core's deadline interrupts its main thread; the threads it waits for read a file",
    "core/cluster_lock.py": "the core's deadline",
    "core/lock.py": "only asked for without waiting",
    "core/request.py": "the alarm that the launcher sets",
    "host/bootstrap.py": "the alarm that the launcher sets",
    "rollout/ledger.py": "only asked for without waiting",
    "host/transport/openssh.py": "only asked for without waiting",
    "rollout/stop.py": "a daemon that has nothing else to do",
    "commands/asking.py": "a person at a terminal",
    "commands/passwords.py": "no wait: the value of a context variable",
    "summary/text.py": "no wait: the value of a context variable",
    "commands/limits.py": "no wait: the value of a context variable",
    "host/session.py": "no wait: a core's result, for which each line has a deadline",
    "hops/compare/reading.py": "a process of ours that reads a file",
}
WAITS = {"wait": 0, "wait_for": 1, "get": 0, "join": 0, "result": 0, "communicate": 0, "flock": 2, "acquire": 0}
"""Functions that wait for ever with so many arguments and no more."""

LIMITED = {"run", "check_output", "check_call", "create_connection"}
"""Functions that need a ``timeout``, where they are those of subprocess and socket."""


def endless(path: Path) -> list[int]:
    """The lines of a file with a wait that has no limit."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        name, given = node.func.attr, {keyword.arg for keyword in node.keywords}
        owner = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
        is_reading = name == "recv_exit_status" or (name == "readline" and owner in ("stdin", "file"))
        is_waiting = name in WAITS and len(node.args) == WAITS[name] and not given & {"timeout", "blocking", None}
        is_calling = name in LIMITED and owner in ("subprocess", "socket")
        if is_reading or is_waiting or (is_calling and "timeout" not in given and len(node.args) < 2):
            found.append(node.lineno)
    return found


def test_every_wait_in_the_code_has_a_limit() -> None:
    found = {
        str(path.relative_to(PACKAGE)): lines
        for path in PACKAGE.rglob("*.py")
        if (lines := endless(path)) and str(path.relative_to(PACKAGE)) not in LIMITLESS
    }
    assert found == {}


def test_the_look_at_the_code_sees_waits(tmp_path: Path) -> None:
    file = tmp_path / "waits.py"
    file.write_text("thread.join()\nqueue.get()\nevent.wait(3)\nsubprocess.run(x)\nsubprocess.run(x, timeout=3)\n")
    assert endless(file) == [1, 2, 4]
