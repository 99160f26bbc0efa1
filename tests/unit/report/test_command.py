"""`report` as an operator meets it."""

import json
import os
import webbrowser
from pathlib import Path
from typing import Any

import pytest

from tests.unit.program import RELUP, run
from tests.unit.report import stories
from tests.unit.report.stories import RUN


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory with one run."""
    stories.smooth(tmp_path / "state" / "relup_remote" / "runs")
    return tmp_path / "state"


def report(state: Path, *words: str) -> Any:
    """Run the command in the folder beside the state directory."""
    variables = {**os.environ, "XDG_STATE_HOME": str(state)}
    return run(RELUP, "report", *words, cwd=state.parent, variables=variables)


@pytest.mark.parametrize("words", [(), ("2026-11",), ("--format", "html", "--quiet")])
def test_a_page_is_written_beside_where_one_stands(state: Path, words: tuple[str, ...]) -> None:
    ended = report(state, *words)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == f"relup-{RUN}.html\n"
    page = state.parent / f"relup-{RUN}.html"
    assert page.read_text().startswith("<!doctype html>")
    assert page.read_text().endswith("</html>\n")


def test_the_page_is_shown_in_the_browser(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    def shows(url: str) -> bool:
        shown.append(url)
        return True

    monkeypatch.setattr(webbrowser, "open", shows)
    ended = report(state, "last", "--open")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert shown == [(state.parent / f"relup-{RUN}.html").as_uri()]
    monkeypatch.setattr(webbrowser, "open", lambda url: False)
    ended = report(state, "last", "--open")
    assert (ended.returncode, ended.stderr) == (0, "There is no browser here that can show the page.\n")
    wrong = report(state, "last", "--open", "--format", "md")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "--open shows a page, and --format md makes none" in wrong.stderr


def test_other_formats_go_to_stdout_or_to_a_file(state: Path) -> None:
    for format, start in {"md": "# Upgrade", "junit": "<?xml", "json": "{"}.items():
        ended = report(state, "--format", format)
        assert (ended.returncode, ended.stderr) == (0, "")
        assert ended.stdout.startswith(start)
        into = report(state, "last", "--format", format, "-o", f"deep.{format}")
        assert into.stdout == f"deep.{format}\n"
        assert (state.parent / f"deep.{format}").read_text() == ended.stdout
    assert not list(state.parent.glob("*.html"))


def test_with_json_the_document_is_all_there_is_on_stdout(state: Path) -> None:
    document = json.loads(report(state, "--json").stdout)
    assert (document["command"], document["ok"], document["run"], document["file"]) == ("report", True, RUN, None)
    assert document["report"]["outcome"] == "done"
    assert not list(state.parent.glob("relup-*"))
    assert json.loads(report(state, "--json", "--format", "html").stdout)["file"] == f"relup-{RUN}.html"
    assert json.loads(report(state, "--json", "--format", "md", "-o", "a.md").stdout)["file"] == "a.md"
    refused = report(state, "--json", "--format", "md")
    assert refused.returncode == 2
    assert json.loads(refused.stdout)["error"]["message"] == "--json uses stdout: name a file for md with -o"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("2027",), "report: no run begins with '2027'; the last ones: " + RUN),
        (("--format", "pdf"), "--format must be html, md, json or junit, not 'pdf'"),
        (("-o", "no/such/folder.html"), "The folder no/such does not exist"),
        (("--format",), "--format"),
        (("--nonsense",), "--nonsense"),
    ],
)
def test_wrong_use(state: Path, words: tuple[str, ...], said: str) -> None:
    ended = report(state, *words)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert said in ended.stderr
    assert not list(state.parent.glob("relup-*"))


def test_without_any_run(tmp_path: Path) -> None:
    ended = report(tmp_path / "state")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "there is no run yet (A run is kept for the user who began it, on that machine only." in ended.stderr
