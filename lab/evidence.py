"""What MQTT clients saw, counted: the judge of whether an upgrade was noticed. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Evidence:
    """The sum of what all clients saw. Gaps are seconds."""

    clients: int
    kept: int
    """Clients whose one connection lasted throughout."""
    reconnects: int
    """Connections that were lost, and so had to be made anew."""
    sent: int
    acknowledged: int
    """Messages the broker took responsibility for."""
    received: int
    """Deliveries, each message counted once a subscriber."""
    lost: int
    """Deliveries that were due and did not come."""
    duplicated: int
    """Deliveries of what a subscriber already had."""
    longest_gap: float
    """The longest any client waited from one delivery to the next."""

    @property
    def held(self) -> bool:
        """Nobody noticed: something was sent, all of it taken and delivered, and no connection was lost."""
        return (
            self.sent > 0
            and self.acknowledged == self.sent
            and self.lost == 0
            and self.reconnects == 0
            and self.kept == self.clients
        )

    def __str__(self) -> str:
        return (
            f"{self.kept} of {self.clients} connections kept, {self.reconnects} reconnects; "
            f"{self.sent:,} messages sent, {self.acknowledged:,} acknowledged, {self.received:,} received, "
            f"{self.lost} lost, {self.duplicated} duplicated; longest gap {self.longest_gap:.2f} s"
        )


class Ledger:
    """Notes each event as the clients see it, and draws the sum.

    ``audience``: for each publishing client, the clients that are due its messages.
    Times are seconds of any one clock that never goes back.
    """

    def __init__(self, audience: Mapping[str, Iterable[str]]) -> None:
        self._audience = {publisher: tuple(subscribers) for publisher, subscribers in audience.items()}
        self._sent: set[tuple[str, int]] = set()
        self._acknowledged: set[tuple[str, int]] = set()
        self._received: dict[str, set[tuple[str, int]]] = {}
        self._duplicated = 0
        self._arrivals: dict[str, list[float]] = {client: [] for client in self._audience}
        self._connects = dict.fromkeys(self._audience, 0)
        self._disconnects = dict.fromkeys(self._audience, 0)

    def connected(self, client: str) -> None:
        """The broker accepted a connection of ``client``."""
        self._connects[client] += 1

    def disconnected(self, client: str) -> None:
        """The client lost its connection, which it had not asked for."""
        self._disconnects[client] += 1

    def sent(self, client: str, number: int) -> None:
        """``client`` published its message ``number``."""
        self._sent.add((client, number))

    def acknowledged(self, client: str, number: int) -> None:
        """The broker acknowledged message ``number`` of ``client``."""
        self._acknowledged.add((client, number))

    def delivered(self, subscriber: str, publisher: str, number: int, at: float) -> None:
        """``subscriber`` got message ``number`` of ``publisher``."""
        got = self._received.setdefault(subscriber, set())
        if (publisher, number) in got:
            self._duplicated += 1
        got.add((publisher, number))
        self._arrivals[subscriber].append(at)

    @property
    def is_acknowledged(self) -> bool:
        """Whether every message was acknowledged. That is all that can be awaited where some were lost."""
        return self._acknowledged >= self._sent

    @property
    def is_settled(self) -> bool:
        """Whether every message was acknowledged and delivered to all it was due to."""
        return self.is_acknowledged and self._lost() == 0

    def evidence(self, start: float, end: float) -> Evidence:
        """The sum over the messages published between ``start`` and ``end``.

        A client that hears nothing any more has a gap up to ``end``, and one that never heard anything from ``start``.
        """
        gaps = [
            after - before
            for arrivals in self._arrivals.values()
            for before, after in pairwise([start, *arrivals, max([end, *arrivals[-1:]])])
        ]
        return Evidence(
            clients=len(self._audience),
            kept=sum(self._connects[c] == 1 and self._disconnects[c] == 0 for c in self._audience),
            reconnects=sum(self._disconnects.values()),
            sent=len(self._sent),
            acknowledged=len(self._acknowledged),
            received=sum(len(got) for got in self._received.values()),
            lost=self._lost(),
            duplicated=self._duplicated,
            longest_gap=max(gaps, default=0.0),
        )

    def _lost(self) -> int:
        return sum(
            (publisher, number) not in self._received.get(subscriber, ())
            for publisher, number in self._sent
            for subscriber in self._audience[publisher]
        )
