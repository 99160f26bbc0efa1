"""What a JSON value has to be like, as data: shapes that check a value and name the first place where it does not fit.

pydantic, msgspec and jsonschema were weighed. Each would do. All three bring compiled code to the machine from which
clusters are upgraded (jsonschema by rpds), and none bounds what a line costs before it is parsed, which is the larger
part of what is needed here. The rest is small, and tests make values from the shapes, fitting ones and others.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

VALUES = 1_000_000
"""Values that a line of JSON may hold. Each costs about a hundred bytes once it is read."""

DEPTH = 100
"""How deep values may be nested."""

LARGEST = 1 << 10_000
"""No whole number may be larger, also where any value is taken: others could not read it."""

MANY = 100_000
"""Items of a list or a mapping, unless its shape says otherwise."""

LAST_MOMENT = 253_402_300_799_999
"""The last millisecond of the year 9999: no calendar goes on after it."""

LONG = 1e12
"""A number of seconds, bytes or connections that can't be meant."""


class Unfit(ValueError):
    """A value does not fit. ``place`` is where (``facts.nodes[3]``, empty for all of it), ``why`` what is wrong."""

    def __init__(self, place: str, why: str) -> None:
        super().__init__(f"{place}: {why}" if place else why)
        self.place = place
        self.why = why


class NotJson(Unfit):
    """Bytes that are no JSON at all, as a line that was cut short."""


class Shape(Protocol):
    """A shape. ``kind`` says in words what fits it."""

    @property
    def kind(self) -> str: ...

    def check(self, value: Any, place: str = "") -> None:
        """Raises `Unfit`."""


def parsed(line: bytes) -> Any:
    """The JSON value in a line.

    Raises `NotJson` for what is no JSON. Raises another `Unfit` for NaN and infinity (RFC 8259 knows neither), for text
    that is not Unicode, and for what is too large, too deep or too much to be meant. A line with too many values is
    not even read.
    """
    if sum(map(line.count, (b",", b"[", b"{"))) > VALUES:
        raise Unfit("", f"has more than {VALUES} values")
    try:
        value = json.loads(line.decode("utf-8"), parse_constant=_no_number)
    except UnicodeDecodeError:
        raise NotJson("", "is not UTF-8") from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:
        raise error if isinstance(error, Unfit) else NotJson("", "is not JSON") from None
    if _DOUBTFUL.search(line) or line.count(b"[") + line.count(b"{") > DEPTH:
        _bounded(value)
    return value


_DOUBTFUL = re.compile(rb"\\u[dD]|[0-9][eE][+-]?[0-9]{3}|[0-9]{200}")
"""A line without any of these, and with few brackets, can't go beyond a bound. Most are like that, and need no look."""


def _no_number(word: str) -> None:
    raise Unfit("", f"has {word}, which is not a number")


def _bounded(value: Any) -> None:
    """Raises `Unfit` for a value within ``value`` that can't be meant. It does not recurse: depth is what it checks."""
    level = [value]
    for _ in range(DEPTH):
        level = [inner for each in level for inner in _parts(each)]
        if not level:
            return
    raise _too_deep()


def _too_deep() -> Unfit:
    return Unfit("", f"is nested more than {DEPTH} deep")


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value
        yield from value.values()
    elif isinstance(value, list):
        yield from value
    elif isinstance(value, str):
        # A half of a surrogate pair can be written in JSON, but nowhere else.
        if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
            raise Unfit("", "has text that is not Unicode")
    elif isinstance(value, float):
        if value in (float("inf"), float("-inf")):
            raise Unfit("", "has a number that is too large")
    elif isinstance(value, int) and not -LARGEST <= value <= LARGEST:
        raise Unfit("", "has a number that is too large")


@dataclass(frozen=True)
class Anything:
    """Any value."""

    kind = "any value"

    def check(self, value: Any, place: str = "") -> None:
        """Raises nothing."""


