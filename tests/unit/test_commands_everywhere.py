"""Every command, whatever its standard streams are: it says what it has to say, and ends with the right status."""

import io
import json
import os
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from relup_remote import cli
from relup_remote.commands import by_name

NAMES = tuple(by_name())
INVENTORY = "hosts: {n1: {address: 127.0.0.1, port: 1, connect_timeout: 1}}"

WAYS = {"latin-1": ("latin-1", ""), "both closed": ("utf-8", "12"), "stdout full": ("utf-8", "full")}
"""Encodings, and which of the streams are closed."""


def typed(words: Sequence[str]) -> int:
    """The exit status of `relup` with these words, in this process."""
    sys.argv = ["relup", *words]
    try:
        cli.main()
    except SystemExit as ended:
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


def through_all(lines: Sequence[Sequence[str]], way: str, folder: Path) -> tuple[list[int], str, str]:
    """The exit statuses of command lines in a process with such streams, and what it has written to both."""
    encoding, closed = WAYS[way]
    out, err, told = folder / "out", folder / "err", folder / "told"
    child = os.fork()
    if child == 0:
        signal.alarm(300)
        for number, path in ((1, Path("/dev/full") if closed == "full" else out), (2, err)):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(descriptor, number)
            os.close(descriptor)
            stream = io.TextIOWrapper(io.BufferedWriter(io.FileIO(number, "w", closefd=False)), encoding=encoding)
            if str(number) in closed:
                os.close(number)
            setattr(sys, ("stdout", "stderr")[number - 1], None if str(number) in closed else stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        try:
            told.write_text(json.dumps([typed(words) for words in lines]))
            for stream in filter(None, (sys.stdout, sys.stderr)):
                stream.flush()
        except BaseException as error:  # It must not come back into the tests.
            told.write_text(json.dumps([99, repr(error)]))
        os._exit(0)
    os.waitpid(child, 0)
    return json.loads(told.read_text()), *(path.read_text(encoding) if path.is_file() else "" for path in (out, err))


@pytest.mark.parametrize("way", WAYS)
def test_every_command_ends_well_with_every_kind_of_stream(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("RELUP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hosts.yml").write_text(INVENTORY)
    helps = [["--help"], ["--version"], *(["--help", name] for name in NAMES)]
    wrongs = [[name, "--inventory", "hosts.yml", "--host", "n→"] for name in NAMES if not name.startswith("hop.")]
    # An error of a stream stays in it.
    lines = [*helps, *wrongs] if way != "stdout full" else helps
    statuses, out, err = through_all(lines, way, tmp_path)
    assert statuses == [1 if way == "stdout full" else 0] * len(helps) + [2] * (len(lines) - len(helps))
    assert "Traceback" not in out + err
    assert "did not expect" not in out + err
    if way == "latin-1":
        assert all(re.search(rf"^  relup {re.escape(name)}\b", out, re.MULTILINE) for name in NAMES)
        assert err.count("no host or group matches 'n->'") == len(wrongs)
    assert err.count("could not be written: No space left") == (len(helps) if way == "stdout full" else 0)
