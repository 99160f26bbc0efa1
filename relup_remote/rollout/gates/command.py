"""The gate that is a command of the operator's own."""

import os
import signal
import subprocess
from contextlib import suppress

from relup_remote.rollout.gates.case import Case, Verdict

TAIL = 2000
"""Characters kept of what the command says."""


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
    """The command ends with 0. It is run by the shell, and for as long as it likes."""
    process = subprocess.Popen(
        ["/bin/sh", "-c", case.plan.gates.command or ""],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, **environment(case)},
        # A Ctrl-C is ours to hear: the command is the step in hand, and ends by itself.
        start_new_session=True,
    )
    try:
        said = process.communicate()[0]
    except BaseException:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        raise
    said = said[-TAIL:].strip()
    last = f": {said.splitlines()[-1]}" if said else ""
    return Verdict(process.returncode == 0, f"exit status {process.returncode}{last}", {"output": said})
