"""The page in a browser: what it shows is what the ledger says, on any screen, and nobody else hears of it."""

import json
from collections.abc import Iterator, Mapping
from itertools import pairwise

import pytest
from selenium.webdriver.common.by import By

from lab.browser import chromium
from relup_remote.report import words
from relup_remote.report.reading import report_of
from relup_remote.rollout.ledger import Record
from tests.report_page import CONTRASTS, DESK, HIDDEN, PHONE, TOO_WIDE, Look, assert_tells
from tests.unit.report import stories
from tests.unit.report.stories import EVIL

STORIES = ("smooth", "stopped", "killed", "blank", "many", "hostile")


@pytest.fixture(scope="module")
def look(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Look]:
    folder = tmp_path_factory.mktemp("pages")
    with chromium(folder / "profile") as driver:
        yield Look(driver, folder)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Record]:
    """The runs of all stories."""
    folder = tmp_path_factory.mktemp("ledgers")
    return {story: getattr(stories, story)(folder / story / "runs") for story in STORIES}


@pytest.mark.parametrize("story", STORIES)
def test_nothing_is_loaded_and_nothing_complained_of(look: Look, records: Mapping[str, Record], story: str) -> None:
    look.log("performance")
    page = look.page(records[story])
    # The browser has pages of its own, which are slow to come where the machine is busy.
    assert [each for each in look.log("browser") if not each["message"].startswith("chrome://")] == []
    told = [json.loads(entry["message"])["message"] for entry in look.log("performance")]
    asked = [each["params"]["request"]["url"] for each in told if each["method"] == "Network.requestWillBeSent"]
    assert asked == [page.current_url]
    assert page.find_elements(By.CSS_SELECTOR, "script, link, img, iframe, object, base, form") == []
    (policy,) = page.find_elements(By.CSS_SELECTOR, "meta[http-equiv=Content-Security-Policy]")
    assert policy.get_attribute("content") == "default-src 'none'; style-src 'unsafe-inline'"


@pytest.mark.parametrize("story", ["smooth", "stopped", "killed", "blank"])
def test_the_numbers_are_the_ledgers(look: Look, records: Mapping[str, Record], story: str) -> None:
    assert_tells(look, records[story])


def test_the_head_tells_of_overrides_pauses_and_interruptions(look: Look, records: Mapping[str, Record]) -> None:
    page = look.page(records["stopped"])
    assert [row["data"]["override"] for row in look.rows("#overrides li")] == [
        "--force",
        "--kill-lingering",
        "--on-failure restart",
        "--no-backup",
    ]
    assert "2026-11-24 16:00:00 UTC" in page.find_element(By.CSS_SELECTOR, ".lead .facts").text
    assert page.find_element(By.ID, "resumed").text.startswith("1 time, 2026-11-24 17:")
    assert page.find_element(By.ID, "interrupted").text == "1 time"


def test_errors_stand_there_with_what_to_do(look: Look, records: Mapping[str, Record]) -> None:
    page = look.page(records["stopped"])
    error = records["stopped"].rows["n1"]["error"]
    said = page.find_element(By.CSS_SELECTOR, "[data-trouble=code_change_failed]").text
    for words_of_it in (error["err_type"], error["message"], error["hint"], "n1"):
        assert words_of_it in said


def test_a_run_without_an_end_says_so(look: Look, records: Mapping[str, Record]) -> None:
    for story in ("killed", "blank"):
        page = look.page(records[story])
        assert page.find_element(By.CSS_SELECTOR, ".lead").get_attribute("data-outcome") == "left"
        assert "the command that worked on it was killed" in page.find_element(By.ID, "why").text
    assert page.find_element(By.ID, "nothing").text == "No step was taken on any host."
    assert "0 of 2 hosts done, 2 waiting" in page.find_element(By.CSS_SELECTOR, ".verdict").text


@pytest.mark.parametrize("story", STORIES)
def test_a_phone_shows_it_without_scrolling_sideways(look: Look, records: Mapping[str, Record], story: str) -> None:
    page = look.page(records[story], PHONE)
    look.unfold()
    widths = "const root = document.documentElement; return [root.scrollWidth, root.clientWidth]"
    whole, seen = page.execute_script(widths)
    assert whole <= seen
    assert page.execute_script(TOO_WIDE) == []