@dataclass(frozen=True)
class Text:
    """Text."""

    kind = "text"

    def check(self, value: Any, place: str = "") -> None:
        """Raises `Unfit`."""
        if not isinstance(value, str):
            raise _unfit(self, value, place)


@dataclass(frozen=True)
class Flag:
    """True or false."""

    kind = "true or false"

    def check(self, value: Any, place: str = "") -> None:
        """Raises `Unfit`."""
        if not isinstance(value, bool):
            raise _unfit(self, value, place)


@dataclass(frozen=True)
class Number:
    """A number from 0 to ``high``; ``whole`` takes no fractions."""

    high: float = LONG
    whole: bool = False

    @property
    def kind(self) -> str:
        """What fits."""
        return f"a {'whole ' if self.whole else ''}number from 0 to {self.high:.15g}"

    def check(self, value: Any, place: str = "") -> None:
        """Raises `Unfit`."""
        kinds = int if self.whole else int | float
        if isinstance(value, bool) or not isinstance(value, kinds) or not 0 <= value <= self.high:
            raise _unfit(self, value, place)


COUNT = Number(whole=True)
SIZE = Number(high=(1 << 63) - 1, whole=True)
"""What a file's size or an offset in it can be."""

MOMENT = Number(high=LAST_MOMENT, whole=True)
"""Milliseconds since the epoch."""


@dataclass(frozen=True)
class OneOf:
    """One of some words."""

    words: tuple[str, ...]

    @property
    def kind(self) -> str:
        """What fits."""
        return " or ".join(self.words) if len(self.words) <= 6 else "a word that is known"

    def check(self, value: Any, place: str = "") -> None:
        """Raises `Unfit`."""
        if not isinstance(value, str) or value not in self.words:
            raise _unfit(self, value, place)


@dataclass(frozen=True)
class Maybe:
    """Null, or what fits another shape."""

    shape: Shape

    @property
    def kind(self) -> str:
        """What fits."""
        return f"{self.shape.kind} or null"

    def check(self, value: Any, place: str = "") -> None:
        """Raises `Unfit`."""
        if value is not None:
            self.shape.check(value, place)


@dataclass(frozen=True)
class ListOf:
    """A list of at most ``most`` items of one shape."""

    shape: Shape
    most: int = MANY

    @property
    def kind(self) -> str:
        """What fits."""
        return f"a list of at most {self.most}"

    def check(self, value: Any, place: str = "") -> None:
        """Raises `Unfit`."""
        if not isinstance(value, list) or len(value) > self.most:
            raise _unfit(self, value, place)
        for number, item in enumerate(value):
            self.shape.check(item, f"{place}[{number}]")


@dataclass(frozen=True)
class Record:
    """A mapping with ``fields``, and where they are there with ``optional`` ones; ``others`` are taken as they come."""

    fields: Mapping[str, Shape] = field(default_factory=dict)
    optional: Mapping[str, Shape] = field(default_factory=dict)
    most: int = MANY

    kind = "a mapping"

    def check(self, value: Any, place: str = "") -> None:
        """Raises `Unfit`."""
        if not isinstance(value, dict) or len(value) > self.most:
            raise _unfit(self, value, place)
        before = f"{place}." if place else ""
        for name, shape in self.fields.items():
            if name not in value:
                raise Unfit(f"{before}{name}", "is missing")
            shape.check(value[name], f"{before}{name}")
        for name, shape in self.optional.items():
            if name in value:
                shape.check(value[name], f"{before}{name}")


OBJECT = Record()
"""Any mapping."""


def _unfit(shape: Shape, value: Any, place: str) -> Unfit:
    return Unfit(place, f"should be {shape.kind}, and is {_shown(value)}")


def _shown(value: Any) -> str:
    """What a value is, in a few words that are safe to show."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, dict | list):
        return f"{'a mapping' if isinstance(value, dict) else 'a list'} of {len(value)}"
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
