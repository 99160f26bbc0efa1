"""Evaluating what needs no VM: variables, ``++``, list comprehensions, and funs that variables hold.

Everything else, and whatever comes of it, is `Dynamic`. Whether a script goes wrong is not found out here, but for
variables that nothing can have bound.

A short text can stand for a huge value. So each step is counted, and so is each value that is used once more; what
comes after the `Evaluation.allowance`, which grows with the text, is `Dynamic` too. That bounds time and memory.

Expressions may be nested as deep as files are long: each is evaluated by a generator that yields those within it, and
`Evaluation._run` keeps the generators on a stack of its own.
"""

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from relup_remote.core.erlang import bits
from relup_remote.hops.reading.errors import ReadError
from relup_remote.hops.reading.syntax import (
    Appended,
    BinaryOf,
    Block,
    Call,
    Comprehension,
    Fun,
    ListOf,
    MapOf,
    Match,
    Node,
    TupleOf,
    Variable,
)
from relup_remote.hops.reading.values import (
    Atom,
    Dynamic,
    Located,
    Span,
    Term,
    elements,
    is_string,
    length,
    list_of,
    map_of,
    tuple_of,
)

MAX_DEPTH = 50
"""Funs and comprehensions that may be at work within one another."""


@dataclass(frozen=True, slots=True, eq=False)
class Closure:
    """A fun, and the variables that it sees."""

    fun: Fun
    scope: "Scope"

    size = 1


_WRITTEN_DOWN = (Located, TupleOf, ListOf, MapOf, BinaryOf)

Result = Term | Closure
Scope = dict[str, Result]


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """An expression to be evaluated, ``depth`` funs and comprehensions deep.

    ``may_bind``: other expressions come after it in the same scope, and see what it binds.
    """

    node: Node
    scope: Scope
    depth: int
    may_bind: bool = False


Steps = Generator[Task, Result, Result]
Items = Generator[Task, Result, list[Term]]


