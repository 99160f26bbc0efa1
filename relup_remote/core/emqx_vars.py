"""Payload, shipped to hosts (Python 3.6 and up, standard library only): what `releases/emqx_vars` sets.

The file is a list of assignments that the wrapper's shell reads before all else; later ones win. Only assignments are
understood here, with the quoting and the expansions that they have in releases. What any other line sets is unknown. So
is what is set within an ``if`` or another compound command: whether that is carried out is not known here.
Source of the rules: POSIX, "Shell Command Language", 2.2 Quoting and 2.6.2 Parameter Expansion.
"""

import re
from typing import Dict, Iterable, Iterator, List, Optional

_ASSIGNMENT = re.compile(r"^\s*(?:export\s+|readonly\s+)?([A-Za-z_]\w*)=(.*)$")
_GUARDED = re.compile(r'^\s*\[ ("[^"]*") != ("[^"]*") \] \|\| ([A-Za-z_]\w*)=(.*)$')
_NAME_SET = re.compile(r"([A-Za-z_]\w*)(?=[+:]?=)|(?<=\bfor )([A-Za-z_]\w*)")
"""What looks like a variable that is set, anywhere in a line."""

_UNSET = re.compile(r"^\s*(?:unset|read|mapfile|readarray|getopts|printf\s+-v)\s")
"""Commands that change whatever variables they name."""

_COMMAND = r"(?:^|[;&|(){}]|\b(?:then|do|else|elif))\s*"
_BEGINS = re.compile(_COMMAND + r"(?:if|case|for|while|until|select|\{|\()(?=[\s;&|()]|$)")
_ENDS = re.compile(_COMMAND + r"(?:fi|esac|done|\}|\))(?=[\s;&|()]|$)")
"""The words by which a compound command begins and ends, where a command may stand."""

_ANYTHING = re.compile(_COMMAND + r"(?:(?:\.|source|eval|exec)\s|(?:exit|return)\b)|<<")
"""Commands after which nothing is known: they may set anything, or end the file, or take its next lines as text."""

_REFERENCE = re.compile(r"\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)(?:(:?-)([^{}]*|\$?\{[^{}]*\}[^{}]*))?\})")
_BARE = re.compile(r"[A-Za-z0-9_./:@%+,=~^-]+")

LAST_LINES = "## updated vars here"
"""The line below which values of an install are set anew."""


class Unclear(Exception):
    """A value that can't be told; the argument says why."""


