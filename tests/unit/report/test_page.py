"""The page in a browser: what it shows is what the ledger says, on any screen, and nobody else hears of it."""

import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from lab.browser import chromium, media, resize
from relup_remote import report as reports
from relup_remote.report import words
from relup_remote.report.reading import report_of
from relup_remote.rollout.ledger import Record
from tests.unit.report import looking, stories
from tests.unit.report.stories import EVIL

STORIES: dict[str, Callable[[Path], Record]] = {
    story.__name__: story
    for story in (stories.smooth, stories.stopped, stories.killed, stories.blank, stories.many, stories.hostile)
}

PHONE, DESK = (360, 740), (1200, 800)


class Look:
    """A browser, and the pages of all stories."""

    def __init__(self, driver: Chrome, folder: Path) -> None:
        self.driver = driver
        self.records = {name: story(folder / name / "runs") for name, story in STORIES.items()}
        self._folder = folder

    def page(self, story: str, size: tuple[int, int] = DESK, **how: str) -> Chrome:
        """Show the page of a story; ``how`` is that of `media`."""
        path = self._folder / f"{story}.html"
        if not path.exists():
            with path.open("w", encoding="utf-8") as out:
                reports.write(self.records[story], "html", out)
        media(self.driver, **how)
        resize(self.driver, *size)
        self.driver.get(path.as_uri())
        return self.driver

    def rows(self, selector: str) -> list[dict[str, Any]]:
        """What the elements say, see `looking.ROWS`."""
        found: list[dict[str, Any]] = self.driver.execute_script(looking.ROWS, selector)
        return found


@pytest.fixture(scope="module")
def look(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Look]:
    folder = tmp_path_factory.mktemp("pages")
    with chromium(folder / "profile") as driver:
        yield Look(driver, folder)


def log(driver: Chrome, kind: str) -> list[dict[str, Any]]:
    """What the browser has logged since it was asked last."""
    entries: list[dict[str, Any]] = driver.get_log(kind)  # type: ignore[no-untyped-call]
    return entries


def applied(record: Record) -> dict[str, dict[str, Any]]:
    """The last row of each host that was its turn, straight from the ledger's files."""
    events = map(json.loads, (record.path / "events.jsonl").read_text().splitlines())
    return {
        event["host"]: event["row"]
        for event in events
        if event["event"] == "host" and event["status"] == "end" and event["phase"] in ("apply", "cleanup")
    }


@pytest.mark.parametrize("story", STORIES)
def test_nothing_is_loaded_and_nothing_complained_of(look: Look, story: str) -> None:
    log(look.driver, "performance")
    page = look.page(story)
    assert log(page, "browser") == []
    told = [json.loads(entry["message"])["message"] for entry in log(page, "performance")]
    asked = [each["params"]["request"]["url"] for each in told if each["method"] == "Network.requestWillBeSent"]
    assert asked == [page.current_url]
    assert page.find_elements(By.CSS_SELECTOR, "script, link, img, iframe, object, base, form") == []
    (policy,) = page.find_elements(By.CSS_SELECTOR, "meta[http-equiv=Content-Security-Policy]")
    assert policy.get_attribute("content") == "default-src 'none'; style-src 'unsafe-inline'"


def test_the_numbers_of_hosts_are_the_ledgers(look: Look) -> None:
    for story in ("smooth", "stopped", "many"):
        look.page(story)
        rows = applied(look.records[story])
        shown = {row["data"]["host"]: row for row in look.rows("#hosts tbody tr")}
        assert list(shown) == [member["host"] for member in look.records[story].request["hosts"]]
        assert set(rows) <= set(shown)
        for host, row in rows.items():
            data, cells = shown[host]["data"], shown[host]["cells"]
            assert (data["outcome"], float(data["seconds"])) == (row["outcome"], row["seconds"])
            assert cells[0] == host
            assert row["outcome"] in cells[1]
            assert f"{row['from']} → {row['target']}" in cells[2]
            assert cells[3] == words.duration(row["seconds"])


def test_the_steps_are_the_ledgers(look: Look) -> None:
    look.page("stopped").find_element(By.CSS_SELECTOR, "summary").click()
    ends = [event for event in look.records["stopped"].events if event["event"] == "step" and "seconds" in event]
    for host in stories.SIX:
        shown = look.rows(f"#steps tr[data-host={host}]")
        mine = [end for end in ends if end["host"] == host]
        assert [(row["data"]["step"], row["data"]["status"], float(row["data"]["seconds"])) for row in shown] == [
            (end["step"], end["status"], end["seconds"]) for end in mine
        ]
        assert [row["cells"][5] for row in shown] == [words.duration(end["seconds"]) for end in mine]


