"""A program of ours, run in this process as `python -m` would run it in one of its own: that takes no second to start.

What needs a process has one of its own: signals, terminals, readers that go away, encodings of the output.
"""

import contextlib
import io
import os
import runpy
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from subprocess import CompletedProcess
from typing import TextIO
from unittest import mock

PROJECT = Path(__file__).parents[2]

RELUP, INV = "relup_remote", "invoke"
"""The modules that are `relup` and `inv`."""


def run(
    module: str, *words: str, cwd: Path = PROJECT, variables: Mapping[str, str] | None = None
) -> "CompletedProcess[str]":
    """Run a module with ``words``, in the folder ``cwd``, with ``variables`` as all of its environment.

    By default the environment is that of the tests. It has no terminal, and nothing to read. Raises whatever it lets
    pass, which would be a traceback in a process.
    """
    # Invoke has one program for all of a process, and `tasks.py` changes it.
    sys.modules.pop("invoke.main", None)
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        with _as_process(words, cwd, os.environ if variables is None else variables, out, err):
            status = _status_of(module)
        return CompletedProcess([module, *words], status, _written(out), _written(err))


def _status_of(module: str) -> int:
    """The exit status of a module that is run; what it says as it exits goes to stderr, as in a process."""
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        if ended.code is None or isinstance(ended.code, int):
            return ended.code or 0
        print(ended.code, file=sys.stderr)
        return 1
    return 0


@contextlib.contextmanager
def _as_process(
    words: Sequence[str], cwd: Path, variables: Mapping[str, str], out: TextIO, err: TextIO
) -> Iterator[None]:
    with (
        Path(os.devnull).open() as nothing,
        contextlib.chdir(cwd),
        mock.patch.dict(os.environ, dict(variables), clear=True),
        mock.patch.object(sys, "argv", ["", *words]),
        mock.patch.object(sys, "path", [str(cwd), *sys.path]),
        mock.patch.object(sys, "stdin", nothing),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        yield


def _written(stream: TextIO) -> str:
    stream.flush()
    stream.seek(0, io.SEEK_SET)
    return stream.read()
