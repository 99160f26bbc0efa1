"""The boundary: what a host may say, and the one place where it is checked.

A core says events, one line of JSON each (`relup_remote.core.protocol`), and a result as the last of them. All that is
behind this boundary relies on the shapes here, and looks no more. What a shape does not name is passed on as it came:
it may be shown, and nothing else is done with it.
"""

from typing import Any

from relup_remote.core.protocol import ERRORS, OUTCOMES, Failure
from relup_remote.schema import (
    COUNT,
    MOMENT,
    OBJECT,
    SIZE,
    Anything,
    Flag,
    ListOf,
    Maybe,
    Number,
    OneOf,
    Record,
    Shape,
    Text,
    Unfit,
    parsed,
)

Event = dict[str, Any]

LONGEST_LINE = 16 << 20
"""Bytes of a line, measured while it comes in: a history of ten thousand attempts has fewer."""

MOST_EVENTS = 200_000
"""Events of one request: a hop of a thousand instructions has some thousands."""

MOST_STEPS = 1000
"""Steps of one request."""

TEXT, MAYBE_TEXT = Text(), Maybe(Text())
TEXTS = ListOf(TEXT)
MAYBE_COUNT, MAYBE_NUMBER, MAYBE_MOMENT = Maybe(COUNT), Maybe(Number()), Maybe(MOMENT)

ERROR = Record({"err_type": OneOf(tuple(ERRORS)), "message": TEXT, "hint": TEXT, "stage": MAYBE_TEXT, "detail": OBJECT})
WARNING = Record(
    {"message": TEXT}, {"err_type": MAYBE_TEXT, "hint": MAYBE_TEXT, "stage": MAYBE_TEXT, "detail": Maybe(OBJECT)}
)
STEP = Record(
    {
        "step": TEXT,
        "status": OneOf(("ok", "unchanged", "skipped", "failed")),
        "seconds": Number(),
        "detail": Record(optional={"aside": TEXTS, "removed": TEXTS}),
    }
)
BACKUP = Record(
    {
        "name": TEXT,
        "whole": Flag(),
        "why": MAYBE_TEXT,
        "cut_short": Flag(),
        "at": MAYBE_MOMENT,
        "node": MAYBE_TEXT,
        "version": MAYBE_TEXT,
        "bytes": Maybe(SIZE),
    },
    {"ahead": Flag()},
)
LOCK = Record({"run": TEXT, "operator": TEXT, "why": TEXT, "since": MAYBE_MOMENT}, {"by_hand": Maybe(Flag())})
ATTEMPT = Record(
    {
        "run": MAYBE_TEXT,
        "operator": MAYBE_TEXT,
        "started_at": MOMENT,
        "finished_at": MAYBE_MOMENT,
        "from_vsn": MAYBE_TEXT,
        "target_vsn": MAYBE_TEXT,
        "status": MAYBE_TEXT,
        "result": MAYBE_TEXT,
        "source": MAYBE_TEXT,
    },
    {"options": OBJECT, "extra": OBJECT},
)
INSTRUCTION = Record(
    optional={
        "n": MAYBE_COUNT,
        "text": MAYBE_TEXT,
        "does": MAYBE_TEXT,
        "status": MAYBE_TEXT,
        "seconds": MAYBE_NUMBER,
        "window_ms": MAYBE_NUMBER,
    }
)
HOP = Record(
    optional={
        "file": MAYBE_TEXT,
        "from": MAYBE_TEXT,
        "target": MAYBE_TEXT,
        "sha256": MAYBE_TEXT,
        "term": MAYBE_TEXT,
        "instructions": ListOf(INSTRUCTION),
        "seconds": MAYBE_NUMBER,
        "suspended_ms": MAYBE_NUMBER,
        "swap_ms": MAYBE_NUMBER,
    }
)
THING = Record({"path": TEXT, "bytes": SIZE})
FACTS = Record(
    optional={
        "backup": Maybe(BACKUP),
        "backup_of_base": Maybe(BACKUP),
        "backups": ListOf(BACKUP),
        "boot": Maybe(Record({"said": TEXTS}, {"tree": TEXT, "paths": OBJECT, "problems": TEXTS, "proof": MAYBE_TEXT})),
        "bytes": SIZE,
        "bytes_to_send": Maybe(SIZE),
        "clearable": Maybe(Record({"journal": MAYBE_COUNT, "plugin": MAYBE_COUNT})),
        "cluster": Maybe(Record(optional={"running": Maybe(TEXTS), "stopped": Maybe(TEXTS)})),
        "cluster_lock": Maybe(LOCK),
        "connections": MAYBE_COUNT,
        "connections_before": MAYBE_COUNT,
        "history": ListOf(ATTEMPT),
        "hop": Maybe(HOP),
        "link": MAYBE_TEXT,
        "marker": MAYBE_TEXT,
        "nodes": Maybe(TEXTS),
        "otp": Anything(),
        "prepared": Flag(),
        "reason": MAYBE_TEXT,
        "restore_left": MAYBE_TEXT,
        "recovered": ListOf(Record({"message": TEXT})),
        "restored": Maybe(BACKUP),
        "role": Maybe(OneOf(("core", "replicant"))),
        "state": MAYBE_TEXT,
        "state_text": MAYBE_TEXT,
        "trees": ListOf(THING),
        "would_remove": ListOf(THING),
    }
)
"""The facts that something relies on, whichever command tells them."""

