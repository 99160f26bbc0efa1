"""What start-up files of a login shell hand on to us: it does not matter, or it is named."""

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

import pytest

from relup_remote.core import files
from relup_remote.core.protocol import Failure
from relup_remote.host import Host
from relup_remote.host.payload import Payload

from .ssh_server import Server

MATTERS_NOT: Mapping[str, str] = {
    "a umask that takes all away": "umask 0777",
    "a umask that takes all but reading away": "umask 0377",
    "a umask that takes nothing away": "umask 0000",
    "few descriptors": "ulimit -n 16",
    "a folder for temporary files that is not there": "export TMPDIR=/nonexistent",
    "settings of Python": "export PYTHONHOME=/nonexistent PYTHONPATH=/nonexistent PYTHONSTARTUP=/nonexistent",
    "a library that is not there": "export LD_PRELOAD=/nonexistent.so",
    "a language that nobody speaks": "export LC_ALL=xx_XX.nonsense LANG=nonsense LANGUAGE=nonsense",
    "no home": "unset HOME",
    "a home that is not there": "export HOME=/nonexistent",
    "an empty home": "export HOME=",
    "no place to look for programs": "export PATH=",
    "a place without programs": "export PATH=/nonexistent",
    "a limit for silence": "export TMOUT=1",
    "signals that are ignored": "trap '' ALRM CHLD HUP TERM",
    "errors that end the shell": "set -eu",
    "errors among the output": "exec 2>&1",
    "no place for errors": "exec 2>&-",
}
NAMED: Mapping[str, tuple[str, str, str]] = {
    "no file may be written": ("ulimit -f 0", "core_failed", "no room for our program"),
    # How far a Python comes depends on how it was built.
    "no memory": ("ulimit -v 9000", "python_missing|core_failed", "stderr"),
    "no output": ("exec >&-", "no_shell", ""),
    "no input": ("exec <&-", "core_failed", ""),
    "the shell ends": ("echo maintenance today >&2; exit 3", "no_shell", "maintenance today"),
}


def with_lines(server: Server, lines: str) -> None:
    """Let a session begin with some lines, as from a start-up file."""
    session = server.host.ssh_dir / "session"
    before = "if [ -n"
    assert before in session.read_text()
    session.write_text(session.read_text().replace(before, f"{lines}\n{before}", 1))


@pytest.mark.share(8)
@pytest.mark.parametrize("name", MATTERS_NOT)
def test_what_does_not_matter(server: Server, core: Payload, name: str) -> None:
    with_lines(server, MATTERS_NOT[name])
    for _ in range(2):
        with Host(server.settings(), core) as host:
            result = host.run({"act": "echo"}, None, lambda _event: None)
        assert result["facts"]["ignored"] == []
    assert not Path("/.cache").exists()
    if "umask" in name:
        found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in server.host.home.rglob("*")}
        [kept] = server.cache.iterdir()
        assert found == {".cache": 0o700, "relup_remote": 0o700, kept.name: 0o600}


@pytest.mark.parametrize("name", NAMED)
def test_what_does_is_named(server: Server, core: Payload, name: str) -> None:
    lines, err_type, says = NAMED[name]
    with_lines(server, lines)
    with Host(server.settings(), core) as host, pytest.raises(Failure) as caught:
        host.run({"act": "echo"}, None, lambda _event: None)
    assert caught.value.stage == "connect"
    assert caught.value.err_type in err_type.split("|"), caught.value.to_json()
    assert re.search(says, str(caught.value.to_json()))


@pytest.mark.parametrize("umask", [0o777, 0o077, 0o000])
def test_folders_have_their_mode_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        files.make_dirs(str(tmp_path / "made"), 0o755)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "made").stat().st_mode) == 0o755
