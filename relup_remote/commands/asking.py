"""Asking before something is changed."""

import sys

from relup_remote.program import typed
from relup_remote.summary.layout import folded
from relup_remote.summary.text import clean, columns
from relup_remote.usage import Declined, UsageError


def confirm(plan: str, question: str, *, yes: bool, quiet: bool) -> None:
    """Show on stderr what is going to happen, and go on only if the operator wants it, or said ``--yes``.

    With ``yes`` and ``quiet`` it is not even shown. Raises `UsageError` (``no_terminal``) if there is
    nobody to ask, `Declined` on any answer but yes. Ctrl-C passes.
    """
    if not (yes and quiet):
        print(folded(clean(typed(plan)), columns(sys.stderr)), file=sys.stderr)
    if yes:
        return
    # Python has no stdin at all where the caller closed it.
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError("no_terminal", "there is no terminal to ask on")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    try:
        answer = sys.stdin.readline()
    except UnicodeDecodeError:
        raise Declined from None
    except KeyboardInterrupt:
        print(file=sys.stderr)
        raise
    if not answer.endswith("\n"):
        # What is said next begins a line of its own.
        print(file=sys.stderr)
    if answer.strip().lower() not in ("y", "yes"):
        raise Declined
