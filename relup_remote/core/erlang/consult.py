"""Payload, shipped to hosts (Python 3.6 and up, standard library only): Erlang terms written as text.

What ``file:consult`` reads of .app, .rel and option files: lists, tuples, strings, atoms, integers. Source of the
syntax: the Erlang Reference Manual, chapter "Data Types".
"""

import re
from typing import Any, List

_TOKEN = re.compile(
    r"""\s+ | %[^\n]* | (?P<string>"(?:[^"\\]|\\.)*") | '(?P<quoted>(?:[^'\\]|\\.)*)' | (?P<number>-?\d+)(?![\d\#]|\.\d)
    | (?P<word>[a-z][\w@]*) | (?P<mark>[][{},.]|<<|>>)""",
    re.VERBOSE | re.DOTALL,
)


def read_terms(source: str) -> List[Any]:
    """The terms of `source`: lists, tuples, strings as str, atoms as ``Word``, integers.

    Raises ValueError for anything else, such as funs.
    """
    tokens = _tokens(source)
    terms: List[Any] = []
    while tokens:
        terms.append(_term(tokens))
        if not tokens or not _is_mark(tokens.pop(0), "."):
            raise ValueError("a term does not end with a full stop")
    return terms


class Word(str):
    """An atom."""

    __slots__ = ()


class _Text(str):
    """A string."""

    __slots__ = ()


def _tokens(source: str) -> List[Any]:
    found: List[Any] = []
    at = 0
    while at < len(source):
        match = _TOKEN.match(source, at)
        if match is None:
            raise ValueError("not understood: {!r}".format(source[at : at + 20]))
        at = match.end()
        kind = match.lastgroup
        value = match.group(kind) if kind else ""
        if kind == "string":
            found.append(_Text(re.sub(r"\\(.)", r"\1", value[1:-1])))
        elif kind in ("quoted", "word"):
            found.append(Word(value))
        elif kind == "number":
            found.append(int(value))
        elif kind == "mark" and value not in ("<<", ">>"):
            found.append(value)
    return found


def _term(tokens: List[Any]) -> Any:
    if not tokens:
        raise ValueError("the file ends within a term")
    token = tokens.pop(0)
    if isinstance(token, (Word, _Text, int)):
        return token
    if token not in ("[", "{"):
        raise ValueError("{!r} where a term should begin".format(token))
    close, items = {"[": "]", "{": "}"}[token], []
    while tokens and not _is_mark(tokens[0], close):
        items.append(_term(tokens))
        if tokens and _is_mark(tokens[0], ","):
            tokens.pop(0)
    if not tokens:
        raise ValueError("the file ends within a term")
    tokens.pop(0)
    return items if close == "]" else tuple(items)


def _is_mark(token: Any, mark: str) -> bool:
    # An atom or a string may look just like one.
    return type(token) is str and token == mark
