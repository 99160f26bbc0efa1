"""The README's commands, pasted one by one where there is a cluster."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from lab.cluster import Lab
from lab.layout import PROJECT
from tests.lab.cluster import PATIENCE
from tests.readme import commands

STATUSES = {"restore": {3}, "hop.draft": {0, 1}, "hop.check": {0, 1}}
"""What else than 0 commands end with: n1 is not stopped; the check of a hop may find something."""


@pytest.fixture
def desk(lab: Lab, tmp_path: Path) -> Path:
    """The folder in which an operator sits, with what the README names."""
    for name, version in (("emqx-5.10.5", "5.10.5-lab"), ("A", "5.10.4-lab"), ("B", "5.10.5-lab")):
        for suffix in (".tar.gz", ".tar.gz.sha256"):
            (tmp_path / f"{name}{suffix}").symlink_to(str(lab.tarball(version)).removesuffix(".tar.gz") + suffix)
    (tmp_path / "hops").mkdir()
    (tmp_path / "tasks.py").symlink_to(PROJECT / "tasks.py")
    return tmp_path


def test_the_commands_work_as_they_are_pasted(lab: Lab, desk: Path) -> None:
    environment = {
        **os.environ,
        "PATH": f"{PROJECT / '.venv' / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(PROJECT),
        "RELUP_INVENTORY": str(lab.inventory_path),
        "XDG_STATE_HOME": str(desk / "state"),
    }
    for typed in commands("Using it"):
        command = shlex.split(typed)[1]
        # The line with an ellipsis is another way to do what is done by then; a run that is done can't be resumed.
        if "…" in typed or "--resume" in typed:
            continue
        asks = command in ("upgrade", "rollback") and "--check" not in typed
        ended = subprocess.run(
            f"{typed} --yes" if asks else typed,
            shell=True,
            cwd=desk,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert ended.returncode in STATUSES.get(command, {0}), f"{typed}: {ended.stdout}{ended.stderr}"
        assert "Traceback" not in ended.stderr
    assert list(desk.glob("relup-*.html"))
