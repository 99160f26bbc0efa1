"""Payload, shipped to hosts (Python 3.6 and up, standard library only): one setting out of a node's emqx.conf.

The file is HOCON (https://github.com/lightbend/config/blob/main/HOCON.md), of which only as much is understood as tells
where a setting is and that its value is a plain text. The node's own reader is in its VM, and the node is down.
"""

import re
from typing import Iterator, List, Optional, Tuple

_WORD = re.compile(
    r'(?P<space>[ \t\r]+|#[^\n]*|//[^\n]*)|(?P<line>[\n,])|(?P<text>"""(?:.|\n)*?"""|"(?:[^"\\\n]|\\.)*")'
    r"|(?P<open>[{\[])|(?P<close>[}\]])|(?P<is>\+?=|:)|(?P<dynamic>\$\{[^}]*\})|(?P<bare>[^\s\"{}\[\]:=,+#$]+|.)"
)


_INCLUDE = " include"
"""Stands for another file that a file names: no key ends in this."""


def setting(text: str, path: str) -> Optional[str]:
    """The value of the setting at a dotted path, the last where it is given more than once; None where it is not given.

    Raises ValueError where its value is not a plain text, or the file names others that may give it.
    """
    found: Optional[str] = None
    hidden = False
    # Some editors begin a file with a byte order mark.
    for key, value in _settings(text.lstrip("\ufeff")):
        within = key[: -len(_INCLUDE)] if key.endswith(_INCLUDE) else key + "."
        if key == path:
            found, hidden = value, value is None
        elif value is None and path.startswith(within):
            found, hidden = None, True
    if hidden:
        raise ValueError("{} is not plain text, or its value comes from something that the file refers to".format(path))
    return found or None


def _settings(text: str) -> Iterator[Tuple[str, Optional[str]]]:
    """Each setting with its dotted path, and its value where that is a plain text."""
    folders: List[str] = []
    key: List[str] = []
    value: Optional[List[Tuple[str, str]]] = None
    for kind, word in [*_words(text), ("line", "\n")]:
        if kind == "is" and value is None:
            value = []
        elif kind == "open" and word == "{" and not value:
            folders.append(_dotted(key))
            key, value = [], None
        elif kind in ("line", "close"):
            if key:
                yield ".".join([*filter(None, folders), _dotted(key)]), _plain(value or [])
            key, value = [], None
            if kind == "close" and folders and word == "}":
                folders.pop()
        elif value is None:
            key.append(_unquoted(kind, word))
        else:
            value.append((kind, word))


def _words(text: str) -> Iterator[Tuple[str, str]]:
    """What is no space or comment; within brackets, which hold no settings that are looked for, only that they are."""
    depth = 0
    for match in _WORD.finditer(text):
        kind, word = str(match.lastgroup), match.group()
        if word == "[" and kind == "open":
            depth += 1
            yield "dynamic", word
        elif word == "]" and kind == "close":
            depth -= 1
        elif depth <= 0 and kind != "space":
            yield kind, word


def _dotted(key: List[str]) -> str:
    return _INCLUDE if len(key) > 1 and key[0] == "include" else "".join(key)


def _unquoted(kind: str, word: str) -> str:
    if kind != "text":
        return word
    return word[3:-3] if word.startswith('"""') else re.sub(r"\\(.)", r"\1", word[1:-1])


def _plain(value: List[Tuple[str, str]]) -> Optional[str]:
    """The text of a value of one word, or of words side by side; None for anything else."""
    if not value or any(kind not in ("text", "bare", "is") for kind, _ in value):
        return None
    return " ".join(_unquoted(kind, word) for kind, word in value)
