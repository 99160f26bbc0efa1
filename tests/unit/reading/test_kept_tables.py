"""The tables of the grammar are kept from one command to the next, where that is safe."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

READ = r"""
import sys
from lark.parsers import lalr_analysis
made = []
compute = lalr_analysis.LALR_Analyzer.compute_lalr
lalr_analysis.LALR_Analyzer.compute_lalr = lambda self: made.append(self) or compute(self)
from relup_remote.hops.reading.parser import forms
print(len(forms("{a, [1]}.\n{b}.\n")), "made" if made else "kept")
"""


def read(cache: Path) -> str:
    """What a process reads, and whether it made the tables; it says nothing else."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    done = subprocess.run([sys.executable, "-c", READ], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the first that reads has kept, with a copy beside it."""
    cache = tmp_path_factory.mktemp("tables") / "cache"
    assert read(cache) == "2 made"
    shutil.copytree(cache, cache.with_name("copy"))
    return cache


@pytest.fixture
def cache(first: Path) -> Path:
    """The same, whatever a test before did to it. Tables that lie elsewhere would not be taken."""
    shutil.rmtree(first)
    shutil.copytree(first.with_name("copy"), first)
    return first


def test_they_are_made_once(cache: Path) -> None:
    assert read(cache) == "2 kept"
    assert cache.joinpath("relup_remote").stat().st_mode & 0o777 == 0o700


def damaged(folder: Path) -> None:
    [file] = folder.iterdir()
    file.write_bytes(file.read_bytes()[:1000])


def empty(folder: Path) -> None:
    [file] = folder.iterdir()
    file.write_bytes(b"")


@pytest.mark.parametrize("harm", [damaged, empty])
def test_a_file_that_is_not_whole_is_made_anew(cache: Path, harm: Callable[[Path], None]) -> None:
    harm(cache / "relup_remote")
    assert [read(cache) for _ in range(2)] == ["2 made", "2 kept"]


def test_a_folder_that_others_may_write_to_is_not_believed(cache: Path) -> None:
    (cache / "relup_remote").chmod(0o777)
    assert read(cache) == "2 made"


def test_where_there_can_be_no_folder_they_are_made_each_time(tmp_path: Path) -> None:
    (tmp_path / "relup_remote").touch()
    assert [read(tmp_path) for _ in range(2)] == ["2 made", "2 made"]
