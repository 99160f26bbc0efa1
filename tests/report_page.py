"""The page of a report in a browser: how to look at it, and that its numbers are the ledger's.

The scripts work out in the page what is asked of it, and give plain data back.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from lab.browser import media, resize
from relup_remote import report as reports
from relup_remote.report import words
from relup_remote.rollout.ledger import Record
from relup_remote.summary.text import duration

PHONE, DESK = (360, 740), (1200, 800)


class Look:
    """A browser, and a folder for pages."""

    def __init__(self, driver: Chrome, folder: Path) -> None:
        self.driver = driver
        self._folder = folder

    def page(self, record: Record, size: tuple[int, int] = DESK, **how: str) -> Chrome:
        """Show the page of a run; ``how`` is that of `media`."""
        path = self._folder / f"{record.path.parent.parent.name}-{record.run}.html"
        if not path.exists():
            with path.open("w", encoding="utf-8") as out:
                reports.write(record, "html", out)
        media(self.driver, **how)
        resize(self.driver, *size)
        self.driver.get(path.as_uri())
        return self.driver

    def unfold(self) -> None:
        """Open all that is folded."""
        self.driver.execute_script("document.querySelectorAll('details').forEach(each => { each.open = true })")

    def rows(self, selector: str) -> list[dict[str, Any]]:
        """What the elements say, see `ROWS`."""
        found: list[dict[str, Any]] = self.driver.execute_script(ROWS, selector)
        return found

    def log(self, kind: str) -> list[dict[str, Any]]:
        """What the browser has logged since it was asked last."""
        entries: list[dict[str, Any]] = self.driver.get_log(kind)  # type: ignore[no-untyped-call]
        return entries


class Truth:
    """What a ledger says, read from its files by nothing that the report is made with."""

    def __init__(self, path: Path) -> None:
        self.request: Mapping[str, Any] = json.loads((path / "request.json").read_text())
        self.events = [json.loads(line) for line in (path / "events.jsonl").read_text().splitlines()]

    def of(self, kind: str, **facts: object) -> list[dict[str, Any]]:
        """The events of a kind with these facts."""
        fitting = (event for event in self.events if event["event"] == kind)
        return [event for event in fitting if all(event.get(name) == value for name, value in facts.items())]

    @property
    def hosts(self) -> list[str]:
        """All hosts, in order."""
        return [member["host"] for member in self.request["hosts"]]

    @property
    def rows(self) -> dict[str, dict[str, Any]]:
        """The last row of each host whose turn came."""
        ends = [event for event in self.of("host", status="end") if event["phase"] in ("apply", "cleanup")]
        return {end["host"]: end["row"] for end in ends}


def assert_tells(look: Look, record: Record) -> None:
    """The page of a run shows what its ledger says, in words and in what programs read of it."""
    look.page(record)
    look.unfold()
    truth = Truth(record.path)
    _hosts(look, truth)
    _steps(look, truth)
    _suspensions(look, truth)
    _gates(look, truth)
    _connections(look, truth)
    _files(look, truth)
    _end(look, truth)


def _hosts(look: Look, truth: Truth) -> None:
    shown = {row["data"]["host"]: row for row in look.rows("#hosts tbody tr")}
    assert list(shown) == truth.hosts
    sources = {member["host"]: member["from"] for member in truth.request["hosts"]}
    for host, row in truth.rows.items():
        data, cells = shown[host]["data"], shown[host]["cells"]
        assert (data["outcome"], float(data["seconds"])) == (row["outcome"], row["seconds"])
        assert cells[0] == host
        assert row["outcome"] in cells[1] or "nothing to do" in cells[1]
        assert f"{sources[host]} → {row['target']}" in cells[2]
        assert cells[3] == duration(row["seconds"])


def _steps(look: Look, truth: Truth) -> None:
    for host in truth.hosts:
        ends = [event for event in truth.of("step", host=host) if event["status"] != "start"]
        shown = [row for row in look.rows("#steps tbody tr") if row["data"]["host"] == host and row["data"]["seconds"]]
        assert [(row["data"]["step"], row["data"]["status"], float(row["data"]["seconds"])) for row in shown] == [
            (end["step"], end["status"], end["seconds"]) for end in ends
        ]
        assert [row["cells"][5] for row in shown] == [duration(end["seconds"]) for end in ends]


def _suspensions(look: Look, truth: Truth) -> None:
    hops = {host: row["facts"]["hop"] for host, row in truth.rows.items() if row["facts"].get("hop")}
    shown = {row["data"]["host"]: row for row in look.rows("#standstill tbody tr")}
    assert set(shown) == set(hops)
    for host, hop in hops.items():
        data, cells = shown[host]["data"], shown[host]["cells"]
        assert (float(data["suspendedMs"]), float(data["swapMs"])) == (hop["suspended_ms"], hop["swap_ms"])
        assert cells[1] == words.milliseconds(hop["suspended_ms"])
        assert cells[3] == words.milliseconds(hop["swap_ms"])
    if hops:
        worst = max(hops, key=lambda host: float(hops[host]["suspended_ms"]))
        tile = f"{words.milliseconds(hops[worst]['suspended_ms'])}\nlongest suspension, {worst}"
        assert tile in [element.text for element in look.driver.find_elements(By.CSS_SELECTOR, ".tile")]


def _gates(look: Look, truth: Truth) -> None:
    tried = [event for event in truth.of("gate") if event["status"] in ("open", "closed")]
    tried.sort(key=lambda event: int(event["wave"]))
    shown = [row for row in look.rows("[data-gate]") if row["data"]["status"] != "unfinished"]
    for row, end in zip(shown, tried, strict=True):
        data, cells = row["data"], row["cells"]
        assert (int(data["wave"]), data["gate"], data["status"]) == (end["wave"], end["gate"], end["status"])
        assert float(data["seconds"]) == end["seconds"]
        assert cells[0] == end["gate"]
        assert end["status"] in cells[1]
        assert cells[2:] == [duration(end["seconds"]), " ".join(end["message"].split())]


def _connections(look: Look, truth: Truth) -> None:
    last = {}
    for member in truth.request["hosts"]:
        planned = [] if member["connections"] is None else [member["connections"]]
        counts = [event["count"] for event in truth.of("connections", host=member["host"])] or planned
        shown = [row for row in look.rows("#connections tr") if row["data"].get("host") == member["host"]]
        assert [row["data"]["counts"].split() for row in shown] == ([list(map(str, counts))] if counts else [])
        if counts:
            last[member["host"]] = counts[-1]
            assert shown[0]["cells"][1:4] == [words.count(each) for each in (counts[0], min(counts), counts[-1])]
    if last:
        (whole,) = look.rows("#connections tr[data-sum]")
        assert whole["cells"][3] == words.count(sum(last.values()))


def _files(look: Look, truth: Truth) -> None:
    tarball = [truth.request["tarball"]["sha256"]] if truth.request["tarball"] else []
    digests = tarball + [file["sha256"] for file in (*truth.request["hops"], *truth.request["helpers"])]
    hops = [event["row"]["facts"].get("hop") or {} for event in truth.events if "row" in event]
    digests += dict.fromkeys(hop["sha256"] for hop in hops if hop.get("sha256"))
    shown = look.rows("#digests tbody tr")
    assert [row["data"]["digest"] for row in shown] == [row["cells"][3] for row in shown] == digests


def _end(look: Look, truth: Truth) -> None:
    (lead,) = look.driver.find_elements(By.CSS_SELECTOR, ".lead")
    assert truth.request["operator"] in lead.text
    told = [event for event in truth.events if event["event"] in ("run", "end")][-1:]
    end = told[0] if told and told[0]["event"] == "end" else None
    assert lead.get_attribute("data-outcome") == (end["outcome"] if end else "left")
    if end and end["outcome"] != "done":
        assert end["reason"] in look.driver.find_element(By.ID, "why").text
        assert look.driver.find_element(By.ID, "next").text == end["next"]


CONTRASTS = """
const channel = v => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const parse = text => { const n = text.match(/[\\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
function behind(element) {
  for (let at = element; at; at = at.parentElement) {
    const color = parse(getComputedStyle(at).backgroundColor);
    if (color[3] === 1) return color;
    if (color[3] !== 0) throw new Error("a background that shines through: " + at.outerHTML.slice(0, 80));
  }
  return [255, 255, 255, 1];
}
const bad = [];
for (const element of document.querySelectorAll("body *")) {
  if (element.closest("svg")) continue;
  if (![...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim())) continue;
  const [ink, page] = [parse(getComputedStyle(element).color), behind(element)].map(luminance);
  const ratio = (Math.max(ink, page) + 0.05) / (Math.min(ink, page) + 0.05);
  if (ratio < 4.5) bad.push(element.textContent.trim().slice(0, 40) + ": " + ratio.toFixed(2));
}
return bad;
"""
"""Texts that stand out less from what is behind them than WCAG AA asks for."""

HIDDEN = """
return [...document.querySelectorAll("body *:not(svg *)")]
  .filter(element => [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim()))
  .filter(element => !element.getClientRects().length || !element.checkVisibility({contentVisibilityAuto: true}))
  .map(element => element.textContent.trim().slice(0, 60));
"""
"""Texts that can't be seen."""

TOO_WIDE = """
return [...document.querySelectorAll("body *")]
  .filter(element => !element.closest(".scroll") && element.getBoundingClientRect().right > innerWidth + 0.5)
  .map(element => element.outerHTML.slice(0, 80));
"""
"""Elements that reach beyond the screen, but for those that can be scrolled within the page."""

ROWS = """
return [...document.querySelectorAll(arguments[0])].map(element => ({
  data: {...element.dataset},
  cells: [...element.children].map(cell => cell.innerText.trim().replace(/\\s+/g, " ")),
}));
"""
"""What elements say in data- attributes, and what each of their children shows."""