def test_suspension_and_swap_are_the_ledgers(look: Look) -> None:
    look.page("smooth")
    rows = applied(look.records["smooth"])
    shown = {row["data"]["host"]: row for row in look.rows("#standstill tbody tr")}
    assert set(shown) == set(rows)
    for host, row in rows.items():
        hop, data, cells = row["facts"]["hop"], shown[host]["data"], shown[host]["cells"]
        assert (float(data["suspendedMs"]), float(data["swapMs"])) == (hop["suspended_ms"], hop["swap_ms"])
        assert cells[1] == words.milliseconds(hop["suspended_ms"])
        assert cells[3] == words.milliseconds(hop["swap_ms"])
    worst = max(rows.values(), key=lambda row: row["facts"]["hop"]["suspended_ms"])
    tile = look.driver.find_elements(By.CSS_SELECTOR, ".tile")[1].text
    assert tile == f"{words.milliseconds(worst['facts']['hop']['suspended_ms'])}\nlongest suspension, {worst['host']}"
    assert [row["data"]["instruction"] for row in look.rows("[data-hop] tbody tr")] == ["1", "2", "3", "4", "5"]


def test_gates_are_the_ledgers(look: Look) -> None:
    look.page("stopped")
    events = look.records["stopped"].events
    ends = [event for event in events if event["event"] == "gate" and event["status"] != "start"]
    shown = look.rows("[data-gate]")
    assert [(int(row["data"]["wave"]), row["data"]["gate"], row["data"]["status"]) for row in shown] == [
        (end["wave"], end["gate"], end["status"]) for end in ends
    ]
    assert [float(row["data"]["seconds"]) for row in shown] == [end["seconds"] for end in ends]
    for row, end in zip(shown, ends, strict=True):
        assert row["cells"][0] == end["gate"]
        assert end["status"] in row["cells"][1]
        assert row["cells"][2:] == [words.duration(end["seconds"]), end["message"]]
    assert [(row["data"]["wave"], row["data"]["status"]) for row in look.rows(".wave")] == [
        ("1", "done"),
        ("2", "stopped"),
        ("3", "waiting"),
    ]


def test_connections_are_the_ledgers(look: Look) -> None:
    look.page("smooth")
    record = look.records["smooth"]
    for member in record.request["hosts"]:
        told = [event["count"] for event in record.events if event.get("host") == member["host"] and "count" in event]
        counts = [member["connections"], *told]
        (row,) = look.rows(f"#connections tr[data-host={member['host']}]")
        assert row["data"]["counts"].split() == list(map(str, counts))
        assert row["cells"][1:4] == [words.count(each) for each in (counts[0], min(counts), counts[-1])]
    (whole,) = look.rows("#connections tr[data-sum]")
    first = sum(member["connections"] for member in record.request["hosts"])
    last = sum(int(row["data"]["counts"].split()[-1]) for row in look.rows("#connections tr[data-host]"))
    assert (whole["cells"][1], whole["cells"][3]) == (words.count(first), words.count(last))


def test_files_options_and_why_it_ended_are_the_ledgers(look: Look) -> None:
    page = look.page("stopped")
    request, end = look.records["stopped"].request, look.records["stopped"].end
    digests = [request["tarball"]["sha256"], *(file["sha256"] for file in (*request["hops"], *request["helpers"]))]
    shown = look.rows("#digests tbody tr")
    assert [row["data"]["digest"] for row in shown] == [row["cells"][3] for row in shown] == digests
    assert end is not None
    why = page.find_element(By.ID, "why").text
    assert end["reason"] in why
    assert page.find_element(By.ID, "next").text == end["next"]
    assert [row["data"]["override"] for row in look.rows("#overrides li")] == [
        "--force",
        "--kill-lingering",
        "--on-failure restart",
        "--no-backup",
    ]
    facts = page.find_element(By.CSS_SELECTOR, ".lead .facts").text
    assert (request["operator"] in facts, "2026-11-24 16:00:00 UTC" in facts) == (True, True)
    assert page.find_element(By.ID, "resumed").text.startswith("1 time, 2026-11-24 17:")
    assert page.find_element(By.ID, "interrupted").text == "1 time"


