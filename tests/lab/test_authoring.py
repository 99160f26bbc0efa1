"""The page for authors does what it says: its commands are run and its edits made, one after the other, in the lab."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.cluster import Lab
from lab.layout import DEFAULT_STATE, PROJECT, STATE_VARIABLE
from tests.lab.cluster import running_lab

PAGE = PROJECT / "docs" / "authoring.md"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def edited(folder: Path, edit: str) -> None:
    """Make an edit that is written as a diff: each part of it is found once, whatever line it is on."""
    head, *parts = edit.split("@@\n")
    file = folder / head.removeprefix("--- ").strip()
    text = file.read_text()
    for part in parts:
        lines = part.splitlines(keepends=True)
        old, new = ("".join(line[1:] for line in lines if line[0] in kept) for kept in (" -", " +"))
        assert text.count(old) == 1, f"{file.name} does not have this once:\n{old}"
        text = text.replace(old, new)
    file.write_text(text)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab that is made, for the page to find; it is on ports of its own."""
    with running_lab(tmp_path_factory.mktemp("lab"), 2) as made:
        yield made


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What the page uses of a checkout, in a folder that it may write to."""
    (tmp_path / "tasks.py").symlink_to(PROJECT / "tasks.py")
    (tmp_path / ".lab").symlink_to(DEFAULT_STATE)
    return tmp_path


def test_the_page(lab: Lab, checkout: Path) -> None:
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(PROJECT),
        STATE_VARIABLE: str(lab.layout.state),
    }
    fences = FENCE.findall(PAGE.read_text())
    assert {kind for kind, _ in fences} == {"sh", "diff"}
    said = []
    for kind, text in fences:
        if kind == "diff":
            edited(checkout, text)
            continue
        done = subprocess.run(
            ["bash", "-euxc", text],
            cwd=checkout,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        said.append(done.stdout)
    assert "\npassed: no client noticed anything\n" in "".join(said)
    assert not [file for file in (checkout / "hops").iterdir() if "REVIEW:" in file.read_text()]
