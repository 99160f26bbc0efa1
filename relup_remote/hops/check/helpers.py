"""What can be told of a helper module without a compiler: its name, and what it exports."""

from dataclasses import dataclass, field, replace
from itertools import chain

from lark import Token

from relup_remote.hops.beam import read_beam
from relup_remote.hops.catalogue import Helper
from relup_remote.hops.compare import Function
from relup_remote.hops.helpers import atoms_of
from relup_remote.hops.reading import ReadError
from relup_remote.hops.reading.parser import tokens


@dataclass(frozen=True)
class HelperFacts:
    """A helper: the ``name`` of its file, the ``module`` that it says it is, and what that exports.

    What can't be told is None. ``error`` is why it does not compile, as far as its tokens show that. ``names`` are all
    that it may name a module by.
    """

    name: str
    module: str | None
    exports: frozenset[Function] | None
    error: str | None = None
    names: frozenset[str] = field(default=frozenset(), compare=False)


def facts_of(helper: Helper) -> HelperFacts:
    """The facts of a helper module."""
    return replace(_of_beam(helper) if helper.is_compiled else _facts(helper), names=atoms_of(helper))


def _of_beam(helper: Helper) -> HelperFacts:
    found = read_beam(helper.code)
    exports = frozenset((name.decode(), arity) for name, arity in found.exports)
    return HelperFacts(helper.module, found.module.decode(), exports)


def _facts(helper: Helper) -> HelperFacts:
    try:
        attributes = _attributes(helper.text)
    except ReadError as error:
        return HelperFacts(helper.module, None, None, str(error))
    modules = [arguments for attribute, arguments in attributes if attribute == "module"]
    module = str(modules[0][0]) if modules and modules[0] else None
    if any("export_all" in arguments for attribute, arguments in attributes if attribute == "compile"):
        return HelperFacts(helper.module, module, None)
    exports = [_functions(arguments) for attribute, arguments in attributes if attribute == "export"]
    return HelperFacts(helper.module, module, frozenset(chain.from_iterable(exports)))


def _attributes(text: str) -> list[tuple[str, list[object]]]:
    """The attributes ``-name(…)``: each with the literals in its parentheses, in their order."""
    found: list[tuple[str, list[object]]] = []
    form: list[Token] = []
    for token in tokens(text):
        form.append(token)
        if token.type == "STOP":
            if len(form) > 3 and form[0] == "-" and form[1].type == "ATOM" and form[2] == "(":
                found.append(
                    (str(form[1].value), [part.value for part in form[3:] if part.type in ("ATOM", "INTEGER")])
                )
            form = []
    return found


def _functions(arguments: list[object]) -> list[Function]:
    """Functions as an export lists them: name and arity in turn."""
    return [
        (str(name), arity)
        for name, arity in zip(arguments[::2], arguments[1::2], strict=False)
        if isinstance(arity, int)
    ]
