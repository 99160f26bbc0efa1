"""Whether what is read of a file is what Erlang makes of it."""

from typing import Any

from relup_remote.hops.reading import ReadError, Script, decoded, read
from relup_remote.hops.reading.values import Dynamic, ImproperList, Map, Term, is_string

Outcome = Script | ReadError


def outcome(content: bytes, otp: int | None = None) -> Outcome:
    """What the reader makes of a file, for the major version ``otp`` of Erlang/OTP or for any."""
    try:
        return read(decoded(content), otp)
    except ReadError as error:
        return error


def agrees(ours: Outcome, script: Any, consult: Any) -> bool:
    """Whether the reader agrees with what one Erlang answers; see `answers.script`."""
    match script:
        case ("ok", value):
            if isinstance(ours, ReadError) or not ours.values or not is_value(ours.values[-1], value):
                return False
        case ("syntax", line):
            return isinstance(ours, ReadError) and (ours.line == line or _is_before(ours, line))
        case "no_text":
            return isinstance(ours, ReadError)
        case "empty":
            return isinstance(ours, Script) and not ours.values
        case "failed":
            # What the reader says is whole has to be that; what is not bound is.
            return isinstance(ours, ReadError) or not ours.is_complete
    assert isinstance(ours, Script)
    if isinstance(consult, tuple) and consult[0] == "ok":
        return len(ours.values) == len(consult[1]) and all(map(is_value, ours.values, consult[1]))
    return consult == "bad_term" and ours.is_script


def _is_before(ours: ReadError, line: int) -> bool:
    """Whether ours is what Erlang stumbles after: a semicolon, since it parses a form as the clause of a function, or a
    word that it reserves."""
    return ours.line <= line and (ours.message == "syntax error before ';'" or "is reserved since" in ours.message)


def is_value(term: Term, value: Any) -> bool:
    """Whether a term that was read is a value of Erlang's, wherever it is not left to a VM."""
    if isinstance(term, Dynamic):
        return True
    ours = term.value
    if is_string(term):
        return bool([ord(char) for char in ours] == value)
    if type(ours) is list:
        return _are_elements(ours, value)
    if isinstance(ours, ImproperList):
        return (
            isinstance(value, ImproperList)
            and _are_elements(ours.items, value.items)
            and is_value(ours.tail, value.tail)
        )
    if type(ours) is tuple:
        return type(value) is tuple and len(ours) == len(value) and all(map(is_value, ours, value))
    if isinstance(ours, Map):
        return _are_pairs(ours, value)
    return type(ours) is type(value) and repr(ours) == repr(value)


def _are_elements(terms: list[Term], value: Any) -> bool:
    spliced = [index for index, term in enumerate(terms) if isinstance(term, Dynamic) and term.spliced]
    if not spliced:
        return type(value) is list and len(terms) == len(value) and all(map(is_value, terms, value))
    items = value.items if isinstance(value, ImproperList) else value
    after = len(terms) - spliced[-1] - 1
    return (
        type(items) is list
        and len(items) >= spliced[0] + after
        and all(map(is_value, terms, items[: spliced[0]]))
        and all(map(is_value, terms[len(terms) - after :], items[len(items) - after :]))
    )


def _are_pairs(ours: Map, value: Any) -> bool:
    if not isinstance(value, dict | Map):
        return False
    pairs = value.pairs if isinstance(value, Map) else list(value.items())
    # Of those with the same key the last counts, and each of Erlang's has to be one of them.
    found = [next((mine for mine in reversed(ours.pairs) if is_value(mine[0], key)), None) for key, _ in pairs]
    has_unknown = any(isinstance(key, Dynamic) for key, _ in ours.pairs)
    return has_unknown or (
        all(mine is not None and is_value(mine[1], theirs) for mine, (_, theirs) in zip(found, pairs, strict=True))
        and all(any(is_value(key, theirs) for theirs, _ in pairs) for key, _ in ours.pairs)
    )
