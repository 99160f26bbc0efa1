"""What the operator was asked for, and nobody else may see: each secret is a type that shows nothing of itself.

Passphrase, login password and sudo's password are three secrets. Each is only given to what it is for.
"""

import re
import shlex
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


class NotTried(Exception):
    """A password is not given to a host: it was refused before. The text says where."""


class Password:
    """A password for many hosts, all of which may ask one directory for the same account.

    So it is tried at one host first, and the others wait. Where that refuses it, no other host is given it: one wrong
    password is one failed attempt. A host that has refused it is never given it again. What one account has made of it
    says nothing of another one.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._change = threading.Condition()
        self._accounts: dict[str, _Account] = {}

    def __repr__(self) -> str:
        return "Password()"

    @contextmanager
    def tried_at(self, host: str, user: str, seconds: float) -> "Iterator[Trial]":
        """The password for one attempt at ``host``, perhaps after that of another host, at most ``seconds`` later.

        It is tried as that of the account ``user``. Raises `NotTried`, TimeoutError.
        """
        trial = Trial(self._text)
        with self._change:
            account = self._accounts.setdefault(user, _Account())
            account.refuse(host)
            if not self._change.wait_for(account.is_free, seconds):
                raise TimeoutError
            account.refuse(host)
            is_first = not account.is_proven
            account.is_tried = account.is_tried or is_first
        try:
            yield trial
        finally:
            with self._change:
                if is_first:
                    account.is_tried = False
                account.is_proven = account.is_proven or trial.is_right is True
                if trial.is_right is False:
                    account.refused_by.append(host)
                self._change.notify_all()


@dataclass
class _Account:
    """What has become of a password at the hosts of one account: whether it is tried now, is right, or was refused."""

    is_proven: bool = False
    is_tried: bool = False
    refused_by: list[str] = field(default_factory=list)

    def is_free(self) -> bool:
        """Whether the next host need not wait."""
        return self.is_proven or bool(self.refused_by) or not self.is_tried

    def refuse(self, host: str) -> None:
        """Raise `NotTried` where a host must not be given it."""
        if host in self.refused_by:
            raise NotTried("it was refused here before")
        if self.refused_by and not self.is_proven:
            raise NotTried(f"it was refused by {self.refused_by[0]}")


@dataclass
class Trial:
    """One attempt with a password. ``is_right`` is what the host made of it; None as long as that is not known."""

    text: str = field(repr=False)
    is_right: bool | None = None


@dataclass(frozen=True)
class Secrets:
    """``passphrase`` opens private keys here, ``login`` is the SSH user's password, ``sudo`` what sudo wants.

    None is: not asked for. None of them is ever shown.
    """

    passphrase: str | None = field(default=None, repr=False)
    login: Password | None = field(default=None, repr=False)
    sudo: Password | None = field(default=None, repr=False)


NO_SECRETS = Secrets()


class Shell:
    """A command line of the operator's, in which a secret may be: only its program is shown, ``text`` is all of it."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        words = self._words()
        program = next((word for word in words if not re.match(r"\w+=", word)), "")
        return program if words in ([], [program]) else f"{program} …".strip()

    def __repr__(self) -> str:
        return f"Shell({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Shell) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def hidden_in(self, said: str) -> str:
        """``said`` without what was given to the command, which a program may repeat when it fails."""
        for word in sorted({self.text, *self._words()}, key=len, reverse=True):
            if len(word) >= LONG_ENOUGH and word != str(self).removesuffix(" …"):
                said = said.replace(word, "…")
        return said

    def _words(self) -> list[str]:
        try:
            return shlex.split(self.text)
        except ValueError:
            # A quote that is still open.
            return self.text.split()


LONG_ENOUGH = 8
"""Characters from which on a word of a command may be a secret; shorter ones are in every other sentence."""
