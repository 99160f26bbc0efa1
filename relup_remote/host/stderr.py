"""What a command says on standard error, and answering sudo, which asks for its password there."""

import secrets
import threading

from relup_remote.host.transport import Process
from relup_remote.secrets import Trial

TAIL = 4096
"""Bytes kept of what is said."""


def prompt() -> str:
    """A prompt for sudo that nothing else says."""
    return f"[relup_remote {secrets.token_hex(8)}] "


class Stderr(threading.Thread):
    """Reads a process's standard error to its end, so that it never fills up, and keeps the last ``kept`` bytes of it.

    Where sudo asks by ``prompt``, `answer` gives it the password. A second question means that it was wrong: then the
    input is closed, so that it is not tried again.
    """

    def __init__(self, process: Process, prompt: str | None = None, kept: int = TAIL) -> None:
        super().__init__(daemon=True)
        self._process = process
        self._prompt = prompt.encode() if prompt else None
        self._kept = kept
        self._last = b""
        self._asked = 0
        self._change = threading.Condition()
        self._is_over = False

    def run(self) -> None:
        """Read until there is no more."""
        try:
            while data := self._process.receive_error():
                self._take(data)
        finally:
            with self._change:
                self._is_over = True
                self._change.notify_all()

    def text(self) -> str:
        """What has been kept."""
        return self._last.decode("utf-8", errors="replace").strip()

    def answer(self, trial: Trial, seconds: float) -> bool:
        """Give sudo the password once it has asked; says whether it has. Raises TimeoutError if it says nothing."""
        with self._change:
            if not self._change.wait_for(lambda: self._asked or self._is_over, seconds):
                raise TimeoutError
            if not self._asked:
                return False
        rest = memoryview(f"{trial.text}\n".encode())
        while rest:
            rest = rest[self._process.send(rest, seconds) :]
        return True

    @property
    def is_asked(self) -> bool:
        """Whether sudo has asked."""
        return self._asked > 0

    @property
    def is_refused(self) -> bool:
        """Whether sudo has asked again."""
        return self._asked > 1

    def _take(self, data: bytes) -> None:
        last = self._last + data
        with self._change:
            while self._prompt and self._prompt in last:
                last = last.replace(self._prompt, b"", 1)
                self._asked += 1
                if self._asked == 2:
                    self._process.end_input()
            self._last = last[-self._kept :]
            self._change.notify_all()
