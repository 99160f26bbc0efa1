"""A draft as the text of a hop file."""

import json
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

WIDTH = 120
REVIEW = "%% REVIEW: "
"""What a line begins with that asks the author something."""

_INDENT = "      "


@dataclass(frozen=True)
class Line:
    """An element of a list of the hop: its Erlang text, why it is there, and what the author is asked about it."""

    text: str
    why: str
    questions: Sequence[str] = ()


def hop_text(
    versions: tuple[str, str],
    remarks: Sequence[str],
    questions: Sequence[str],
    changes: Sequence[Line],
    callbacks: Sequence[Line],
) -> str:
    """The text of a hop file, a comment on every line. ``remarks`` and ``questions`` are about the whole of it."""
    source, target = map(_string, versions)
    parts = [
        *(line for remark in remarks for line in _wrapped("%% ", remark)),
        *(line for question in questions for line in _wrapped(REVIEW, question)),
        "",
        f"#{{from_version => {source},  % what runs",
        f"  target_version => {target},  % what the release says that it is",
        *_list("code_changes", changes, ",", "nothing differs"),
        *_list("post_upgrade_callbacks", callbacks, "}.", "none was declared"),
    ]
    return "\n".join(parts) + "\n"


def _list(key: str, lines: Sequence[Line], end: str, why_empty: str) -> Iterator[str]:
    if not lines:
        yield f"  {key} => []{end}  % {why_empty}"
        return
    yield f"  {key} => ["
    for number, line in enumerate(lines, 1):
        for question in line.questions:
            yield from _wrapped(f"{_INDENT}{REVIEW}", question)
        text = f"{_INDENT}{line.text}{f']{end}' if number == len(lines) else ','}"
        told = f"{text}  % {line.why}"
        yield from [told] if len(told) <= WIDTH else [*_wrapped(f"{_INDENT}%% ", line.why), text]


def _wrapped(first: str, text: str) -> list[str]:
    """Comment lines, of which the first begins with ``first``; the text of the others stands below its text."""
    following = f"{first[: first.index('%')]}%%{' ' * (len(first.strip()) - 1)}"
    return textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=following, break_long_words=False, break_on_hyphens=False
    )


def _string(text: str) -> str:
    # A string is written alike in JSON and in Erlang.
    return json.dumps(text, ensure_ascii=False)
