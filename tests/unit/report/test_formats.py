"""The formats for tickets, CI systems and programs."""

import io
import json
import re
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as xml

import pytest
from junitparser import JUnitXml, TestSuite
from markdown_it import MarkdownIt

from relup_remote import report as reports
from relup_remote.report import model
from relup_remote.report.words import shown
from relup_remote.rollout.ledger import Record
from tests.unit.report import stories
from tests.unit.report.stories import EVIL, RUN, Story, failure, row

STORIES = ("smooth", "stopped", "killed", "blank", "many", "hostile")

DOCS = Path(__file__).parents[3] / "docs" / "report.md"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Writes the report of a story, of which there is one ledger, in a format."""
    folder = tmp_path_factory.mktemp("ledgers")

    @cache
    def record(story: str) -> Record:
        found: Record = getattr(stories, story)(folder / story)
        return found

    def write(story: str, format: str) -> str:
        out = io.StringIO()
        reports.write(record(story), format, out)
        return out.getvalue()

    return write


# JSON


def test_the_document_is_the_model(written: Any) -> None:
    document = json.loads(written("stopped", "json"))
    assert (document["command"], document["ok"], document["run"]) == ("report", True, RUN)
    told = document["report"]
    assert (told["outcome"], len(told["sittings"]), told["next"]) == ("stopped", 2, f"inv upgrade --resume {RUN}")
    assert told["hosts"][0]["from"] == "5.10.4"
    assert told["hosts"][2]["hop"]["instructions"][2]["status"] == "failed"
    assert [gate["status"] for gate in told["waves"][0]["gates"]] == ["open", "closed", "open", "open", "open", "open"]


def test_every_key_of_the_document_is_documented() -> None:
    text = DOCS.read_text()
    classes = [
        each for each in vars(model).values() if isinstance(each, type) and hasattr(each, "__dataclass_fields__")
    ]
    names = {"from" if each.name == "from_vsn" else each.name for kind in classes for each in fields(kind)}
    assert {name for name in names if f"`{name}`" not in text} == set()


@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize("format", reports.FORMATS)
def test_every_run_can_be_told_in_every_format(written: Any, story: str, format: str) -> None:
    text = written(story, format)
    assert text.endswith("\n")
    assert RUN in text
    assert re.search(r"[^\n\x20-\x7e\xa0-\ud7ff\ue000-\ufffd]|[\u200e\u200f\u202a-\u202e\u2066-\u2069]", text) is None


# JUnit


ATTRIBUTES: dict[str, set[str]] = {
    "testsuites": {"name", "tests", "failures", "errors", "skipped", "time"},
    "testsuite": {"name", "tests", "failures", "errors", "skipped", "time", "timestamp", "hostname"},
    "properties": set(),
    "property": {"name", "value"},
    "testcase": {"name", "classname", "time"},
    "failure": {"type", "message"},
    "skipped": {"message"},
}
"""The elements that are used, of those that JUnit's schema knows, with the attributes it asks for."""

CHILDREN = {
    "testsuites": r"(testsuite )*",
    "testsuite": r"(properties )?(testcase )*",
    "properties": r"(property )+",
    "testcase": r"((failure |skipped )?)",
}
"""What each element may hold, in order."""


@pytest.mark.parametrize("story", STORIES)
def test_junit_is_what_ci_systems_read(written: Any, story: str) -> None:
    text = written(story, "junit")
    root = xml.fromstring(text)
    for element in root.iter():
        assert set(element.keys()) == ATTRIBUTES[element.tag]
        assert re.fullmatch(CHILDREN.get(element.tag, ""), "".join(f"{child.tag} " for child in element))
        assert re.fullmatch(r"\d+\.\d{3}", element.get("time", "0.000"))
        assert re.fullmatch(r"\d{4}(-\d\d){2}T\d\d(:\d\d){2}", element.get("timestamp", "2026-01-01T00:00:00"))
    for holder in (root, *root.iter("testsuite")):
        assert int(holder.get("tests", "")) == len(list(holder.iter("testcase")))
        assert int(holder.get("failures", "")) == len(list(holder.iter("failure")))
        assert int(holder.get("skipped", "")) == len(list(holder.iter("skipped")))
    names = [(case.get("classname"), case.get("name")) for case in root.iter("testcase")]
    assert len(names) == len(set(names)), "a case is told from others by its names"


def suites(text: str) -> dict[str, TestSuite]:
    """The suites as a reader of CI systems' files sees them."""
    return {str(suite.name): suite for suite in JUnitXml.fromstring(text)}


