"""A hop in plain words, and for ``--json``."""

from collections.abc import Sequence
from typing import Any

from relup_remote.hops.catalogue import Helper
from relup_remote.hops.helpers import callback_module, used
from relup_remote.hops.hop import Callback, Hop, Instruction
from relup_remote.hops.reading.values import Dynamic, Span, Term, is_constant
from relup_remote.hops.reading.writing import atom, string_literal, written
from relup_remote.summary.text import clean

MARKS = ("‹", "›")
"""What is put around all that only the node can tell."""

OWN_CALLBACKS = "emqx_post_upgrade"
"""The module of a release that callbacks are in, unless the catalogue has one for them."""


def document(hop: Hop, helpers: Sequence[Helper]) -> dict[str, Any]:
    """A hop for ``--json``. Of what only the node can tell, the values are null."""
    return {
        "file": hop.file,
        "from": hop.from_vsn,
        "target": hop.target,
        "script": hop.is_script,
        "changes": [_change_document(change, hop, helpers) for change in hop.changes],
        "callbacks": [_callback_document(callback, hop) for callback in hop.callbacks],
        "callback_module": _callback_module(hop, helpers),
        "helpers": [helper.file for helper in used([hop], helpers)],
        "problems": [
            {"line": problem.span.line, "column": problem.span.column, "message": problem.message}
            for problem in hop.problems
        ],
    }


def _change_document(change: Instruction | Dynamic, hop: Hop, helpers: Sequence[Helper]) -> dict[str, Any]:
    if isinstance(change, Dynamic):
        return _dynamic_document(change, hop)
    return {
        **_placed(change.n, change.span, change.text),
        "kind": change.kind,
        "name": change.name,
        "function": change.function,
        "arity": change.arity,
        "helper": change.name in {helper.module for helper in helpers} and change.kind != "restart_application",
        "dynamic": not is_constant(change.term),
        "problem": change.problem,
    }


def _callback_document(callback: Callback | Dynamic, hop: Hop) -> dict[str, Any]:
    if isinstance(callback, Dynamic):
        return _dynamic_document(callback, hop)
    return {
        **_placed(callback.n, callback.span, callback.text),
        "function": callback.function,
        "arity": callback.arity,
        "dynamic": not is_constant(callback.term),
        "problem": callback.problem,
    }


def _dynamic_document(part: Dynamic, hop: Hop) -> dict[str, Any]:
    kind = "any number" if part.spliced else "one"
    return {**_placed(None, part.span, written(part, hop.text)), "kind": kind, "dynamic": True}


def _placed(n: int | None, span: Span, text: str) -> dict[str, Any]:
    return {"n": n, "line": span.line, "column": span.column, "text": text}


def text(hop: Hop, helpers: Sequence[Helper]) -> str:
    """A hop in plain words: a numbered line for each thing that it does, with the line of the file that says so."""
    in_use = used([hop], helpers)
    names = {helper.module for helper in in_use}
    blocks = [
        [f"{hop.from_vsn} -> {hop.target}  ({hop.file})"],
        ["code changes:", *([_line(change, _change(change, hop, names)) for change in hop.changes] or ["  none"])],
    ]
    if hop.callbacks:
        module = atom(_callback_module(hop, helpers))
        blocks.append(
            [f"callbacks, in {module}:", *(_line(each, _callback(each, hop, module)) for each in hop.callbacks)]
        )
    if in_use:
        blocks.append(
            ["helper modules, compiled for the hop and removed after it:", *(f"  {helper.file}" for helper in in_use)]
        )
    if hop.problems:
        blocks.append(["wrong:", *(f"  line {problem.span.line}: {problem.message}" for problem in hop.problems)])
    if not (hop.term and is_constant(hop.term)):
        blocks.append(
            [f"{'...'.join(MARKS)} is known only to a node. It evaluates the file when it plans and when it upgrades."]
        )
    return clean("\n\n".join("\n".join(lines) for lines in blocks))


def _line(part: Instruction | Callback | Dynamic, words: str) -> str:
    n = None if isinstance(part, Dynamic) else part.n
    return f"  {n or '':>3}  {f'line {part.span.line}':<9}  {words}"


def _change(change: Instruction | Dynamic, hop: Hop, helpers: set[str]) -> str:
    if isinstance(change, Dynamic):
        return _unknown(change, hop, "instruction")
    if change.kind == "unknown":
        return f"not understood: {change.text} ({change.problem})"
    name = _written(change.term.value[1], hop)
    helper = " (helper)" if change.name in helpers and change.kind != "restart_application" else ""
    match change.kind:
        case "load_module":
            return f"load {name}{helper}"
        case "update":
            extra = "" if change.extra is None else f" with {_written(change.extra, hop)}"
            return f"update {name}{helper}: its processes are suspended and change their state{extra}"
        case "restart_application":
            return f"restart the application {name}"
    _, _, function, arguments = change.term.value
    known = [_written(argument, hop) for argument in change.arguments or ()]
    others = [f"{_written(arguments, hop)}..."] if change.arguments is None else known
    return f"call {name}:{_written(function, hop)}({', '.join(others)}){helper}"


def _callback(callback: Callback | Dynamic, hop: Hop, module: str) -> str:
    if isinstance(callback, Dynamic):
        return _unknown(callback, hop, "callback")
    if callback.problem:
        return f"not understood: {callback.text} ({callback.problem})"
    function, *arguments = callback.term.value if type(callback.term.value) is tuple else (callback.term,)
    known = [_written(argument, hop) for argument in callback.arguments or ()]
    others = [f"{_written(arguments[0], hop)}..."] if callback.arguments is None else known
    return f"call {module}:{_written(function, hop)}({', '.join([string_literal(hop.from_vsn), *others])})"


def _unknown(part: Dynamic, hop: Hop, what: str) -> str:
    count = f"any number of {what}s, as said by" if part.spliced else f"one {what}:"
    return f"{count} {_written(part, hop)}"


def _written(term: Term, hop: Hop) -> str:
    return written(term, hop.text, marks=MARKS)


def _callback_module(hop: Hop, helpers: Sequence[Helper]) -> str:
    """The module that the callbacks are in."""
    name = callback_module(hop)
    return name if name in {helper.module for helper in helpers} else OWN_CALLBACKS
