"""What OpenSSH asks for: a passphrase, a password. It asks by a program of ours, which asks us by a socket.

OpenSSH starts the program of ``SSH_ASKPASS`` with the question as its argument, and reads the answer from its output.
So an answer is in no argument and in no environment; the socket lies in a folder that only we may enter.

Who asks is known by the process that started the program: a jump host's own `ssh` is another than the host's, and gets
no password. An `ssh` that gets none would send an empty one, which is a failed login to the server; so it is ended. A
question of a server begins with ``(user@host)`` since OpenSSH 8.5, so that it can't be taken for one that `ssh` asks
for a key. With older versions nothing is answered.
"""

import json
import re
import shlex
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from relup_remote import files
from relup_remote.secrets import NotTried, Password, Secrets

SOCKET = "RELUP_ASKPASS"
"""The variable that leads the program to us."""

PASSPHRASE = re.compile(r"Enter passphrase for (?:\w+ )?key ")
"""How `ssh` asks for the passphrase of a key, without the words of any server."""

LOGIN = re.compile(r"\(.+@.+\) |.+@.+'s password: ")
"""How `ssh` asks for the password of a login, or passes on what a server asks."""

LONGEST = 1 << 16
"""Bytes of a question."""

NOTHING = "no password is given to another ssh on the way"

ASKS = f"""\
import json, os, signal, socket, sys
if os.environ.get("SSH_ASKPASS_PROMPT"):
    # It is no secret that is asked for: whether to go on, or to touch a token.
    sys.exit(1)
asker, question, answer, is_heard = os.getppid(), sys.argv[-1], b"", False
try:
    with socket.socket(socket.AF_UNIX) as us:
        us.connect(os.environ["RELUP_ASKPASS"])
        us.sendall(json.dumps([asker, question]).encode() + b"\\n")
        is_heard = True
        answer = us.makefile("rb").read()
except (KeyError, OSError):
    pass
try:
    if answer:
        os.write(1, answer)
        sys.exit(0)
    if not question.startswith(("Enter passphrase for ", "Enter PIN for ")):
        if not is_heard:
            # Nobody else says why.
            os.write(2, b"{NOTHING}\\n")
        # It would take no answer for an empty password, and send that. So it is ended, unless it has ended already:
        # then our parent is one that has begun another session.
        if os.getsid(asker) == os.getsid(0):
            os.kill(asker, signal.SIGTERM)
except OSError:
    pass
sys.exit(1)
"""


def program(file: Path) -> None:
    """Write the program that asks us; where `SOCKET` leads nowhere it gives no answer. Raises `Failure`."""
    code = file.with_suffix(".py")
    files.write_private(code, ASKS)
    words = shlex.join([sys.executable, "-I", "-S", str(code)])
    files.write_program(file, f'#!/bin/sh\nexec {words} "$@"\n')


class Answers:
    """Answers what is asked at the socket ``path`` meanwhile, as a context manager.

    ``asker`` says the process id of the host's own `ssh`, ``host`` is its name, ``user`` who logs in there, ``seconds``
    how long a password may wait for its trial at another host. ``hang_up`` ends that `ssh`: a password that is asked
    for again was wrong, and an empty one would count as another attempt.
    """

    def __init__(
        self,
        path: Path,
        secrets: Secrets,
        host: str,
        user: str,
        seconds: float,
        asker: Callable[[], int | None],
        hang_up: Callable[[], None],
    ) -> None:
        self._secrets = secrets
        self._host = host
        self._user = user
        self._seconds = seconds
        self._asker = asker
        self._hang_up = hang_up
        self._asked = set[str]()
        self._outcome: bool | None = None
        self._is_over = threading.Event()
        self._trial: threading.Thread | None = None
        self.not_tried = ""
        self.is_refused = False
        self.is_asked_by_others = False
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()

    def __enter__(self) -> "Answers":
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._is_over.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        if self._trial:
            self._trial.join(self._seconds)

    @property
    def is_tried(self) -> bool:
        """Whether the login password was given."""
        return self._trial is not None

    def ended(self, is_right: bool | None) -> None:
        """Say what the host made of the password, if it was given; None is not known."""
        self._outcome = False if self.is_refused and not is_right else is_right
        self._is_over.set()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                threading.Thread(target=self._answer, args=[client], daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        with client, suppress(OSError, ValueError):
            client.settimeout(self._seconds)
            asker, question = json.loads(client.makefile("rb").readline(LONGEST))
            self._give(client, asker, str(question))

    def _give(self, client: socket.socket, asker: Any, question: str) -> None:
        if PASSPHRASE.match(question):
            if self._secrets.passphrase is not None and question not in self._asked:
                self._asked.add(question)
                client.sendall(f"{self._secrets.passphrase}\n".encode())
            return
        self.is_asked_by_others = self.is_asked_by_others or asker != self._asker()
        password = self._secrets.login
        if password is None or asker != self._asker() or not LOGIN.match(question):
            return
        if self._trial is not None:
            self.is_refused = True
            self._hang_up()
            return
        self._trial = threading.current_thread()
        self._try(client, password)

    def _try(self, client: socket.socket, password: Password) -> None:
        """Give the password, and wait for what becomes of it."""
        try:
            with password.tried_at(self._host, self._user, self._seconds) as trial:
                client.sendall(f"{trial.text}\n".encode())
                client.shutdown(socket.SHUT_RDWR)
                self._is_over.wait(self._seconds)
                trial.is_right = self._outcome
        except NotTried as reason:
            self.not_tried = str(reason)
            self._hang_up()
        except TimeoutError:
            self.not_tried = "another host did not answer to it in time"
            self._hang_up()
