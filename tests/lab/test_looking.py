"""Nodes that were never upgraded, looked at: by verify, postcheck, own checks, over time, and on a terminal."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.cluster import Lab
from lab.layout import PROJECT
from relup_remote import inventory
from relup_remote.core.protocol import Failure
from relup_remote.postchecks.node import look_at
from tests.lab.cluster import BASE, FIRST, Tool, ended, running_lab, until
from tests.lab.terminal import on_terminal


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Two nodes of the first release."""
    with running_lab(tmp_path_factory.mktemp("lab"), 2) as made:
        yield made


@pytest.fixture(scope="module")
def relup(lab: Lab) -> Tool:
    return Tool(lab.inventory_path)


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The operator's own checks of docs/postchecks.md, in a folder of their own."""
    text = (PROJECT / "docs" / "postchecks.md").read_text()
    [checks] = re.findall(r"```python\n(.+?)```", text, re.DOTALL)
    folder = tmp_path / "checks"
    folder.mkdir()
    (folder / "test_cluster.py").write_text(checks)
    return folder


def pytest_in(folder: Path, *words: str) -> tuple[int, str]:
    """The exit status of pytest on the checks of a folder, and what it says."""
    command = [sys.executable, "-m", "pytest", str(folder), "--rootdir", str(folder), "-p", "no:cacheprovider", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("command", ["verify", "postcheck"])
def test_a_node_that_was_never_upgraded_is_what_it_should_be(relup: Tool, command: str) -> None:
    assert relup.run(command).status == 0
    assert relup.run(command, "--target", BASE).status == 0
    assert relup.run(command, "--target", FIRST).status == 1


def test_the_example_of_an_operators_own_checks(lab: Lab, example: Path) -> None:
    status, said = pytest_in(example, "--relup-inventory", str(lab.inventory_path))
    assert (status, "6 passed" in said) == (0, True), said
    status, said = pytest_in(example, "--relup-inventory", str(lab.inventory_path), "--relup-host", "n2", "-v")
    assert (status, "3 passed" in said, "test_nobody_is_missing[n2]" in said) == (0, True, True), said


def test_values_of_calls_are_plain_data(lab: Lab) -> None:
    [settings] = inventory.load(lab.inventory_path).select(["n1"])
    with look_at(settings, None) as node:
        assert (node.name, node.version, node.marker, node.boots) == (lab.layout.hosts[0].node, BASE, None, BASE)
        given = ["text", 1, 1.5, True, None, (node.atom("ok"), 'it\'s "here" $HOME é'), {"key": [2, -3]}]
        said = ["text", 1, 1.5, True, None, ("ok", 'it\'s "here" $HOME é'), {"key": [2, -3]}]
        assert node.call("lists", "reverse", given) == said[::-1]
        assert node.call("erlang", "list_to_binary", ["text"]) == "text"
        assert node.call("emqx_release", "version") == BASE
        assert node.call("lists", "seq", 1, 100000)[-1] == 100000
        assert node.call("erlang", "whereis", node.atom("init")) == "<pid>"
        assert node.eval("1 + 1") == "2"
        with pytest.raises(Failure) as caught:
            node.call("erlang", "error", node.atom("oh_no"))
        assert (caught.value.err_type, "oh_no" in str(caught.value.detail)) == ("call_failed", True)


@pytest.mark.parametrize("command", ["verify", "postcheck"])
def test_watching_until_a_node_is_back(lab: Lab, relup: Tool, command: str) -> None:
    lab.stop_node("n2")
    watching = relup.start(command, "--watch", "--timeout", "5m", "--stable", "1s")
    until("both hosts are told of", lambda: watching.said[1].count("\n") >= 2)
    first = watching.said[1].splitlines()[:2]
    assert sorted(re.sub(r"^\S+ ", "", line).partition(",")[0].strip() for line in first) == [
        f"n1 {'verified' if command == 'verify' else 'ok'}",
        "n2 failed",
    ]
    lab.start_node("n2")
    ran = ended(watching, timeout=300)
    assert ran.status == 0, ran.stderr
    assert re.search(r"^\S+ n2 (verified|ok)$", ran.stderr, re.MULTILINE)
    assert "all hosts passed for 1.0 s (checked " in ran.stderr
    assert ran.document["watch"]["stable"] is True
    assert {row["error"] for row in ran.document["hosts"]} == {None}


def test_a_terminal_shows_the_hosts_as_they_go_on_and_is_clean_in_the_end(lab: Lab, relup: Tool) -> None:
    tarball = str(lab.tarball(FIRST))
    seen = on_terminal(relup.words("plan", "--tarball", tarball, json=False), columns=140)
    # The table of what goes on has come and gone; what is left is the command's own.
    assert any(re.search(r"^host +step", line) for screen in seen.screens for line in screen), seen.raw
    assert seen.status == 0
    assert seen.last[0].split()[:5] == ["host", "node", "from", "target", "running"]
    assert seen.last[2].split()[0] == "n1"
    assert not [line for line in seen.last if re.search(r"^host +step", line)]
    quiet = on_terminal([*relup.words("plan", "--tarball", tarball, json=False), "--quiet"], columns=140)
    assert (quiet.last[0].split()[:5], b"\x1b[" in quiet.raw) == (seen.last[0].split()[:5], False)


def test_a_rollout_on_a_terminal_asks_shows_waves_and_ends_with_its_table(
    lab: Lab, relup: Tool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    words = [*relup.words("upgrade", json=False), "--tarball", str(lab.tarball(FIRST)), "--no-backup"]
    seen = on_terminal(words, columns=110, lines=60, typed=b"y\n")
    assert seen.status == 0, seen.last
    said = ["\n".join(screen) for screen in seen.screens]
    # The question stood by itself, with the plan above it.
    asked = next(screen for screen in said if "[y/N]" in screen)
    assert not re.search(r"^host +(node +)?(wave +)?step", asked, re.MULTILINE)
    second = re.compile(r"^upgrade to \S+, wave 2 of 2: n2 \(1 of 2 hosts finished\)$", re.MULTILINE)
    assert any(map(second.search, said))
    assert any(re.search(r"^n1 +emqx1@127.0.0.1 +1 .*upgraded +\d", screen, re.MULTILINE) for screen in said)
    last = said[-1]
    assert not re.search(r"^host +(node +)?(wave +)?step", last, re.MULTILINE)
    assert re.search(r"^n2 +(emqx2@127.0.0.1 +)?5.10.4-lab +5.10.5-lab +upgraded", last, re.MULTILINE)
    assert max(len(line) for line in seen.last) <= 110
    assert re.search(r"^run \S+: done", last, re.MULTILINE)


def test_a_dumb_terminal_gets_plain_lines(lab: Lab, relup: Tool) -> None:
    seen = on_terminal([*relup.words("stage", json=False), "--tarball", str(lab.tarball(FIRST))], TERM="dumb")
    assert (seen.status, b"\x1b[" in seen.raw) == (0, False)
    assert re.search(r"^n1 stage ok \d", "\n".join(seen.last), re.MULTILINE)
