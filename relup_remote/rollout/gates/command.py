"""The gate that is a command of the operator's own."""

import os
import signal
import subprocess
import tempfile
from contextlib import suppress
from typing import IO

from relup_remote.rollout.gates.case import Case, Verdict
from relup_remote.secrets import Shell

TAIL = 2000
"""Bytes kept of what the command says."""

ENDING = 5.0
"""Seconds that a command has to end when it is asked to."""


def environment(case: Case) -> dict[str, str]:
    """What the command is told of the run, besides the environment of this process."""
    nodes = [case.plan.member(host.name).node or "" for host in case.hosts]
    return {
        "RELUP_RUN": case.plan.run,
        "RELUP_COMMAND": case.plan.command,
        "RELUP_TARGET": case.plan.target or "",
        "RELUP_WAVE": str(case.wave),
        "RELUP_WAVES": str(len(case.plan.waves)),
        "RELUP_HOSTS": " ".join(host.name for host in case.hosts),
        "RELUP_NODES": " ".join(nodes),
    }


def command(case: Case) -> Verdict:
    """The command ends with 0, in time. It is run by the shell.

    What it says goes to a file without a name: a child that it leaves behind may hold its output open for ever.
    """
    limit, line = case.plan.gates.command_timeout, case.plan.gates.command or Shell("")
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            ["/bin/sh", "-c", line.text],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment(case)},
            # A Ctrl-C is ours to hear: the command is the step in hand, and ends by itself.
            start_new_session=True,
        )
        is_done = True
        try:
            ended = f"exit status {process.wait(limit)}"
        except subprocess.TimeoutExpired:
            _end(process)
            # Who is asked to end may do so with any status.
            is_done = False
            ended = f"not done within {limit} s, so it was ended"
        except BaseException:
            _end(process)
            raise
        said = line.hidden_in(_last(output))
    last = f": {said.splitlines()[-1]}" if said else ""
    return Verdict(is_done and process.returncode == 0, f"{ended}{last}", {"output": said})


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End the command and what it has started: first by asking, then at once."""
    for number, patience in ((signal.SIGTERM, ENDING), (signal.SIGKILL, ENDING)):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience)
            return


def _last(output: IO[bytes]) -> str:
    """The end of what it said."""
    size = output.seek(0, os.SEEK_END)
    output.seek(max(size - TAIL, 0))
    return output.read(TAIL).decode("utf-8", errors="replace").strip()
