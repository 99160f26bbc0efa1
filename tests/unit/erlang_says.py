"""What Erlang itself says of files, for the tests to compare ours with."""

import json
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from relup_remote.core.erlang.term import Atom, decode

from .core.vm import Otp

HERE = Path(__file__).parent


def erl(otp: Otp, expression: str, **environment: str) -> str:
    """What an expression prints in a VM of its own. One that does not end well fails the test."""
    command = [otp.erl, "-noinput", "-boot", "no_dot_erlang", "-eval", f"{expression}, halt()."]
    variables = {**os.environ, "ERL_CRASH_DUMP_BYTES": "0", **otp.environment, **environment}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
    return done.stdout


def lib_dir(otp: Otp) -> Path:
    """The folder of its applications."""
    return Path(erl(otp, 'io:format("~ts", [code:lib_dir()])'))


def facts(otp: Otp, script: str, files: Iterable[Path], work: Path) -> dict[Path, Any]:
    """What one of the scripts beside this file makes of each file."""
    asked, out = work / "files", work / "facts"
    # A string is written alike in JSON and in Erlang.
    asked.write_text("".join(f"{json.dumps(str(path), ensure_ascii=False)}.\n" for path in files))
    erl(otp, f'{{ok, ok}} = file:script("{HERE / script}")', FILES=str(asked), OUT=str(out))
    return {Path(path.decode()): found for path, found in decode(out.read_bytes())}


def plain(value: Any) -> Any:
    """A term with its booleans as Python's."""
    return {Atom("true"): True, Atom("false"): False}.get(value, value) if isinstance(value, Atom) else value
