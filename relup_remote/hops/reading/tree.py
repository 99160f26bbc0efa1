"""Making expressions of what the grammar finds, from the inside out: nothing here calls itself."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from lark import Token, Transformer, Tree

from relup_remote.hops.reading import operators
from relup_remote.hops.reading.errors import ReadError
from relup_remote.hops.reading.syntax import (
    BinaryOf,
    Block,
    Call,
    Comprehension,
    Expression,
    Fun,
    ListOf,
    MapOf,
    Node,
    Segment,
    TupleOf,
    Variable,
    span_of,
)
from relup_remote.hops.reading.values import Atom, Export, Located, Span, list_of, map_of, tuple_of

Children = list[Any]
"""Of a rule: its tokens, and what has been made of the rules in it."""


class _Clause(NamedTuple):
    """A clause of a fun."""

    span: Span
    name: str | None
    parameters: list[Node]
    has_guard: bool
    body: list[Node]


class Builder(Transformer[Token, Any]):
    """What is made of each rule of the grammar, under its name; of those that are not here, an `Expression`.

    The value of a literal's token is what it stands for, None if only a VM can tell.
    """

    def __default__(self, data: str, children: Children, _meta: object) -> "Expression | Tree[Any]":
        # Of a rule whose name begins so, the children become those of the rule around it.
        return Tree(data, children) if data.startswith("_") else Expression(_span(children))

    def file(self, children: Children) -> list[list[Node]]:
        return children

    def form(self, children: Children) -> list[Node]:
        return children[:-1]

    def expr(self, children: Children) -> Node:
        try:
            return operators.bound(children)
        except operators.NotAssociative as error:
            place = span_of(error.operator)
            raise ReadError(place.line, place.column, f"syntax error before '{error.operator}'") from None

    pattern = expr

    def parenthesized(self, children: Children) -> Node:
        inner: Node = children[1]
        return replace(inner, span=_span(children))

    def atom(self, children: Children) -> Node:
        (token,) = children
        return Expression(span_of(token)) if token.value is None else Located(token.value, span_of(token))

    integer = floating = char = sigil = atom

    def string(self, children: Children) -> Node:
        return Located("".join(token.value for token in children), _span(children))

    def variable(self, children: Children) -> Node:
        return Variable(_span(children), str(children[0]))

    def tuple_term(self, children: Children) -> Node:
        items, span = children[1:-1], _span(children)
        return tuple_of(items, span) if _are_values(items) else TupleOf(span, items)

    def list_term(self, children: Children) -> Node:
        items, span, tail = children[1:-1], _span(children), None
        if len(items) > 1 and isinstance(items[-2], Token):
            tail = items.pop()
            items.pop()
        return list_of(items, span) if tail is None and _are_values(items) else ListOf(span, items, tail)

    def pair(self, children: Children) -> Any:
        # `:=` has its place in updates and patterns only.
        return tuple(children) if len(children) == 2 else None

    def map_term(self, children: Children) -> Node:
        pairs, span = children[1:-1], _span(children)
        if None in pairs:
            return Expression(span)
        return map_of(pairs, span) if all(map(_are_values, pairs)) else MapOf(span, pairs)

    def binary(self, children: Children) -> Node:
        segments, span = children[1:-1], _span(children)
        content = _plain(segments)
        return BinaryOf(span, segments) if content is None else Located(content, span)

    def segment(self, children: Children) -> Segment:
        signs = [child for child in children if isinstance(child, Token)]
        value, *size = [child for child in children if isinstance(child, Located | Expression)]
        types = children[len(signs) + 1 + len(size) :]
        return Segment(operators.bound([*signs, value]), size[0] if size else None, types)

    def segment_type(self, children: Children) -> Any:
        name = str(children[0].value)
        return name if len(children) == 1 else (name, children[1].value or 0)

    def generator(self, children: Children) -> Any:
        return tuple(children)

    def zipped(self, _children: Children) -> Any:
        return None

    def comprehension(self, children: Children) -> Node:
        _, template, first, *others, _ = children
        if isinstance(first, tuple) and not others:
            return Comprehension(_span(children), template, *first)
        return Expression(_span(children))

    def call(self, children: Children) -> Node:
        function, *arguments, _ = children
        span = _span(children)
        return Call(span, function, arguments) if isinstance(function, Variable) else Expression(span)

    def block(self, children: Children) -> Node:
        return Block(_span(children), children[1:-1])

    def external_fun(self, children: Children) -> Node:
        _, module, function, arity = children
        if (module.type, function.type, arity.type) == ("ATOM", "ATOM", "INTEGER") and arity.value in range(256):
            return Located(Export(module.value, function.value, arity.value), _span(children))
        return Expression(_span(children))

    def parameters(self, children: Children) -> list[Node]:
        return children

    body = parameters

    def fun_clause(self, children: Children) -> _Clause:
        named = children[0].type == "VARIABLE"
        opening, parameters, *guard, body = children[named:]
        return _Clause(span_of(opening), str(children[0]) if named else None, parameters, bool(guard), body)

    def fun(self, children: Children) -> Node:
        _, *clauses, _ = children
        first, span = clauses[0], _span(children)
        for clause in clauses:
            if (clause.name, len(clause.parameters)) != (first.name, len(first.parameters)):
                raise ReadError(clause.span.line, clause.span.column, "the clauses of the fun have different heads")
        names = [parameter.name for parameter in first.parameters if isinstance(parameter, Variable)]
        distinct = {name for name in names if name != "_"}
        is_plain = len(names) == len(first.parameters) and len(distinct) + names.count("_") == len(names)
        if len(clauses) == 1 and first.name is None and not first.has_guard and is_plain:
            return Fun(span, names, first.body)
        return Expression(span)


def _are_values(nodes: Sequence[Node]) -> bool:
    return all(isinstance(node, Located) for node in nodes)


def _span(children: Children) -> Span:
    first, last = (span_of(end) if isinstance(end, Token) else end.span for end in (children[0], children[-1]))
    return first.to(last)


def _plain(segments: Sequence[Segment]) -> bytes | None:
    """The binary of segments that are integers and strings without size or type; None if any is not."""
    content = bytearray()
    for segment in segments:
        value = segment.value.value if isinstance(segment.value, Located) else None
        if segment.size or segment.types or isinstance(value, Atom) or not isinstance(value, int | str):
            return None
        content += bytes(ord(char) & 255 for char in value) if isinstance(value, str) else bytes([value & 255])
    return bytes(content)
