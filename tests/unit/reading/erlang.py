"""A VM that says what it makes of files."""

import os
import struct
import subprocess
from pathlib import Path
from typing import Any

from relup_remote.core.erlang.term import decode

from ..core.vm import Otp
from ..erlang_says import erl

ANSWERS = Path(__file__).with_name("answers.script")


class Erlang:
    """One that answers until it is closed. ``folder`` is for its file; ``otp`` is its major version of Erlang/OTP."""

    def __init__(self, otp: Otp, folder: Path) -> None:
        self.otp = int(erl(otp, 'io:format("~ts", [erlang:system_info(otp_release)])'))
        variables = {**os.environ, **otp.environment, "ERL_CRASH_DUMP_BYTES": "0", "FILE": str(folder / "file")}
        start = f'{{error, Error}} = file:script("{ANSWERS}"), io:format(standard_error, "~p~n", [Error]), halt(1).'
        self._process = subprocess.Popen(
            [otp.erl, "-noinput", "-boot", "no_dot_erlang", "-eval", start],
            env=variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def says(self, content: bytes) -> tuple[Any, Any]:
        """What `file:script` and `file:consult` make of a file with this content; see `answers.script`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(struct.pack(">I", len(content)) + content)
        self._process.stdin.flush()
        (size,) = struct.unpack(">I", self._process.stdout.read(4))
        script, consult = decode(self._process.stdout.read(size))
        return script, consult

    def close(self) -> None:
        """End it, and await its end."""
        self._process.communicate(timeout=120)
