"""A host: the right user for each request, over what stands there."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relup_remote.boundary import Event
from relup_remote.core.protocol import Failure
from relup_remote.deadline import Deadline
from relup_remote.host import session, standing
from relup_remote.host.payload import Payload, payload
from relup_remote.host.standing import Standing

if TYPE_CHECKING:
    from relup_remote.inventory import HostSettings

DEADLINE = 600.0
"""Seconds for a request that names none."""

LONGEST_USER = 256
"""Characters of a user's name; Linux allows 32, directories more."""

USERS = 2
"""Users to become at most: the one that may see the node, and the one whose it is."""

NAME_THE_USER = "If you know whose the node is, name that user as `become` in the inventory; packages have `emqx`."
"""What to do beside where root was asked for, only to see whose the node is."""

LATER = 20.0
"""Seconds after a request's deadline in which the core may still say what it came to."""


class Host:
    """A host of the inventory. It is connected to when it is first needed.

    Its connection is the one of the command that the settings belong to (``ways``), and stays for that command's later
    requests. Without one it is closed by `close`. ``core`` is what is run there.
    """

    def __init__(self, settings: "HostSettings", core: Payload | None = None) -> None:
        self._settings = settings
        self._core = core or payload()
        self._lent = ExitStack()
        self._standing: Standing | None = None

    def __enter__(self) -> "Host":
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the connection to its command, or close it. Safe to repeat."""
        self._standing = None
        self._lent.close()

    def run(
        self, request: Mapping[str, Any], tarball: Path | None, on_event: Callable[[Event], None]
    ) -> dict[str, Any]:
        """Have the core carry out ``request``; returns its ``result`` event.

        ``on_event`` gets the events before it, as they come; ``tarball`` is the file that the core may want. With
        ``become: auto`` a core that finds the node to be another user's, or can't see it, runs once more, as the user
        that it names; of the attempts before the last nothing is told. Raises `Failure`, stage ``connect``, for all
        that goes wrong between here and the core.
        """
        # The core ends by itself at the request's deadline; somewhat later nobody waits for its word.
        deadline = Deadline(request.get("deadline", DEADLINE) + LATER)
        become = self._settings.become
        if become != "auto":
            return self._attempt(request, tarball, on_event, deadline, None if become == "never" else become)
        # A core that can't see the node asks for root first, and as root it finds whose the node is.
        # No third user is needed, and each is an attempt at sudo.
        seen = set[str]()
        why = ""
        while True:
            held = _Held(on_event)
            try:
                result = self._attempt(request, tarball, held, deadline, self._stands.user)
            except Failure as failure:
                if failure.err_type == "become_failed" and why:
                    failure.message = f"{why} {failure.message}"
                    if self._stands.user == "root":
                        failure.hint = f"{NAME_THE_USER} {failure.hint}"
                if failure.err_type == "become_failed":
                    # The next request finds out anew, and can say why.
                    self._stands.user = None
                raise
            owner = _owner(result)
            if owner is None or owner in seen or len(seen) == USERS:
                held.release()
                return result
            seen.add(owner)
            self._stands.user = owner
            why = str(result["error"]["message"])

    @property
    def _stands(self) -> Standing:
        if self._standing is None:
            self._standing = self._lent.enter_context(standing.on(self._settings))
        return self._standing

    def _attempt(
        self,
        request: Mapping[str, Any],
        tarball: Path | None,
        on_event: Callable[[Event], None],
        deadline: Deadline,
        user: str | None,
    ) -> dict[str, Any]:
        errand = session.Errand(
            request=request,
            tarball=tarball,
            on_event=on_event,
            payload=self._core,
            python=self._settings.python,
            user=user,
            name=self._settings.name,
            login=self._settings.user or "",
            sudo_password=self._settings.secrets.sudo,
            timeout=self._settings.command_timeout,
            deadline=deadline,
        )
        start = partial(self._stands.start, self._settings, lambda said: on_event({"event": "note", "message": said}))
        return session.run(start, errand, self._stands.waiting)


@dataclass
class _Held:
    """Passes events on once it is certain that there will be no second attempt: a core looks at its user first."""

    on_event: Callable[[Event], None]
    events: list[Event] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if event["event"] != "hello":
            self.release()

    def release(self) -> None:
        """Pass on what is held."""
        for event in self.events:
            self.on_event(event)
        self.events.clear()


def _owner(result: Event) -> str | None:
    """The user that the core should have run as, if that is what kept it from its work."""
    error = result["error"]
    if error is None or error["err_type"] != "wrong_user":
        return None
    owner = error["detail"].get("owner")
    if owner is None:
        return None
    if (
        not isinstance(owner, str)
        or not owner
        or owner.startswith("-")
        or not owner.isprintable()
        or len(owner) > LONGEST_USER
    ):
        raise Failure("become_failed", detail={"owner": owner}, stage="connect")
    return owner