def test_a_run_that_went_well_has_no_failure(written: Any) -> None:
    found = suites(written("smooth", "junit"))
    assert list(found) == [
        "run",
        *(f"wave {number}: gates" for number in (1, 2, 3)),
        *(f"wave {wave}: {host}" for wave, host in zip((1, 2, 2, 3, 3, 3), stories.SIX, strict=True)),
    ]
    assert sum(suite.failures for suite in found.values()) == 0
    assert [case.name for case in found["wave 1: n5"]] == list(stories.STEPS)
    assert [case.name for case in found["wave 2: gates"]] == ["verify", "cluster", "connections", "postcheck"]


def test_failures_are_where_they_belong(written: Any) -> None:
    found = suites(written("stopped", "junit"))
    assert {name: suite.failures for name, suite in found.items() if suite.failures} == {"run": 1, "wave 2: n1": 1}
    (bad,) = [case for case in found["wave 2: n1"] if case.result]
    assert (bad.name, bad.result[0].type) == ("apply", "code_change_failed")
    assert "Remove the cause" in bad.result[0].text
    assert [case.name for case in found["wave 3: n3"] if case.is_skipped] == ["turn"]


def test_a_controller_that_was_killed_is_a_failure_of_run_and_host(written: Any) -> None:
    found = suites(written("killed", "junit"))
    assert {name: suite.failures for name, suite in found.items() if suite.failures} == {"run": 1, "wave 2: n6": 1}


def test_all_refusals_of_a_stage_are_one_failure(tmp_path: Path) -> None:
    story = Story(tmp_path / "runs", ("n1", "n2", "n3"))
    story.begins()
    problems = [
        failure("app_not_found", "No dashboard."),
        failure("invalid_instr", "What?"),
        failure("disk_full", stage="extract"),
    ]
    refused = {**row("n1", "refused", steps=()), "error": problems[0], "problems": problems}
    story.tell("host", host="n1", phase="apply", status="start")
    story.tell("host", host="n1", phase="apply", status="end", row=refused)
    story.tell("host", host="n2", phase="apply", status="start")
    found = suites(rendered(story, "junit"))
    apply, extract = found["wave 1: n1"]
    assert (apply.name, apply.result[0].type, extract.name) == ("apply", "app_not_found", "extract")
    assert "No dashboard." in apply.result[0].text
    assert "What?" in apply.result[0].text
    assert [(case.name, case.result[0].type) for case in found["wave 2: n2"]] == [("turn", "unfinished")]
    assert found["wave 2: n3"].failures == 0


def test_what_an_earlier_controller_left_is_no_failure_of_a_host_that_is_fine(tmp_path: Path) -> None:
    story = Story(tmp_path / "runs", ("n1",))
    story.begins()
    story.tell("host", host="n1", phase="apply", status="start")
    story.tell("step", host="n1", step="apply", status="start")
    story.begins("resume")
    there = row("n1", "nothing to do")
    story.tell("host", host="n1", phase="survey", status="end", row=there)
    story.ends()
    found = suites(rendered(story, "junit"))
    assert sum(suite.failures for suite in found.values()) == 0
    assert [case.name for case in found["wave 1: n1"]] == ["apply", "turn"]


def rendered(story: Story, format: str) -> str:
    out = io.StringIO()
    reports.write(story.record(), format, out)
    return out.getvalue()


# Markdown


def test_markdown_tells_it_all(written: Any) -> None:
    text = written("stopped", "md")
    assert text.startswith("# Upgrade `5.10.4 → 5.10.5`: stopped\n")
    assert "✕ 2 of 6 hosts done, 1 failed, 3 skipped" in text
    assert f"Next: `inv upgrade --resume {RUN}`" in text
    assert "**Overridden:** --force, --kill-lingering, --on-failure restart, --no-backup." in text
    assert "|  | gate cluster | ✕ closed | 60.0 s | `n5: does not see emqx@10.0.0.4` |" in text
    assert "- ✕ **error** `code_change_failed` at `apply`: `n1`" in text
    assert "a1" * 32 in text


def test_tables_of_markdown_have_as_many_cells_everywhere(written: Any) -> None:
    for story in STORIES:
        for block in written(story, "md").split("\n\n"):
            if block.startswith("|"):
                assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1


def test_what_hosts_say_is_no_markup(written: Any) -> None:
    """Not even such as is made of plain text after rendering: links, and mentions of people."""
    tokens = MarkdownIt("commonmark").enable("table").parse(written("hostile", "md"))
    inner = [child for token in tokens for child in token.children or ()]
    kinds = {token.type for token in (*tokens, *inner)}
    assert kinds.isdisjoint({"html_block", "html_inline", "link_open", "image"})
    assert shown(EVIL).replace("|", "¦") in [token.content for token in inner if token.type == "code_inline"]
    assert not [token.content for token in inner if token.type == "text" and re.search("@|://|alert", token.content)]


def test_our_own_words_are_rendered(written: Any) -> None:
    page = MarkdownIt("commonmark").enable("table").render(written("stopped", "md"))
    assert page.count("<table>") == page.count("</table>") == 5
    assert "<strong>What to do:</strong>" in page