_STEP_TOLD = Record(
    {"step": TEXT, "status": OneOf(("start", "ok", "unchanged", "skipped", "failed"))},
    {"seconds": Number(), "detail": STEP.fields["detail"]},
)

EVENTS: dict[str, Shape] = {
    "core": Record(
        optional={
            "have": Flag(),
            "sudo": Flag(),
            "became": Flag(),
            "ready": Flag(),
            "bytecode": TEXT,
            "error": Record({"err_type": OneOf(tuple(ERRORS))}, {"message": MAYBE_TEXT, "detail": Maybe(OBJECT)}),
        }
    ),
    "hello": Record(
        {"pid": COUNT, "python": TEXT, "user": TEXT},
        {"machine": Record({"id": MAYBE_TEXT, "boot": MAYBE_TEXT})},
    ),
    "step": _STEP_TOLD,
    "progress": Record({"step": TEXT, "done": Number(), "total": Number()}, {"unit": MAYBE_TEXT, "text": MAYBE_TEXT}),
    "want": Record({"file": TEXT, "offset": SIZE, "bytes": SIZE}),
    "has": Record({"file": TEXT}),
    "note": Record({"message": TEXT}),
    "alive": OBJECT,
    "result": Record(
        {
            "outcome": OneOf(tuple(OUTCOMES)),
            "node": MAYBE_TEXT,
            "from": MAYBE_TEXT,
            "target": MAYBE_TEXT,
            "running": MAYBE_TEXT,
            "seconds": Number(),
            "steps": ListOf(STEP, MOST_STEPS),
            "error": Maybe(ERROR),
            "problems": ListOf(ERROR),
            "warnings": ListOf(WARNING),
            "facts": FACTS,
        }
    ),
}
"""What a core may say, by the name of the event."""


def event(line: bytes) -> Event | None:
    """The event in a line; None if it is none: a word of someone else's.

    Raises `Failure` (``malformed_answer``) for an event that is not as it has to be; it says where, and what.
    """
    try:
        said = parsed(line)
    except Unfit as unfit:
        # What looks like an event is one that went wrong; the rest is noise, of login shells above all.
        if line.lstrip().startswith(b'{"') and b'"event"' in line:
            raise malformed("", unfit) from None
        return None
    kind = said.get("event") if isinstance(said, dict) else None
    if not isinstance(kind, str):
        return None
    try:
        if kind not in EVENTS:
            raise Unfit("event", "is not an event that our program on the host sends")
        EVENTS[kind].check(said)
        _together(said)
    except Unfit as unfit:
        raise malformed(kind, unfit) from None
    return dict(said)


def _together(said: Event) -> None:
    """Raises `Unfit` where fields that fit by themselves do not fit each other."""
    if said["event"] == "result" and (said["error"] is None) != (OUTCOMES[said["outcome"]] == 0):
        raise Unfit("error", f"contradicts the outcome {said['outcome']}")
    if said["event"] == "step" and said["status"] != "start" and "seconds" not in said:
        raise Unfit("seconds", "is missing")


def malformed(kind: str, unfit: Unfit) -> Failure:
    """The failure of a host that said something else than its core would; ``kind`` is the event, empty if unknown."""
    what = f"The host's event {kind}" if kind in EVENTS else "What the host said"
    message = f"{what} is not accepted: {unfit}."
    return Failure("malformed_answer", message, detail={"event": kind[:60], "at": unfit.place, "why": unfit.why})
