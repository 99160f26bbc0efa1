"""A file as Erlang's `file:script` takes it: forms of expressions. The value of the last is the file's."""

from dataclasses import dataclass

from relup_remote.core.erlang.consult import LATIN_1
from relup_remote.hops.reading.errors import ReadError
from relup_remote.hops.reading.evaluation import Evaluation
from relup_remote.hops.reading.parser import forms
from relup_remote.hops.reading.values import Term


@dataclass(frozen=True)
class Script:
    """What a file holds: the value of each form, a full stop at its end.

    - ``is_script``: it is more than terms written down, so that `file:consult` would refuse it.
    - ``is_complete``: nothing in it is left to a VM, not even what has no part in the values.
    """

    values: tuple[Term, ...]
    is_script: bool
    is_complete: bool


def decoded(content: bytes) -> str:
    """The text of a file. Raises `ReadError` if it is not UTF-8, or if Erlang would not take it for UTF-8."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        raise ReadError(line, column, "not UTF-8 text") from None
    found = None if text.isascii() else LATIN_1.match(text)
    if found:
        raise ReadError(found.group().count("\n") + 1, 1, "it says that it is in Latin-1, but has to be in UTF-8")
    return text


def read(text: str, otp: int | None = None) -> Script:
    """What a text holds, to the major version ``otp`` of Erlang/OTP, or to any. Raises `ReadError`."""
    evaluation = Evaluation(len(text))
    values = []
    for expressions in forms(text, otp):
        found = [evaluation.value(expression) for expression in expressions]
        values.append(found[-1])
        evaluation.is_script = evaluation.is_script or len(expressions) > 1
    return Script(tuple(values), evaluation.is_script, evaluation.is_complete)
