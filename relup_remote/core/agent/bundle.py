"""Payload, shipped to hosts (Python 3.6 and up, standard library only): the agent's modules, made into one.

A module that is taken out of a VM costs a question to each of its processes, whether it runs that: milliseconds on a
VM that does little, seconds on one with very many connections. So the agent, of many small modules, comes as one.

What is a function of one of them is called ``<part>__<name>`` in the whole; what the parts export, they export to each
other only. Macros are those of their part. Text, comments and names of atoms stay what they are.
"""

import re
from typing import Dict, Iterable, List, Match, Set, Tuple

PREFIX = "relup_agent"

_TOKEN = re.compile(
    r"""
      %[^\n]* | "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*' | \$(?:\\.|.) | [A-Z_]\w* | \?\w+ | \d+
    | (?P<far>relup_agent(?:_\w+)?)\s*:\s*(?P<its>[a-z]\w*)(?=\(|/\d)
    | (?P<near>(?<![:\w@])[a-z][\w@]*)(?=\()
    | \bfun\s+(?P<named>[a-z]\w*)(?=/\d)
    | [a-z][\w@]*
    """,
    re.DOTALL | re.VERBOSE,
)
_IMPORT = re.compile(r"^-import\(relup_agent_(\w+), \[([^\]]*)\]\)\.$", re.MULTILINE)
_DEFINE = re.compile(r"^-define\((\w+),", re.MULTILINE)
_HEAD = re.compile(r"^-(?:module|export)\([^.]*\)\.$", re.MULTILINE)
_FUNCTION = re.compile(r"^([a-z]\w*)\(", re.MULTILINE)


def resource(name: str) -> str:
    """The text of a file that lies beside this one, be it in a folder or in an archive."""
    # Late, for it is slow to import, and most requests need no agent.
    import pkgutil  # noqa: PLC0415

    return (pkgutil.get_data(__name__, name) or b"").decode("utf-8")


def exported(part: str, function: str) -> str:
    """A function's name in the whole; `part` is what follows ``relup_agent_``, empty for the agent itself."""
    return "{}__{}".format(part or "agent", function)


def source(parts: Iterable[str], module: str, entries: Iterable[Tuple[str, str, int]]) -> bytes:
    """The source of `module`, of all `parts`; `entries` are the functions to be called from outside, with arities."""
    names = ["{}/{}".format(exported(part, function), arity) for part, function, arity in entries]
    head = ["-module({}).".format(module), "-export([{}]).".format(", ".join(names))]
    return "\n".join(head + [_part(part) for part in parts]).encode("utf-8")


def _part(part: str) -> str:
    name = PREFIX + ("_" + part if part else "")
    text = resource(name + ".erl")
    imported: Dict[str, str] = {}
    for owner, functions in _IMPORT.findall(text):
        imported.update((each.partition("/")[0].strip(), owner) for each in functions.split(","))
    own: Set[str] = set(_FUNCTION.findall(text))
    defined: List[str] = _DEFINE.findall(text)
    body = _HEAD.sub("", _IMPORT.sub("", text))

    def renamed(found: Match[str]) -> str:
        if found.group("its"):
            return exported(found.group("far")[len(PREFIX) + 1 :], found.group("its"))
        word = found.group("near") or found.group("named")
        if word in own:
            return found.group().replace(word, exported(part, word))
        if word in imported:
            return found.group().replace(word, exported(imported[word], word))
        return found.group()

    return _TOKEN.sub(renamed, body) + "".join("-undef({}).\n".format(each) for each in defined)