def test_on_a_phone_tables_are_cards_that_are_seen_whole(look: Look, records: Mapping[str, Record]) -> None:
    page = look.page(records["stopped"], PHONE)
    look.unfold()
    cut = "[...document.querySelectorAll('.scroll')].filter(each => each.scrollWidth > each.clientWidth + 1).length"
    assert page.execute_script(f"return {cut}") == 0
    labels = """return [...document.querySelectorAll('#hosts tbody tr:first-child td')]
      .map(cell => getComputedStyle(cell, '::before').content.replaceAll('"', ''))"""
    assert page.execute_script(labels)[:3] == ["outcome", "from → target", "time"]
    assert look.page(records["stopped"]).execute_script(labels)[0] == "none"


def test_a_phone_breaks_no_word_of_a_command_or_an_instruction(look: Look, records: Mapping[str, Record]) -> None:
    page = look.page(records["stopped"], PHONE)
    look.unfold()
    texts = """return [...document.querySelectorAll('#next .whole, td.long code')].flatMap(each => [...each.childNodes])
      .filter(node => node.nodeType === Node.TEXT_NODE)
      .map(node => { const range = document.createRange(); range.selectNodeContents(node); return [node, range] })
      .map(([node, range]) => [node.textContent, range.getClientRects().length])"""
    found = page.execute_script(texts)
    assert {"--resume", "{restart_application,", "emqx_release}"} <= {text for text, _ in found}
    assert [text for text, lines in found if lines != 1] == []


def test_on_a_phone_a_card_has_no_empty_lines(look: Look, records: Mapping[str, Record]) -> None:
    page = look.page(records["stopped"], PHONE)
    heights = """return [...document.querySelectorAll('#hosts td[data-label=outcome]')]
      .map(cell => cell.clientHeight - cell.firstElementChild.offsetHeight)"""
    assert [height for height in page.execute_script(heights) if height > 8] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_stands_out(look: Look, records: Mapping[str, Record], scheme: str) -> None:
    for story in ("stopped", "killed", "hostile"):
        page = look.page(records[story], scheme=scheme)
        assert page.execute_script(CONTRASTS) == []
    dark = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (dark == "rgb(16, 20, 26)") == (scheme == "dark")


def test_print_shows_all_that_there_is(look: Look, records: Mapping[str, Record]) -> None:
    page = look.page(records["stopped"])
    assert page.execute_script(HIDDEN) != [], "folded on a screen"
    page = look.page(records["stopped"], kind="print", scheme="dark")
    assert page.execute_script(HIDDEN) == []
    assert page.execute_script(CONTRASTS) == []
    page = look.page(records["stopped"], kind="")
    printed = page.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})
    assert printed["data"].startswith("JVBERi"), "a PDF"


def test_what_hosts_say_is_text(look: Look, records: Mapping[str, Record]) -> None:
    page = look.page(records["hostile"])
    text = page.find_element(By.TAG_NAME, "body").text
    assert words.shown(EVIL) in text
    assert not set(text) & set("\u202e\x1b\x07\x00")
    kinds = "return [...new Set([...document.querySelectorAll('*')].map(element => element.tagName))]"
    found = set(page.execute_script(kinds))
    handlers = "return [...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames())"
    assert [name for name in page.execute_script(handlers) if name.startswith("on")] == []
    assert found <= set(look.page(records["stopped"]).execute_script(kinds)), "they add no element"


def test_the_timeline_says_in_words_what_it_draws(look: Look, records: Mapping[str, Record]) -> None:
    page = look.page(records["stopped"])
    pictures = page.find_elements(By.CSS_SELECTOR, "svg:not([aria-hidden])")
    assert pictures
    for picture in pictures:
        assert picture.get_attribute("role") == "img"
        assert picture.get_attribute("aria-label")
    lane = page.find_element(By.CSS_SELECTOR, ".lane[data-lane=n1] svg")
    assert str(lane.get_attribute("aria-label")).startswith("n1, failed: stage ok, 0.6 s")


def test_the_timeline_scales_to_64_hosts(look: Look, records: Mapping[str, Record]) -> None:
    for size in (DESK, PHONE):
        page = look.page(records["many"], size)
        boxes = page.execute_script(
            "return [...document.querySelectorAll('.lane[data-lane] svg')].map(e => e.getBoundingClientRect())"
        )
        assert len(boxes) == len(records["many"].request["hosts"]) == 64
        assert all(box["width"] > size[0] / 2.5 for box in boxes)
        assert all(before["bottom"] <= after["top"] + 0.5 for before, after in pairwise(boxes))
        assert sum(box["height"] for box in boxes) < 64 * 20
        report = report_of(records["many"])
        assert len(page.find_elements(By.CSS_SELECTOR, ".lane[data-lane] rect.bar:not(.turn)")) == sum(
            len(host.steps) for host in report.hosts
        )
