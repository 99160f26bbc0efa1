"""What the tokens of literals stand for.

Source: the Erlang Reference Manual, chapter "Data Types". Where the versions of Erlang/OTP differ, what one of them
takes is taken: the node that evaluates the hop has the last word.
"""

import re

from relup_remote.core.erlang.term import Atom

MAX_DIGITS = 1000
"""Digits of a number that is read. Python's time for longer ones grows with the square of their length."""

_ESCAPE = re.compile(r"\\(?:x\{([0-9A-Fa-f]+)\}|x([0-9A-Fa-f]{2})|([0-7]{1,3})|\^(.)|([^x^]))", re.DOTALL)
_NAMED = {"b": "\b", "d": "\x7f", "e": "\x1b", "f": "\f", "n": "\n", "r": "\r", "s": " ", "t": "\t", "v": "\v"}
_NO_CHARACTER = re.compile("[\ud800-\udfff\ufffe\uffff]")
_TRIPLE = re.compile(r'"{3,}')


class LiteralError(ValueError):
    """A token that looks like a literal and is none. ``line`` is which of its lines is wrong, from 0."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


def unescaped(text: str) -> str:
    """Text between quotes with its escapes resolved. Raises `LiteralError`."""
    if "\\" in text:
        pieces, at = [], 0
        while (escape := text.find("\\", at)) >= 0:
            found = _ESCAPE.match(text, escape)
            if not found:
                raise LiteralError("an escape that is none")
            pieces += [text[at:escape], _character(found)]
            at = found.end()
        text = "".join([*pieces, text[at:]])
    if not text.isascii() and _NO_CHARACTER.search(text):
        raise LiteralError("a character that Unicode has not")
    return text


def _character(escape: "re.Match[str]") -> str:
    braced, hexadecimal, octal, control, other = escape.groups()
    if other is not None:
        return _NAMED.get(other, other)
    if control is not None:
        return "\x7f" if control == "?" else chr(ord(control) & 31)
    digits = octal or (braced or hexadecimal).lstrip("0") or "0"
    if len(digits) > 6 or (code := int(digits, 8 if octal else 16)) > 0x10FFFF:
        raise LiteralError("an escape beyond Unicode")
    return chr(code)


def quoted(token: str) -> str:
    """A string or an atom in quotes. Raises `LiteralError`."""
    return unescaped(token[1:-1])


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
    for number, line in enumerate(lines, start=1):
        if line.strip() and not line.startswith(indentation):
            raise LiteralError("a line that is indented less than the closing quotes", number)
    return "\n".join(line.removesuffix("\r")[len(indentation) :] for line in lines)


def character(token: str) -> int:
    """``$a``. Raises `LiteralError`."""
    return ord(unescaped(token[1:]))


def sigil(token: str) -> str | bytes:
    """``~b"..."`` and its like: a string for the prefixes s and S, else a binary. Raises `LiteralError`."""
    prefix = token[1] if token[1] in "bsBS" else ""
    content = token[1 + len(prefix) :]
    if content.startswith('"""'):
        text = triple_quoted(content)
        text = unescaped(text) if prefix in ("b", "s") else text
    else:
        text = content[1:-1] if prefix in ("B", "S") else quoted(content)
    return text if prefix in ("s", "S") else text.encode("utf-8")


def integer(token: str) -> int | None:
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
        raise LiteralError("an integer with a digit that its base has not") from None


def floating(token: str) -> float | None:
    """A float; None if it is too long. Raises `LiteralError`."""
    if len(token) > MAX_DIGITS:
        return None
    try:
        value = float(token.replace("_", ""))
    except ValueError:
        raise LiteralError("a float without an exponent after its e") from None
    if value in (float("inf"), float("-inf")):
        raise LiteralError("a float that is too large")
    return value
