"""The pytest plugin in other people's runs of pytest: it is there, and costs and changes nothing."""

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

PLUGIN = "relup_remote.postchecks.plugin"
THEIRS = """
import sys

import pytest


@pytest.fixture(params=[1, 2])
def node(request):
    return request.param


def test_their_own_node(node):
    assert node in (1, 2)


def test_what_is_imported():
    ours = {name for name in sys.modules if name.partition(".")[0] == "relup_remote"}
    assert ours == {"relup_remote", "relup_remote.postchecks", "relup_remote.postchecks.plugin"}
"""


def pytest_on(folder: Path, text: str, *words: str) -> tuple[int, str]:
    """The exit status of pytest on a file of tests, and what it says."""
    (folder / "test_theirs.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(folder), *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, done.stdout + done.stderr


def test_it_is_found_by_its_entry_point_which_is_named_as_the_module() -> None:
    [found] = [each for each in entry_points(group="pytest11") if each.value == PLUGIN]
    assert found.name == PLUGIN


@pytest.mark.parametrize("words", [(), ("-p", PLUGIN)])
def test_without_options_it_does_nothing(tmp_path: Path, words: tuple[str, ...]) -> None:
    status, said = pytest_on(tmp_path, THEIRS, *words)
    assert (status, "3 passed" in said) == (0, True), said


def test_without_options_a_test_that_wants_a_node_fails_with_a_sentence(tmp_path: Path) -> None:
    status, said = pytest_on(tmp_path, "def test_it(emqx_node): pass\ndef test_other(): pass\n")
    assert (status, "1 passed, 1 error" in said) == (1, True), said
    assert "emqx_node needs --relup-inventory FILE or --relup-host HOST" in said


def test_wrong_options_are_wrong_use(tmp_path: Path) -> None:
    test = "def test_it(emqx_node): pass\n"
    status, said = pytest_on(tmp_path, test, "--relup-inventory", str(tmp_path / "none.yml"))
    assert (status != 0, "none.yml: can't be read" in said) == (True, True), said
    (tmp_path / "hosts.yml").write_text("hosts: {n1: {address: 127.0.0.1, port: 1}}")
    named = ("--relup-inventory", str(tmp_path / "hosts.yml"))
    assert "no host or group matches 'n9'" in pytest_on(tmp_path, test, *named, "--relup-host", "n9")[1]
    status, said = pytest_on(tmp_path, f"{test}def test_more(emqx_node): pass\n", *named)
    assert (status, "2 errors" in said, "host_unreachable" in said) == (1, True, True), said