class Variables:
    """What the variables of a file are once it has been read. `given` is what is set before.

    `own` are those that an operator has set, below `LAST_LINES`, and whether they are exported; `more` are the lines
    there that are no assignments.
    """

    def __init__(self, text: str, given: Dict[str, str]) -> None:
        self._values: Dict[str, Optional[str]] = dict(given)
        self._why: Dict[str, str] = {}
        self._presettable: Dict[str, bool] = {}
        self._nothing: Optional[str] = None
        self._depth = 0
        self.own: Dict[str, bool] = {}
        self.more: List[str] = []
        if "\r" in text:
            self._nothing = "its lines end with a carriage return, which a shell takes as part of the value"
        is_own = False
        for line in _lines(text):
            is_own = is_own or line.strip() == LAST_LINES
            self._read(line, is_own)

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def get(self, name: str) -> Optional[str]:
        """The value of a variable; None where it is not set. Raises `Unclear`."""
        if self._nothing is not None:
            raise Unclear(self._nothing)
        if name in self._why:
            raise Unclear(self._why[name])
        return self._values.get(name)

    def is_presettable(self, name: str) -> bool:
        """Whether the environment may set it before."""
        return self._presettable.get(name, False)

    def _read(self, line: str, is_own: bool) -> None:
        text = line.strip()
        if not text or text.startswith("#"):
            return
        if self._depth:
            self._compound(text, is_own)
            return
        guarded, assignment = _GUARDED.match(text), _ASSIGNMENT.match(text)
        if guarded is not None:
            left, right, name, value = guarded.groups()
            try:
                if self._value(left) == self._value(right):
                    self._set(name, value)
            except Unclear as unclear:
                self._why[name] = str(unclear)
        elif assignment is not None:
            self._set(assignment.group(1), assignment.group(2))
            if is_own:
                self.own[assignment.group(1)] = text.startswith("export ")
        elif _ANYTHING.search(text):
            self._nothing = "the line {!r} may set anything".format(text)
        elif _BEGINS.search(text):
            self._compound(text, is_own)
        else:
            self._other(text, is_own, "the line {!r} is more than an assignment".format(text))

    def _compound(self, text: str, is_own: bool) -> None:
        """A line of a compound command, which may or may not be carried out."""
        self._count(text)
        if _ANYTHING.search(text):
            self._nothing = "the line {!r} may set anything".format(text)
        self._other(text, is_own, "the line {!r} is part of a compound command".format(text))

    def _count(self, text: str) -> None:
        # The parentheses of a function's name begin no subshell.
        text = text.replace("()", ";")
        self._depth = max(0, self._depth + len(_BEGINS.findall(text)) - len(_ENDS.findall(text)))

    def _other(self, text: str, is_own: bool, why: str) -> None:
        """A line that is no assignment: what it may set is unknown from here on."""
        if is_own:
            self.more.append(text)
        for name in re.findall(r"\w+", text) if _UNSET.match(text) else _set_in(text):
            self._why[name] = why

    def _set(self, name: str, source: str) -> None:
        self._presettable[name] = re.match(r'"?\$\{' + name + ":?-", source) is not None
        try:
            self._values[name] = self._value(source)
            self._why.pop(name, None)
        except Unclear as unclear:
            self._values[name] = None
            # More may stand behind it: "A=1; B=2".
            self._count(source)
            if _ANYTHING.search(source):
                self._nothing = "the line {!r} may set anything".format(source)
            for each in (name, *_set_in(source)):
                self._why[each] = str(unclear)

    def _value(self, source: str) -> str:
        """A word as a shell makes it of `source`. Raises `Unclear`."""
        if source.startswith("~"):
            raise Unclear("{!r} begins with a user's home".format(source))
        value: List[str] = []
        at = 0
        while at < len(source):
            char = source[at]
            if char in " \t":
                if source[at:].strip() and not source[at:].strip().startswith("#"):
                    raise Unclear("{!r} is more than a value".format(source))
                break
            if char == "'":
                end = source.find("'", at + 1)
                if end < 0:
                    raise Unclear("{!r} has no end".format(source))
                value.append(source[at + 1 : end])
                at = end + 1
            elif char == '"':
                at = self._quoted(source, at + 1, value)
            elif char == "$":
                at = self._expanded(source, at, value)
            else:
                bare = _BARE.match(source, at)
                if bare is None:
                    raise Unclear("{!r} holds {!r}".format(source, char))
                value.append(bare.group())
                at = bare.end()
        return "".join(value)

    def _quoted(self, source: str, at: int, value: List[str]) -> int:
        while at < len(source):
            char = source[at]
            if char == '"':
                return at + 1
            if char == "\\" and source[at + 1 : at + 2] in ("$", "`", '"', "\\"):
                value.append(source[at + 1])
                at += 2
            elif char == "$":
                at = self._expanded(source, at, value)
            elif char == "`":
                raise Unclear("{!r} runs a command".format(source))
            else:
                value.append(char)
                at += 1
        raise Unclear("{!r} has no end".format(source))

    def _expanded(self, source: str, at: int, value: List[str]) -> int:
        found = _REFERENCE.match(source, at)
        if found is None:
            raise Unclear("{!r} is more than the value of a variable".format(source[at:]))
        name, default = found.group(1) or found.group(2), found.group(4)
        known = self.get(name)
        if default is not None and (known is None or (known == "" and found.group(3) == ":-")):
            known = self._value('"{}"'.format(default))
        if known is None:
            raise Unclear("{} is not set".format(name))
        value.append(known)
        return found.end()


def _set_in(text: str) -> List[str]:
    return [found.group() for found in _NAME_SET.finditer(text)]


def _lines(text: str) -> Iterator[str]:
    """The lines as a shell takes them: one that ends in a backslash, in ``&&`` or in ``||`` goes on in the next."""
    begun = ""
    for line in text.split("\n"):
        whole, begun = begun + line, ""
        if whole.lstrip().startswith("#"):
            yield whole
        elif whole.endswith("\\"):
            begun = whole[:-1]
        elif whole.rstrip().endswith(("&&", "||")):
            begun = whole.rstrip() + " "
        else:
            yield whole
    if begun:
        yield begun


def quoted(value: str, base: str) -> str:
    """A value as a word for the file; one below `base` follows the base to wherever that is."""
    below = value == base or value.startswith(base + "/")
    rest = value[len(base) :] if below else value
    escaped = re.sub(r'([\\"$`])', r"\\\1", rest)
    return '"{}{}"'.format("$BASE_RUNNER_ROOT_DIR" if below else "", escaped)


def with_last_lines(text: str, lines: Iterable[str]) -> str:
    """The file's text with lines at its end, below `LAST_LINES`."""
    whole = text if text.endswith("\n") or not text else text + "\n"
    if LAST_LINES not in (line.strip() for line in whole.splitlines()):
        whole += "\n{}\n".format(LAST_LINES)
    return whole + "".join(line + "\n" for line in lines)