class Evaluation:
    """The evaluation of a file whose text has ``length`` characters.

    ``is_script``: something in it was more than the writing down of a term.
    """

    def __init__(self, length: int) -> None:
        self.allowance = 20_000 + 4 * length
        self.is_script = False
        self._scope: Scope = {}
        self._all_known = True
        self._untouched: set[Node] = set()

    def value(self, expression: Node) -> Term:
        """The value of the next expression. Raises `ReadError` for a variable that nothing can have bound."""
        return self._term(self._run(Task(expression, self._scope, 0, may_bind=True)), expression)

    @property
    def is_complete(self) -> bool:
        """Whether all of it was evaluated, nothing being left to a VM."""
        return self._all_known and not self._untouched

    def _run(self, task: Task) -> Result:
        stack = [self._steps(task)]
        found: Any = None
        while stack:
            try:
                following = stack[-1].send(found)
            except StopIteration as done:
                stack.pop()
                found = done.value
            else:
                stack.append(self._steps(following))
                found = None
        result: Result = found
        return result

    def _steps(self, task: Task) -> Steps:
        node = task.node
        # What is not within a fun or a comprehension is evaluated once: the text itself is the limit.
        if task.depth and not self._afford(node.size if isinstance(node, Located) else 1):
            return self._dynamic(node.span)
        self.is_script = self.is_script or not isinstance(node, _WRITTEN_DOWN)
        match node:
            case Located():
                return node
            case Variable():
                return self._variable(node, task.scope)
            case Fun():
                self._untouched.add(node)
                affordable = self._afford(len(task.scope))
                return Closure(node, dict(task.scope)) if affordable else self._dynamic(node.span)
            case TupleOf():
                return tuple_of((yield from self._terms(node.items, task)), node.span)
            case MapOf():
                parts = yield from self._terms([part for pair in node.pairs for part in pair], task)
                return map_of(list(zip(parts[::2], parts[1::2], strict=True)), node.span)
            case ListOf():
                return (yield from self._list(node, task))
            case Appended():
                return self._appended((yield from self._terms(node.backwards[::-1], task)), node.span)
            case BinaryOf():
                return (yield from self._binary(node, task))
            case Comprehension():
                return (yield from self._comprehension(node, task))
            case Call():
                return (yield from self._call(node, task))
            case Match() if task.may_bind:
                value = yield replace(task, node=node.value)
                return value if self._bind(node.pattern, value, task.scope) else self._dynamic(node.span)
            case Block() if task.may_bind:
                return (yield from self._body(node.body, task.scope, task.depth))
        return self._dynamic(node.span)

    def _terms(self, nodes: Iterable[Node], task: Task) -> Items:
        found = []
        for node in nodes:
            found.append(self._term((yield Task(node, task.scope, task.depth)), node))
        return found

    def _body(self, nodes: Sequence[Node], scope: Scope, depth: int) -> Steps:
        for node in nodes[:-1]:
            yield Task(node, scope, depth, may_bind=True)
        return (yield Task(nodes[-1], scope, depth, may_bind=True))

    def _list(self, node: ListOf, task: Task) -> Steps:
        items = yield from self._terms(node.items, task)
        last = node
        while isinstance(last.tail, ListOf):
            last = last.tail
            items += yield from self._terms(last.items, task)
        if last.tail is None:
            return list_of(items, node.span)
        (tail,) = yield from self._terms([last.tail], task)
        return list_of(items, node.span, tail)

    def _appended(self, terms: Sequence[Term], span: Span) -> Term:
        if not self._afford(sum(map(length, terms))):
            return self._dynamic(span)
        if all(is_string(term) for term in terms):
            return Located("".join(term.value for term in terms if isinstance(term, Located)), span)
        items: list[Term] = []
        for term in terms[:-1]:
            found = [Dynamic(term.span, spliced=True)] if isinstance(term, Dynamic) else elements(term)
            if found is None:
                return self._dynamic(span)
            items += found
        return list_of(items, span, terms[-1]) if items else terms[-1]

    def _binary(self, node: BinaryOf, task: Task) -> Steps:
        pieces = []
        for segment in node.segments:
            parts = [segment.value] if segment.size is None else [segment.value, segment.size]
            value, size = [*(yield from self._terms(parts, task)), None][:2]
            try:
                piece = bits.bits_of(_known(value), _known(size), segment.types, 8 * self.allowance)
            except bits.Unclear:
                return self._dynamic(node.span)
            self._afford(len(piece) // 8)
            pieces.append(piece)
        return Located(bits.joined(pieces), node.span)

    def _comprehension(self, node: Comprehension, task: Task) -> Steps:
        (source,) = yield from self._terms([node.items], task)
        names, found = _names(node.pattern), elements(source)
        if names is None or found is None or task.depth == MAX_DEPTH:
            return self._dynamic(node.span)
        self._untouched.add(node)
        unknown = Dynamic(node.span, spliced=True)
        scope = dict(task.scope)
        items: list[Term] = []
        for item in found:
            for name in names:
                scope.pop(name, None)
            is_bound = self._bind(node.pattern, item, scope) if self._afford(1 + len(names)) else None
            if is_bound is None or (isinstance(item, Dynamic) and item.spliced):
                self._all_known = False
                items += [unknown] if unknown not in items[-1:] else []
            elif is_bound:
                self._untouched.discard(node)
                items.append(self._term((yield Task(node.template, scope, task.depth + 1)), node.template))
        return list_of(items, node.span)

    def _call(self, node: Call, task: Task) -> Steps:
        arguments = []
        for argument in node.arguments:
            arguments.append((yield Task(argument, task.scope, task.depth)))
        called = self._variable(node.function, task.scope)
        if not (
            isinstance(called, Closure)
            and len(called.fun.parameters) == len(arguments)
            and task.depth < MAX_DEPTH
            and self._afford(len(called.scope))
        ):
            return self._dynamic(node.span)
        self._untouched.discard(called.fun)
        scope = {**called.scope, **dict(zip(called.fun.parameters, arguments, strict=True))}
        scope.pop("_", None)
        return (yield from self._body(called.fun.body, scope, task.depth + 1))

    def _variable(self, node: Variable, scope: Scope) -> Result:
        if node.name not in scope and self._all_known and node.name != "_":
            raise ReadError(node.span.line, node.span.column, f"the variable {node.name} is not bound")
        found = scope.get(node.name)
        return self._dynamic(node.span) if found is None or not self._afford(found.size) else found

    def _bind(self, pattern: Node, value: Result, scope: Scope) -> bool | None:
        """Bind the variables of a pattern. Returns whether the value matches, None if only a VM can tell."""
        waiting: list[tuple[Node, Result]] = [(pattern, value)]
        is_sure = True
        while waiting:
            part, against = waiting.pop()
            if isinstance(part, Variable) and part.name not in scope:
                if part.name != "_":
                    scope[part.name] = against
                continue
            wanted = scope[part.name] if isinstance(part, Variable) else part
            (kind, parts), (other_kind, other_parts) = _shape(wanted), _shape(against)
            if kind is None or other_kind is None:
                is_sure = False
                waiting += [(inner, Dynamic(pattern.span)) for inner in parts]
            elif kind is not other_kind or len(parts) != len(other_parts):
                return False
            elif not parts and isinstance(wanted, Located) and isinstance(against, Located):
                if wanted.value != against.value:
                    return False
            else:
                waiting += zip(parts, other_parts, strict=True)
        return True if is_sure else None

    def _term(self, found: Result, node: Node) -> Term:
        return self._dynamic(node.span) if isinstance(found, Closure) else found

    def _dynamic(self, span: Span) -> Dynamic:
        # What is not evaluated may bind variables.
        self._all_known = False
        return Dynamic(span)

    def _afford(self, steps: int) -> bool:
        self.allowance -= steps
        return self.allowance >= 0


def _known(term: Term | None) -> Any:
    if isinstance(term, Dynamic):
        raise bits.Unclear("a part of it")
    return term and term.value


def _names(pattern: Node) -> list[str] | None:
    """The variables of a pattern of tuples, lists and constants; None for any other."""
    names, waiting = [], [pattern]
    while waiting:
        part = waiting.pop()
        if isinstance(part, Variable):
            names.append(part.name)
        elif isinstance(part, TupleOf) or (isinstance(part, ListOf) and part.tail is None):
            waiting += part.items
        elif not isinstance(part, Located):
            return None
    return names


def _shape(node: Node | Result) -> tuple[type | None, Sequence[Any]]:
    """The kind of a value or pattern, None if it is not told here; what is in a tuple or list."""
    if isinstance(node, TupleOf):
        return tuple, node.items
    if isinstance(node, ListOf):
        return None if node.tail else list, node.items
    if not isinstance(node, Located):
        return None, ()
    kind = type(node.value)
    if kind in (tuple, list):
        is_open = any(isinstance(item, Dynamic) and item.spliced for item in node.value)
        return None if is_open else kind, node.value
    return kind if kind in (int, float, Atom, bytes) else None, ()
