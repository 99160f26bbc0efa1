"""Reading a hop's file, as far as that goes without a VM.

The file is an Erlang script whose value is a map. Only the node evaluates it, when it plans and when it upgrades; here
the two versions have to be readable, and whatever else can be told is told (`relup_remote.hops.reading`).
"""

from collections.abc import Callable

from relup_remote.hops.hop import Callback, Hop, Instruction, Kind, Problem
from relup_remote.hops.reading import ReadError, read
from relup_remote.hops.reading.values import Atom, Dynamic, Located, Map, Term, elements, entry, string
from relup_remote.hops.reading.writing import written


def read_hop(file: str, text: str, otp: int | None = None) -> Hop:
    """The hop in the text of a file, as the major version ``otp`` of Erlang/OTP reads it, or any.

    Raises `ReadError`: it is no Erlang, no map, or its versions can't be told.
    """
    script = read(text, otp)
    if not script.values:
        raise ReadError(1, 1, "the file holds no expression")
    last = script.values[-1]
    if isinstance(last, Dynamic):
        raise _error(last, "only a VM can tell what the last expression is, so its versions can't be told")
    if not isinstance(last.value, Map):
        raise _error(last, "the last expression is not a map, so its versions can't be told")
    source, target = (_version(last, key) for key in ("from_version", "target_version"))
    if source == target:
        raise _error(last, f"both versions are {source}")
    problems: list[Problem] = []
    changes = _numbered(last, "code_changes", problems)
    callbacks = _numbered(last, "post_upgrade_callbacks", problems, after=changes[-1][0] if changes else 0)
    return Hop(
        file,
        source,
        target,
        text,
        tuple(_instruction(n, term, text) for n, term in changes),
        tuple(_callback(n, term, text) for n, term in callbacks),
        script.is_script,
        last,
        tuple(problems),
    )


def _version(hop: Located, key: str) -> str:
    term = entry(hop, key)
    if term is None:
        raise _error(hop, f"the map has no {key}")
    version = string(term)
    if version is None:
        raise _error(term, f"{key} is not a literal string, so it can't be told")
    if not version or not version.isprintable() or " " in version:
        raise _error(term, f"{key} is not a version: {version!r}")
    return version


def _numbered(hop: Located, key: str, problems: list[Problem], after: int | None = 0) -> list[tuple[int | None, Term]]:
    """The elements of a list of the hop, with their numbers as far as they can be told: those that follow ``after``."""
    term = entry(hop, key)
    if term is None:
        if key == "code_changes":
            problems.append(Problem(hop.span, "the map has no code_changes"))
        return []
    if isinstance(term, Dynamic):
        return [(None, Dynamic(term.span, spliced=True))]
    found = elements(term)
    if found is None:
        problems.append(Problem(term.span, f"{key} is not a list"))
    numbered: list[tuple[int | None, Term]] = []
    n = after
    for item in found or ():
        n = None if n is None or (isinstance(item, Dynamic) and item.spliced) else n + 1
        numbered.append((n, item))
    return numbered


def _instruction(n: int | None, term: Term, text: str) -> Instruction | Dynamic:
    if isinstance(term, Dynamic):
        return term
    first, *parts = term.value if type(term.value) is tuple and term.value else (term,)
    if isinstance(first, Dynamic):
        return Dynamic(term.span)
    line = written(term, text)
    kind = next((kind for kind in _SHAPES if parts and _name(first) == kind), None)
    if kind is None:
        shapes = ", ".join(shape for shape, _ in _SHAPES.values())
        return Instruction(n, "unknown", term, term.span, line, problem=f"an instruction is one of {shapes}")
    shape, checks = _SHAPES[kind]
    if len(parts) != len(checks) or not all(check(part) for check, part in zip(checks, parts, strict=True)):
        return Instruction(n, "unknown", term, term.span, line, problem=f"it has to be {shape}")
    named, *others = parts
    return Instruction(
        n,
        kind,
        term,
        term.span if isinstance(named, Dynamic) or term.span.holds(named.span) else named.span,
        line,
        _name(named),
        named if isinstance(named, Located) else None,
        _name(others[0]) if kind == "apply" else None,
        _arguments(others[1]) if kind == "apply" else None,
        others[0].value[1] if kind == "update" and isinstance(others[0], Located) else None,
    )


def _callback(n: int | None, term: Term, text: str) -> Callback | Dynamic:
    if isinstance(term, Dynamic):
        return term
    function, *arguments = term.value if type(term.value) is tuple and term.value else (term,)
    is_shaped = len(arguments) == (function is not term) and all(map(_is_list, arguments))
    if is_shaped and _is_atom(function):
        known = _arguments(arguments[0]) if arguments else ()
        return Callback(n, term, term.span, written(term, text), _name(function), known)
    problem = "a callback is Function or {Function, Arguments}"
    return Callback(n, term, term.span, written(term, text), problem=problem)


def _is_atom(term: Term) -> bool:
    return isinstance(term, Dynamic) or isinstance(term.value, Atom)


def _is_list(term: Term) -> bool:
    return isinstance(term, Dynamic) or elements(term) is not None


def _is_advanced(term: Term) -> bool:
    if isinstance(term, Dynamic):
        return True
    return type(term.value) is tuple and len(term.value) == 2 and _name(term.value[0]) in ("advanced", None)


def _name(term: Term) -> str | None:
    return str.__str__(term.value) if isinstance(term, Located) and isinstance(term.value, Atom) else None


def _arguments(term: Term) -> tuple[Term, ...] | None:
    found = elements(term)
    is_open = found is None or any(isinstance(item, Dynamic) and item.spliced for item in found)
    return None if found is None or is_open else tuple(found)


_SHAPES: dict[Kind, tuple[str, tuple[Callable[[Term], bool], ...]]] = {
    "load_module": ("{load_module, Module}", (_is_atom,)),
    "update": ("{update, Module, {advanced, Extra}}", (_is_atom, _is_advanced)),
    "restart_application": ("{restart_application, Application}", (_is_atom,)),
    "apply": ("{apply, Module, Function, Arguments}", (_is_atom, _is_atom, _is_list)),
}
"""The code changes there are: what they look like, and what their parts after the first are."""


def _error(term: Term, message: str) -> ReadError:
    return ReadError(term.span.line, term.span.column, message)
