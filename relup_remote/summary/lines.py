"""A feed as lines of JSON on stdout, for programs that follow a run: one a line, the last being the result."""

import json
import os
from collections.abc import Mapping
from typing import Any, TextIO

from relup_remote.rollout.feed import Event


class EventLines:
    """A listener that writes each event to ``out`` as it comes, until nobody reads any more."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._is_read = True

    def __call__(self, event: Event) -> None:
        """Write ``event``."""
        self._write(event)

    def end(self, document: Mapping[str, Any]) -> None:
        """Write the command's document: the last line, and the only one without ``event``."""
        self._write(document)

    def _write(self, line: Mapping[str, Any]) -> None:
        if not self._is_read:
            return
        try:
            self._out.write(f"{json.dumps(line, separators=(',', ':'))}\n")
            self._out.flush()
        except BrokenPipeError:
            self._is_read = False
            # What is still in its buffer must not fail at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._out.fileno())
