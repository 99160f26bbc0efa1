"""What operators see of each command, at 80 columns, compared with `tests/transcripts`.

``make transcripts`` writes them anew: a change of wording is a diff that a reviewer reads. Names, times and sizes are
masked, for they are others each time; so are the spaces of tables, which follow from them.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

import pytest

from lab.cluster import Lab
from relup_remote.summary import tables
from tests.unit.program import PROJECT, RELUP, run

FOLDER = PROJECT / "tests" / "transcripts"
WRITE = "RELUP_WRITE_TRANSCRIPTS"
COLUMNS = 80

TARBALL = ("--tarball", "{tarball}")
FAST = ("--yes", "--no-backup", "--gates", "verify,cluster,connections")
WALK: dict[str, Sequence[tuple[str, ...]]] = {
    "01-list": [("--list",), ("--help", "status"), ("statsu",), ("upgrade", "--tarbal", "x"), ("upgrade",)],
    "02-look": [("hosts",), ("status",), ("verify",), ("logs",), ("status", "--host", "n9")],
    "03-hops": [("paths",), ("paths", "--from", "5.10.4-lab"), ("hop.show", "5.10.4-lab", "5.10.5-lab")],
    "04-plan": [("plan", *TARBALL), ("plan", *TARBALL, "--no-backup"), ("upgrade", *TARBALL, "--check", "--no-backup")],
    "05-backup": [("backup",), ("backup.list",), ("backup.verify", "--host", "n1"), ("restore", "--host", "n1")],
    "06-lock": [("lock", "--why", "disks"), ("upgrade", *TARBALL, *FAST), ("unlock",)],
    "07-stage": [
        ("stage", *TARBALL, "--host", "n1"),
        ("prepare", *TARBALL, "--host", "n1"),
        ("cleanup", "--check", "--anyway"),
        ("cleanup", "--yes", "--anyway"),
    ],
    "08-upgrade": [
        ("upgrade", *TARBALL, *FAST, "--host", "n1"),
        ("upgrade", *TARBALL, *FAST, "--gate-command", "exit 3", "--gate-timeout", "0"),
        ("runs",),
        ("upgrade", *TARBALL, *FAST),
        ("upgrade", *TARBALL, *FAST),
        ("status",),
    ],
    "09-rollback": [
        ("rollback", "--yes", "--gates", "verify,cluster"),
        ("rollback", "--yes"),
        ("logs", "--host", "n1"),
    ],
    "10-reports": [("report", "--format", "md"), ("report", "1999"), ("logs-clear", "--yes"), ("runs", "--limit", "1")],
}
"""The walk: for each file the commands that are typed one after the other."""

MASKS = (
    (r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d-[a-z0-9]{4}", "<run>"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "<moment>"),
    # A narrow column has the two on lines of their own.
    (r"\b\d{4}-\d\d-\d\d\b(?!T)", "<date>"),
    (r"\b\d\d:\d\d:\d\d\b", "<clock>"),
    (r"\b[0-9a-f]{64}\b", "<sha256>"),
    (r"\b[0-9a-f]{16}…", "<sha256>…"),
    (r"\d+(\.\d+)?( to \d+(\.\d+)?)? (ms|s|min|h)\b( \d+ (s|min)\b)?", "<time>"),
    (r"\d+(\.\d+)? (bytes|kB|MB|GB)", "<size>"),
    (r"<0\.\d+\.\d+>", "<pid>"),
    (r"\b(process|port) \d+", r"\1 <number>"),
    (r"127\.0\.0\.1:\d+", "127.0.0.1:<port>"),
    (r"\d+ processes", "<number> processes"),
    (r"[\w.-]+@(?!127\.0\.0\.1)[\w.-]+", "<operator>"),
    (r"(os_pid: )\d+", r"\1<number>"),
    (r"\b\d{7,}", "<number>"),
)


def masked(seen: str, lab: Lab, folder: Path) -> str:
    """What was seen, without what is another each time."""
    for path, name in (
        (lab.layout.state, "<lab>"),
        (folder, "<folder>"),
        (PROJECT, "<project>"),
        (Path.home(), "<home>"),
    ):
        seen = seen.replace(str(path), name)
    for pattern, name in MASKS:
        seen = re.sub(pattern, name, seen)
    return seen


def words(seen: str) -> list[str]:
    """What was seen, without what the widths of numbers change: breaks of lines, and the instructions of hops.

    Hosts that are done at once end in any order, and what takes long says so as often as it takes.
    """
    seen = re.sub(
        r"(?m)^ +instruction +what it (?:did|will do)[^$]*?(?=\n\n|\nprocesses stood)", "<instructions>", seen
    )
    told = [line for line in seen.splitlines() if not re.match(r"n\d (stage|extract|backup) .* of ", line)]
    found: list[str] = []
    for is_of_host, block in groupby(told, key=lambda line: bool(re.match(r"n\d \w", line))):
        lines = list(block)
        found += sorted(lines, key=lambda line: line.split()[0]) if is_of_host else lines
    return [re.sub(r"-{3,}", "--", word) for line in found for word in line.split()]


@pytest.fixture(scope="module")
def walker(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Sequence[str]], str]]:
    """Types a command and returns what is seen of it, by somebody whose terminal has 80 columns."""
    folder = tmp_path_factory.mktemp("walk")
    with pytest.MonkeyPatch.context() as patch:
        for module in ("cli", "commands.invocation", "commands.asking", "summary.progress", "manual.help"):
            patch.setattr(f"relup_remote.{module}.columns", lambda _out: COLUMNS)
        # Steps that took long on a busy machine are no part of a transcript.
        patch.setattr(tables, "QUICK", float("inf"))
        environment = {
            **os.environ,
            "XDG_STATE_HOME": str(folder / "state"),
            "RELUP_INVENTORY": str(lab.inventory_path),
        }

        def walk(words: Sequence[str]) -> str:
            typed = [word.format(tarball=lab.tarball("5.10.5-lab")) for word in words]
            ended = run(RELUP, *typed, cwd=folder, variables=environment)
            shown = " ".join(word.format(tarball="emqx-5.10.5-lab.tar.gz") for word in words)
            status = f"[exit status {ended.returncode}]\n" if ended.returncode else ""
            return masked(f"$ relup {shown}\n{ended.stderr}{ended.stdout}{status}", lab, folder)

        yield walk


def test_the_walk_through_all_commands(walker: Callable[[Sequence[str]], str]) -> None:
    seen = {name: "\n".join(walker(words) for words in typed) for name, typed in WALK.items()}
    if os.environ.get(WRITE):
        shutil.rmtree(FOLDER, ignore_errors=True)
        FOLDER.mkdir()
        for name, said in seen.items():
            (FOLDER / f"{name}.txt").write_text(said)
    kept = {path.stem: path.read_text() for path in FOLDER.glob("*.txt")}
    assert set(seen) == set(kept)
    for name, said in seen.items():
        assert words(said) == words(kept[name]), f"{name}: if this is meant, run: make transcripts"
        assert "did not expect" not in said
        if name != "10-reports":
            # Markdown is for programs, what is typed is nobody's output, and a mask may be longer than what it hides.
            lines = [line for line in said.splitlines() if not re.match(r"\$ |.*[<‹]", line)]
            assert max(map(len, lines)) <= COLUMNS
