"""What is shipped to hosts: the whole core, on its own, on every Python from 3.6 on."""

import ast
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

import relup_remote.core
from relup_remote.core.protocol import PROTOCOL_VERSION, encode
from relup_remote.host import bootstrap, launcher
from relup_remote.host.payload import NotShippable, Payload, build, payload

from .archive.tarballs import directory, entry, tarball
from .pythons import oldest_and_newest

CORE = Path(relup_remote.core.__file__).parent
BOOTSTRAP = Path(bootstrap.__file__)
SHIPPED = [*sorted(CORE.rglob("*.py")), BOOTSTRAP]

NEWER = {"contextvars", "dataclasses", "graphlib", "tomllib", "zoneinfo"}
"""Modules of the standard library that Python 3.6 does not have."""

GONE = {
    *(
        "aifc",
        "asynchat",
        "asyncore",
        "audioop",
        "cgi",
        "cgitb",
        "chunk",
        "crypt",
        "distutils",
        "imghdr",
        "imp",
        "lib2to3",
    ),
    *("mailcap", "msilib", "nis", "nntplib", "ossaudiodev", "pipes", "smtpd", "sndhdr", "spwd", "sunau", "telnetlib"),
    *("uu", "xdrlib"),
}
"""Those that Python 3.13 has no more."""

ALLOWED = sys.stdlib_module_names - NEWER - GONE

each_python = pytest.mark.parametrize("python", oldest_and_newest(), ids=str)
each_file = pytest.mark.parametrize("file", SHIPPED, ids=lambda file: str(file.relative_to(CORE.parent)))


def imported(tree: ast.AST) -> set[str]:
    """The top-level modules that a module imports by absolute name, wherever in it."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(str(node.module).partition(".")[0])
    return names


@each_file
def test_only_the_standard_library_is_imported(file: Path) -> None:
    # The bootstrap is no part of the package that it starts.
    own = {"relup_remote"} if file == BOOTSTRAP else set()
    assert imported(ast.parse(file.read_text())) - ALLOWED == own


@each_file
def test_syntax_is_that_of_python_3_6(file: Path) -> None:
    ast.parse(file.read_text(), feature_version=(3, 6))


@pytest.mark.parametrize(
    "source", ["import yaml", "from relup_remote import host", "def f():\n import dataclasses as d"]
)
def test_import_check_finds_what_is_not_allowed(source: str) -> None:
    assert imported(ast.parse(source)) - ALLOWED


def test_payload_holds_the_core_and_nothing_else() -> None:
    names = zipfile.ZipFile(io.BytesIO(payload().content)).namelist()
    files = {
        f"relup_remote/core/{path.relative_to(CORE)}" for suffix in ("py", "erl") for path in CORE.rglob(f"*.{suffix}")
    }
    assert set(names) == {"__main__.py", "relup_remote/__init__.py", *files}
    assert len(names) == len(set(names))


def test_payload_is_the_same_each_time() -> None:
    assert build(CORE) == build(CORE)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("extra.py", '"""A module that does not say that it is shipped."""\n'),
        ("extra.erl", "-module(extra).\n"),
        ("notes.txt", "Payload, shipped to hosts\n"),
        ("empty.py", ""),
    ],
)
def test_what_does_not_declare_itself_is_not_shipped(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / "__init__.py").write_text('"""Payload, shipped to hosts: a package."""\n')
    assert build(tmp_path).content
    (tmp_path / name).write_text(content)
    with pytest.raises(NotShippable, match=name):
        build(tmp_path)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The payload as a file."""
    path = tmp_path_factory.mktemp("payload") / "core.pyz"
    path.write_bytes(payload().content)
    return path


def output(python: Path, script: str, *arguments: object) -> str:
    """What a script says that runs in an interpreter without anything but its standard library."""
    command = [str(python), "-I", "-S", "-W", "error", "-c", script, *map(str, arguments)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


IMPORT_ALL = """
import importlib, sys, zipfile
sys.path.insert(0, sys.argv[1])
for name in zipfile.ZipFile(sys.argv[1]).namelist():
    if name.startswith("relup_remote/") and name.endswith(".py"):
        module = importlib.import_module(name[:-3].replace("/", "."))
        assert module.__file__.startswith(sys.argv[1]), module
        print(module.__name__)
"""


@each_python
def test_every_module_can_be_imported(python: Path, archive: Path) -> None:
    imported = output(python, IMPORT_ALL, archive).split()
    assert len(imported) == len(list(CORE.rglob("*.py"))) + 1


SMOKE = """
import sys
sys.path.insert(0, sys.argv[1])
from relup_remote.core import archive, protocol
from relup_remote.core.erlang import term

seen = []
archive.scan(sys.argv[2], lambda member, contents: seen.append((member.name, contents())))
assert seen == [("releases", b""), ("releases/emqx_vars", b'REL_VSN="5.10.5"')], seen

for value in (0, -1, 2 ** 70, 1.5, b"binary", term.Atom("ok"), [], [1, 2], (1, b"text"), {1: [2]}):
    assert term.decode(term.encode(value)) == value, value

line = protocol.encode({"event": "note", "message": "Gr\\u00fc\\u00dfe"})
assert line == b'{"event":"note","message":"Gr\\\\u00fc\\\\u00dfe"}\\n', line
print("fine")
"""


@each_python
def test_core_works_on_its_own(python: Path, archive: Path, tmp_path: Path) -> None:
    members = [directory(b"releases"), entry(b"releases/emqx_vars", b'REL_VSN="5.10.5"')]
    tar = tarball(tmp_path / "release.tar.gz", *members)
    assert output(python, SMOKE, archive, tar) == "fine\n"


def boot(python: Path, home: Path, request: dict[str, Any], core: Payload) -> list[dict[str, Any]]:
    """What a host says whose Python this is, if the core is sent whether it is there or not wanted."""
    script = BOOTSTRAP.read_bytes()
    command = launcher.command(str(python), None, len(script), core.digest, len(core.content))
    process = subprocess.Popen(
        ["sh", "-c", command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"HOME": str(home), "PATH": os.environ["PATH"]},
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(launcher.HELLO + script)
        process.stdin.flush()
        # A line of its own ends what a login shell has said before.
        greeting = json.loads(next(line for line in process.stdout if line.startswith(b"{")))
        if not greeting["have"]:
            process.stdin.write(b"null\n" + core.content)
        process.stdin.write(bootstrap.KNOCK + encode(request))
        process.stdin.close()
        return [greeting, *map(json.loads, process.stdout)]


@each_python
def test_bootstrap_brings_it_to_life(python: Path, tmp_path: Path) -> None:
    request = {"protocol": PROTOCOL_VERSION + 1}
    first, second = (boot(python, tmp_path, request, payload()) for _ in range(2))
    assert (first[0]["have"], second[0]["have"]) == (False, True)
    for events in (first, second):
        assert events[1] == {"event": "core", "ready": True}
        assert events[-1]["event"] == "result"
        assert events[-1]["error"]["err_type"] == "protocol_mismatch"
    (kept,) = (tmp_path / ".cache" / "relup_remote").iterdir()
    assert kept.name.startswith(payload().digest)
