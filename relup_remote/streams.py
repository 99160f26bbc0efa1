"""The standard streams of a command. Its work never fails because of what is printed.

A run that has upgraded a cluster has to be told of in the ledger, and must end with the right exit status, also where
the terminal has another encoding, a stream is closed, or the disk is full to which the output goes.
"""

import codecs
import errno
import io
import os
import select
import sys
from typing import Any

_FULL_FOR = 60.0
"""Seconds to wait for a reader of a stream that does not wait by itself."""

PLAIN = str.maketrans(
    {"…": "...", "–": "-", "‹": "<", "›": ">", "→": "->", "✓": "+", "✗": "x", "├": "|", "└": "`", "│": "|", "─": "-"}
)
"""What stands for the signs of our texts where the terminal's encoding has none."""

_PLAINLY = "relup_remote.plainly"


def _plainly(error: UnicodeError) -> tuple[str, int]:
    """A handler of encoding errors, as `codecs.register_error` wants it."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = (sign.translate(PLAIN) for sign in error.object[error.start : error.end])
    return "".join(sign if sign.isascii() else "?" for sign in signs), error.end


codecs.register_error(_PLAINLY, _plainly)


class _Lenient(io.RawIOBase):
    """A stream that takes all that is written, and keeps the first error.

    A reader that goes away is still an error, unless ``may_be_left``.
    """

    def __init__(self, raw: io.FileIO, *, may_be_left: bool) -> None:
        self._raw = raw
        self._may_be_left = may_be_left
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write as much as the system takes at once, or nothing at all once something could not be written."""
        if self.error is not None:
            return len(data)
        try:
            while (taken := self._raw.write(data)) is None:
                if not select.select([], [self._raw], [], _FULL_FOR)[1]:
                    raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        except OSError as error:
            if isinstance(error, BrokenPipeError) and not self._may_be_left:
                raise
            self.error = error
            return len(data)
        return taken

    def writable(self) -> bool:
        """As of any output."""
        return True

    def fileno(self) -> int:
        """As of the stream beneath."""
        return self._raw.fileno()

    def isatty(self) -> bool:
        """As of the stream beneath."""
        return self._raw.isatty()


def prepare() -> None:
    """Make the standard streams such that no printing fails.

    Signs that the terminal's encoding lacks are printed as plain ones, or as "?".
    """
    _open_what_is_closed()
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        beneath = getattr(stream, "buffer", None)
        # Without a buffer where PYTHONUNBUFFERED is set.
        raw = getattr(beneath, "raw", beneath)
        if isinstance(stream, io.TextIOWrapper) and isinstance(raw, io.FileIO) and raw.fileno() in (1, 2):
            stream.flush()
            # Of the old one nothing is kept that it could close.
            setattr(sys, name, lenient(stream, io.FileIO(raw.fileno(), "w", closefd=False)))
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_PLAINLY)


def lenient(stream: io.TextIOWrapper, raw: io.FileIO) -> io.TextIOWrapper:
    """The same stream, on which no printing fails."""
    return io.TextIOWrapper(
        # Progress is for who is there: without a reader of it, the work and its exit status are the same.
        io.BufferedWriter(_Lenient(raw, may_be_left=raw.fileno() == 2)),
        encoding=stream.encoding,
        errors=_PLAINLY,
        # With PYTHONUNBUFFERED only the other is set, and below this there is a buffer of ours.
        line_buffering=stream.line_buffering or stream.write_through,
        write_through=stream.write_through,
    )


def unprinted() -> str | None:
    """Why not all could be printed on standard output; None if all was."""
    sys.stdout.flush()
    error = getattr(getattr(getattr(sys.stdout, "buffer", None), "raw", None), "error", None)
    return None if error is None else str(error.strerror or error)


def _open_what_is_closed() -> None:
    """Have all three standard streams: started without one (``>&-``), the ledger could become what is printed to."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", closefd=False))