def test_errors_stand_there_with_what_to_do(look: Look) -> None:
    page = look.page("stopped")
    error = applied(look.records["stopped"])["n1"]["error"]
    said = page.find_element(By.CSS_SELECTOR, "[data-trouble=code_change_failed]").text
    for words_of_it in (error["err_type"], error["message"], error["hint"], "n1"):
        assert words_of_it in said


def test_a_run_without_an_end_says_so(look: Look) -> None:
    for story in ("killed", "blank"):
        page = look.page(story)
        assert page.find_element(By.CSS_SELECTOR, ".lead").get_attribute("data-outcome") == "left"
        assert "the controller was killed" in page.find_element(By.ID, "why").text
    assert page.find_element(By.ID, "nothing").text == "No step was taken on any host."
    assert "0 of 2 hosts done, 2 not begun" in page.find_element(By.CSS_SELECTOR, ".verdict").text


@pytest.mark.parametrize("story", STORIES)
def test_a_phone_shows_it_without_scrolling_sideways(look: Look, story: str) -> None:
    page = look.page(story, PHONE)
    for summary in page.find_elements(By.CSS_SELECTOR, "details:not([open]) > summary"):
        page.execute_script("arguments[0].parentElement.open = true", summary)
    widths = "const root = document.documentElement; return [root.scrollWidth, root.clientWidth]"
    whole, seen = page.execute_script(widths)
    assert whole <= seen
    assert page.execute_script(looking.TOO_WIDE) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_stands_out(look: Look, scheme: str) -> None:
    for story in ("stopped", "killed", "hostile"):
        page = look.page(story, scheme=scheme)
        assert page.execute_script(looking.CONTRASTS) == []
    dark = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (dark == "rgb(16, 20, 26)") == (scheme == "dark")


def test_print_shows_all_that_there_is(look: Look) -> None:
    page = look.page("stopped")
    assert page.execute_script(looking.HIDDEN) != [], "folded on a screen"
    page = look.page("stopped", kind="print", scheme="dark")
    assert page.execute_script(looking.HIDDEN) == []
    assert page.execute_script(looking.CONTRASTS) == []
    page = look.page("stopped", kind="")
    printed = page.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})
    assert printed["data"].startswith("JVBERi"), "a PDF"


def test_what_hosts_say_is_text(look: Look) -> None:
    page = look.page("hostile")
    text = page.find_element(By.TAG_NAME, "body").text
    assert words.shown(EVIL) in text
    assert not set(text) & set("\u202e\x1b\x07\x00")
    kinds = "return [...new Set([...document.querySelectorAll('*')].map(element => element.tagName))]"
    found = set(page.execute_script(kinds))
    handlers = "return [...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames())"
    assert [name for name in page.execute_script(handlers) if name.startswith("on")] == []
    assert found <= set(look.page("stopped").execute_script(kinds)), "they add no element"


def test_the_timeline_says_in_words_what_it_draws(look: Look) -> None:
    page = look.page("stopped")
    pictures = page.find_elements(By.CSS_SELECTOR, "svg:not([aria-hidden])")
    assert pictures
    for picture in pictures:
        assert picture.get_attribute("role") == "img"
        assert picture.get_attribute("aria-label")
    lane = page.find_element(By.CSS_SELECTOR, ".lane[data-lane=n1] svg")
    assert str(lane.get_attribute("aria-label")).startswith("n1, failed: stage ok, 0.6 s")


def test_the_timeline_scales_to_64_hosts(look: Look) -> None:
    for size in (DESK, PHONE):
        page = look.page("many", size)
        boxes = page.execute_script(
            "return [...document.querySelectorAll('.lane[data-lane] svg')].map(e => e.getBoundingClientRect())"
        )
        assert len(boxes) == len(look.records["many"].request["hosts"]) == 64
        assert all(box["width"] > size[0] / 2.5 for box in boxes)
        assert all(before["bottom"] <= after["top"] + 0.5 for before, after in pairwise(boxes))
        assert sum(box["height"] for box in boxes) < 64 * 20
        report = report_of(look.records["many"])
        assert len(page.find_elements(By.CSS_SELECTOR, ".lane[data-lane] rect.bar")) == sum(
            len(host.steps) for host in report.hosts
        )
