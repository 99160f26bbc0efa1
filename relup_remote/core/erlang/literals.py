"""Payload, shipped to hosts (Python 3.6 and up, standard library only): what tokens of literals stand for in Erlang.

Source: the Erlang Reference Manual, chapter "Data Types". Where the versions of Erlang/OTP differ, what one of them
takes is taken: the node that evaluates the hop has the last word.
"""

import re
from typing import Match, NoReturn, Optional, Union

from .term import Atom

MAX_DIGITS = 1000
"""Digits of an integer that is read. Python's time for longer ones grows with the square of their length."""

_ESCAPE = re.compile(r"\\(?:x\{([0-9A-Fa-f]+)\}|x([0-9A-Fa-f]{2})|([0-7]{1,3})|\^(.)|([^x^]))", re.DOTALL)
_NAMED = {"b": "\b", "d": "\x7f", "e": "\x1b", "f": "\f", "n": "\n", "r": "\r", "s": " ", "t": "\t", "v": "\v"}
_NO_CHARACTER = re.compile("[\ud800-\udfff\ufffe\uffff]")
_TRIPLE = re.compile(r'"{3,}')


class LiteralError(ValueError):
    """A token that looks like a literal and is none. ``at`` is where in it that shows, an offset."""

    def __init__(self, message: str, at: int = 0) -> None:
        super().__init__(message)
        self.at = at


def unescaped(token: str, start: int, end: int) -> str:
    """What stands in a token from ``start`` up to ``end``, with its escapes resolved. Raises `LiteralError`."""
    text = token[start:end]
    if "\\" in text:
        pieces, at = [], start
        while True:
            escape = token.find("\\", at, end)
            if escape < 0:
                break
            found = _ESCAPE.match(token, escape, end)
            if not found:
                raise LiteralError("an unknown escape", escape)
            pieces += [token[at:escape], _character(found)]
            at = found.end()
        text = "".join([*pieces, token[at:end]])
    wrong = _NO_CHARACTER.search(text)
    if wrong:
        # Escapes can't make such characters, so it stands in the token as it is.
        raise LiteralError("a character that Unicode does not have", token.find(wrong.group()))
    return text


def _character(escape: "Match[str]") -> str:
    braced, hexadecimal, octal, control, other = escape.groups()
    if other is not None:
        return _NAMED.get(other, other)
    if control is not None:
        return "\x7f" if control == "?" else chr(ord(control) & 31)
    digits = octal or (braced or hexadecimal).lstrip("0") or "0"
    code = int(digits, 8 if octal else 16) if len(digits) <= 6 else 0x110000
    if code > 0x10FFFF or _NO_CHARACTER.match(chr(code)):
        raise LiteralError("an escape for a character that Unicode does not have", escape.start())
    return chr(code)


def quoted(token: str) -> str:
    """A string or an atom in quotes. Raises `LiteralError`."""
    return unescaped(token, 1, len(token) - 1)


def atom(name: str) -> Atom:
    """An atom of a name. Raises `LiteralError`."""
    if len(name) > 255:
        raise LiteralError("an atom of more than 255 characters")
    return Atom(name)


def triple_quoted(token: str) -> str:
    """A triple-quoted string, without the indentation of its last line. Raises `LiteralError`."""
    quotes = _TRIPLE.match(token)
    lines = token.split("\n")[1:]
    indentation = lines.pop()[: -quotes.end()] if quotes else ""
    at = token.index("\n") + 1
    for line in lines:
        if line.strip() and not line.startswith(indentation):
            raise LiteralError("a line that is indented less than the closing quotes", at)
        at += len(line) + 1
    return "\n".join((line[:-1] if line.endswith("\r") else line)[len(indentation) :] for line in lines)


def unclosed(token: str) -> NoReturn:
    """The quotes that open a triple-quoted string which nothing closes. Raises `LiteralError`."""
    raise LiteralError("unterminated string")


def character(token: str) -> int:
    """``$a``. Raises `LiteralError`."""
    return ord(unescaped(token, 1, len(token)))


def sigil(token: str) -> Union[str, bytes]:
    """``~b"..."`` and its like: a string for the prefixes s and S, else a binary. Raises `LiteralError`."""
    prefix = token[1] if token[1] in "bsBS" else ""
    content = token[1 + len(prefix) :]
    if content.startswith('"""'):
        text = triple_quoted(content)
        text = unescaped(text, 0, len(text)) if prefix in ("b", "s") else text
    else:
        text = content[1:-1] if prefix in ("B", "S") else quoted(content)
    return text if prefix in ("s", "S") else text.encode("utf-8")


def integer(token: str) -> Optional[int]:
    """An integer, in a base or not; None if it is too long. Raises `LiteralError`."""
    digits = token.replace("_", "")
    base, has_base, value = digits.rpartition("#")
    if has_base and not (len(base) < 3 and 2 <= int(base) <= 36):
        raise LiteralError("an integer with a base that is not from 2 to 36")
    if len(digits) > MAX_DIGITS:
        return None
    try:
        return int(value, int(base) if has_base else 10)
    except ValueError:
        raise LiteralError("an integer with a digit that its base does not have") from None


def floating(token: str) -> float:
    """A float. Raises `LiteralError`."""
    try:
        value = float(token.replace("_", ""))
    except ValueError:
        raise LiteralError("a float without an exponent after its e") from None
    if value == float("inf"):
        raise LiteralError("a float that is too large")
    return value
