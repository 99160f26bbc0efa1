"""What a hop file says of itself, read off its tokens: from which version to which.

A hop file is an Erlang script; its last expression is the hop. Only a VM can evaluate it, but nearly all name their
two versions in the clear: in a map that is the last expression, or that a variable was bound to, by strings or by
variables bound to strings.
"""

from collections.abc import Sequence

from relup_remote.hops.lexer import LexError, Token, tokens

_BRACKETS = {"(": ")", "[": "]", "{": "}", "<<": ">>"}
_BLOCKS = frozenset({"begin", "case", "if", "receive", "try"})
KEYS = ("from_version", "target_version")


def versions(text: str) -> tuple[str, str]:
    """The versions from and to which the hop in ``text`` leads. Raises `LexError` with the place and the reason."""
    expressions = _expressions(tokens(text))
    if not expressions:
        raise LexError(1, 1, "the file holds no expression")
    bound: dict[str, Sequence[Token]] = {}
    for expression in expressions[:-1]:
        _bind(expression, bound)
    last = _resolved(_bind(expressions[-1], bound), bound)
    pairs = _pairs(last)
    source, target = (_version(key, pairs, last[0], bound) for key in KEYS)
    if source == target:
        raise LexError(last[0].line, last[0].column, f"both versions are {source}")
    return source, target


def _expressions(stream: Sequence[Token]) -> list[list[Token]]:
    """The top-level expressions: those that a comma or a full stop ends outside all brackets and blocks."""
    parts = _split(stream, {"punctuation": ",", "stop": "."})
    if stream and stream[-1].sort != "stop":
        raise LexError(stream[-1].line, stream[-1].column, "the last expression does not end with a full stop")
    return [part for part in parts if part]


def _split(stream: Sequence[Token], ends: dict[str, str]) -> list[list[Token]]:
    """``stream`` cut at the tokens of ``ends`` (sort: value) that stand outside all brackets and blocks."""
    parts: list[list[Token]] = [[]]
    open_: list[tuple[Token, str]] = []
    for index, token in enumerate(stream):
        if not open_ and ends.get(token.sort) == token.value:
            parts.append([])
            continue
        parts[-1].append(token)
        closing = _closing(stream, index)
        if closing:
            open_.append((token, closing))
        elif token.sort == "stop" or _closes(token):
            if not open_ or open_[-1][1] != token.value:
                raise _unbalanced(token, open_)
            open_.pop()
    if open_:
        opening, closing = open_[-1]
        raise LexError(opening.line, opening.column, f"'{opening.value}' is never closed by '{closing}'")
    return parts


def _unbalanced(token: Token, open_: Sequence[tuple[Token, str]]) -> LexError:
    found = "a full stop" if token.sort == "stop" else f"'{token.value}'"
    if not open_:
        return LexError(token.line, token.column, f"{found} closes nothing")
    opening, closing = open_[-1]
    return LexError(
        token.line, token.column, f"{found} where '{closing}' must close the '{opening.value}' of line {opening.line}"
    )


def _closing(stream: Sequence[Token], index: int) -> str | None:
    """What closes the bracket or block that the token opens; None if it opens none."""
    token = stream[index]
    if token.sort == "punctuation":
        return _BRACKETS.get(token.value)
    if token.sort != "atom":
        return None
    if token.value in _BLOCKS:
        return "end"
    following = stream[index + 1 : index + 3]
    if token.value == "fun" and following:
        named = following[0].sort == "variable" and len(following) > 1 and following[1].is_("(")
        return "end" if named or following[0].is_("(") else None
    # A keyword since Erlang/OTP 27, a plain atom before: an expression follows the keyword only.
    if token.value == "maybe" and following and following[0].sort not in ("punctuation", "stop"):
        return "end"
    return None


def _closes(token: Token) -> bool:
    if token.sort == "atom":
        return token.value == "end"
    return token.sort == "punctuation" and token.value in _BRACKETS.values()


def _bind(expression: Sequence[Token], bound: dict[str, Sequence[Token]]) -> Sequence[Token]:
    """Note what ``Variable = …`` binds; returns what the expression's value comes from."""
    if len(expression) > 2 and expression[0].sort == "variable" and expression[1].is_("="):
        bound[expression[0].value] = expression[2:]
        return expression[2:]
    return expression


def _resolved(expression: Sequence[Token], bound: dict[str, Sequence[Token]]) -> Sequence[Token]:
    """The expression itself, or what the variable that it consists of was bound to."""
    seen: set[str] = set()
    while len(expression) == 1 and expression[0].sort == "variable" and expression[0].value not in seen:
        seen.add(expression[0].value)
        expression = bound.get(expression[0].value, expression)
    return expression


def _pairs(expression: Sequence[Token]) -> dict[str, list[Token]]:
    """The pairs of a literal map, by those keys that are atoms."""
    first = expression[0]
    if not (len(expression) > 2 and first.is_("#") and expression[1].is_("{") and expression[-1].is_("}")):
        raise LexError(first.line, first.column, "the last expression is not a map, so its versions can't be told")
    pairs = {}
    for part in _split(expression[2:-1], {"punctuation": ","}):
        if len(part) > 2 and part[0].sort == "atom" and part[1].is_("=>"):
            pairs[part[0].value] = part[2:]
    return pairs


def _version(key: str, pairs: dict[str, list[Token]], place: Token, bound: dict[str, Sequence[Token]]) -> str:
    if key not in pairs:
        raise LexError(place.line, place.column, f"the map has no {key}")
    value = _resolved(pairs[key], bound)
    if any(token.sort != "string" for token in value):
        raise LexError(value[0].line, value[0].column, f"{key} is not a literal string, so it can't be told")
    version = "".join(token.value for token in value)
    if not version or not version.isprintable() or " " in version:
        raise LexError(value[0].line, value[0].column, f"{key} is no version: {version!r}")
    return version
