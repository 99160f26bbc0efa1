"""Whether somebody is starting a node: by command lines, and by real processes."""

import os
import subprocess
from pathlib import Path

import pytest

from relup_remote.core import booting
from relup_remote.core.backup import state
from relup_remote.core.protocol import Failure

from .backups import Node
from .vm import eventually

LINES = {
    "the wrapper": (["bash", "{base}/bin/emqx", "start"], True),
    "as a service": (["/bin/sh", "{base}/bin/emqx", "foreground"], True),
    "from its folder": (["bash", "bin/emqx", "console"], True),
    "of a deployed tree": (["bash", "{base}/relup/5.10.5/bin/emqx", "start"], True),
    "the program that becomes the VM": (["{base}/erts-13/bin/erlexec", "-boot", "{base}/releases/5.10.4/start"], True),
    "the VM of a deployed tree": (["emqx", "--", "-boot", "{base}/relup/5/releases/5/start"], True),
    "by a link of another name": (["sh", "{base}/../mqtt", "start"], True),
    "by Elixir": (["sh", "{base}/releases/5/elixir", "--boot", "{base}/releases/5/start"], True),
    "another file of the root": (["tail", "{base}/log/emqx.log", "start"], False),
    "what asks a node": (["bash", "{base}/bin/emqx", "ctl", "status"], False),
    "what stops it": (["bash", "{base}/bin/emqx", "stop"], False),
    "a program of the release": (["beam.smp", "-boot", "no_dot_erlang", "-extra", "{base}/bin/nodetool"], False),
    "another root": (["bash", "/opt/other/bin/emqx", "start"], False),
    "another thing of that name": (["systemctl", "emqx", "start"], False),
    "a word at the end": (["bash", "{base}/bin/emqx"], False),
}


@pytest.mark.parametrize("kind", LINES)
def test_which_command_lines_start_a_node(tmp_path: Path, kind: str) -> None:
    base = tmp_path / "emqx"
    words, starts = LINES[kind]
    (base / "bin").mkdir(parents=True)
    (tmp_path / "mqtt").symlink_to(base / "bin" / "emqx")
    (tmp_path / "4711").mkdir()
    (tmp_path / "4711" / "cwd").symlink_to(base if kind == "from its folder" else "/")
    line = [word.format(base=base) for word in words]
    assert booting.boots(line, str(tmp_path / "4711"), str(base), str(base / "bin" / "emqx")) is starts


def test_a_node_that_is_being_started_is_seen(node: Node) -> None:
    wrapper = node.root / "bin" / "emqx"
    wrapper.parent.mkdir()
    wrapper.write_text("#!/bin/bash\nread -r\n")
    wrapper.chmod(0o755)
    context = node.context("restore")
    state.require_stopped(context)
    with subprocess.Popen([str(wrapper), "start"], stdin=subprocess.PIPE) as process:
        base = str(node.root)
        assert eventually(lambda: booting.starting(base, str(wrapper)) == [process.pid])
        node_refusals = []
        with pytest.raises(Failure) as caught:
            state.require_stopped(context)
        node_refusals.append(caught.value.err_type)
        assert node_refusals == ["node_starting"]
        assert node.refused("backup") == ["node_starting"]
        assert process.stdin is not None
        process.stdin.close()
    state.require_stopped(context)
    assert os.getpid() not in booting.starting(base, str(wrapper))
