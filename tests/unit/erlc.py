"""Erlang's compiler, started once in each process of tests: a start of it takes as long as ten modules."""

import contextlib
import json
import subprocess
from collections.abc import Iterable
from functools import cache
from pathlib import Path

# Reads lists of files, compiles each into its own folder, and answers with a line: what was wrong.
_SERVER = """
Each = fun(File) -> compile:file(File, [return, {outdir, filename:dirname(File)}]) end,
Serve = fun Again() ->
    case io:read('') of
        {ok, Files} ->
            io:format("~0p~n", [[Error || File <- Files, {error, Error, _} <- [Each(File)]]]),
            Again();
        eof ->
            halt()
    end
end,
Serve().
"""


def compile_all(sources: Iterable[Path]) -> None:
    """Compile modules, each into the folder in which its source lies. One that is wrong fails the test."""
    server = _server()
    assert server.stdin
    assert server.stdout
    server.stdin.write(f"{json.dumps([str(path) for path in sources])}.\n")
    server.stdin.flush()
    assert (said := server.stdout.readline()) == "[]\n", said


@cache
def _server() -> "subprocess.Popen[str]":
    """The VM, which `end` ends."""
    command = ["erl", "-noshell", "-eval", " ".join(_SERVER.split())]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    _ending.enter_context(process)
    return process


_ending = contextlib.ExitStack()


def end() -> None:
    """End the compiler, if it was started."""
    _server.cache_clear()
    _ending.close()
