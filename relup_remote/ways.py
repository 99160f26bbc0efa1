"""What the requests of one command share: connections, masters, jump hosts, and how many logins there are at once."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

CONNECTS = 8
"""Logins at the same time, unless told otherwise: OpenSSH's server turns some away from ten on."""

LOGIN_TRIES, TRIES = 8, 5
"""How often a server that hangs up at once is tried, and one that refuses a session."""

FIRST_PAUSE, LONGEST_PAUSE = 0.25, 2.0
"""Seconds before the second try, and at most; each pause is about twice as long as the one before."""


class Closable(Protocol):
    """What is closed at the end of a command."""

    def close(self) -> None: ...


T = TypeVar("T", bound=Closable)

IDLE = 32
"""Things that are kept while nobody uses them, see `Ways.lent`: each may be a connection, with a thread of ours."""


class Ways:
    """Things that are made once for a command, by their key, and closed at its end; as a context manager.

    ``connects`` is how many logins there may be at once.
    """

    def __init__(self, connects: int = CONNECTS) -> None:
        self._logins = threading.BoundedSemaphore(connects)
        self._lock = threading.Lock()
        self._locks: dict[Hashable, threading.Lock] = {}
        self._kept: dict[Hashable, Any] = {}
        self._failed: dict[Hashable, tuple[float, Exception]] = {}
        self._lent: dict[Hashable, Any] = {}
        self._users = Counter[Hashable]()
        self._proven = set[Hashable]()
        self._told = set[Hashable]()

    def __enter__(self) -> "Ways":
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def kept(self, key: Hashable, make: Callable[[], T], is_good: Callable[[T], bool]) -> T:
        """What ``make`` has made for this key; it is made anew where it is no longer good.

        What ``make`` raises is raised for those too who waited for it meanwhile.
        """
        came = time.monotonic()
        with self._lock_of(key):
            found = self._kept.pop(key, None)
            if found is not None and is_good(found):
                self._kept[key] = found
                return found  # type: ignore[no-any-return]  # The key stands for the type.
            if found is not None:
                found.close()
            failed, error = self._failed.get(key, (0.0, None))
            if error is not None and failed > came:
                raise error
            try:
                self._kept[key] = made = make()
            except Exception as problem:
                self._failed[key] = time.monotonic(), problem
                raise
            return made

    @contextmanager
    def lent(self, key: Hashable, make: Callable[[], T]) -> Iterator[T]:
        """What ``make`` has made for this key, as long as the context lasts; several may have it at once.

        It is kept after that. Of what nobody uses only the `IDLE` things that were used last stay.
        """
        with self._lock:
            if key not in self._lent:
                self._lent[key] = make()
            thing = self._lent[key]
            self._users[key] += 1
        try:
            yield thing
        finally:
            for each in self._given_back(key):
                each.close()

    def _given_back(self, key: Hashable) -> Sequence[Closable]:
        """Note that one user less has it; returns what is to be closed."""
        with self._lock:
            self._users[key] -= 1
            if key in self._lent:
                # The last one is what was used last.
                self._lent[key] = self._lent.pop(key)
            idle = [each for each in self._lent if not self._users[each]]
            return [self._lent.pop(each) for each in idle[:-IDLE]]

    @contextmanager
    def login(self, seconds: float) -> Iterator[None]:
        """One of the logins that may be at once. Raises TimeoutError if none is free within so many seconds."""
        # Each of the others may take as long as we may; whoever waits is not yet late.
        if not self._logins.acquire(timeout=max(seconds, 1.0) * TURNS):
            raise TimeoutError
        try:
            yield
        finally:
            self._logins.release()

    @contextmanager
    def first(self, key: Hashable | None, seconds: float) -> Iterator[None]:
        """Let the first one alone connect by what ``key`` stands for; nobody waits where it is None.

        The others then find what it has made, such as the connection to a jump host.
        """
        if key is None or key in self._proven:
            yield
            return
        lock = self._lock_of(("first", key))
        is_alone = lock.acquire(timeout=max(seconds, 1.0) * TURNS)
        if is_alone and key in self._proven:
            lock.release()
            is_alone = False
        try:
            yield
        finally:
            self._proven.add(key)
            if is_alone:
                lock.release()

    def is_news(self, key: Hashable) -> bool:
        """Whether it is the first time that this is asked with the key."""
        with self._lock:
            is_news = key not in self._told
            self._told.add(key)
            return is_news

    def close(self) -> None:
        """Close all that was made: what stands on hosts, then what leads there, the last first. Safe to repeat."""
        with self._lock:
            lent = list(self._lent.values())
            self._lent.clear()
        for each in lent:
            each.close()
        while self._kept:
            _key, last = self._kept.popitem()
            last.close()

    @staticmethod
    def tries(most: int = TRIES) -> Iterator[int]:
        """How many of ``most`` tries are left at a server that may be busy, down to 0; all but the first after a pause.

        The pauses differ, so that those who were turned away together do not come back so.
        """
        for number in range(most):
            if number:
                pause = min(FIRST_PAUSE * 2 ** (number - 1), LONGEST_PAUSE)
                time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  # Nothing secret.
            yield most - 1 - number

    def _lock_of(self, key: Hashable) -> threading.Lock:
        with self._lock:
            return self._locks.setdefault(key, threading.Lock())


TURNS = 6
"""Times the limit of a connection that may be waited for others to connect."""
