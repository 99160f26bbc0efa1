"""MQTT clients that publish and subscribe while something happens to the cluster, and then say what they noticed.

Client *i* of a cluster of *n* nodes connects to node ``i mod n`` and belongs to group ``i div n``: a group has one
client on each node. Each publishes to `traffic/<node>/<group>/<client>` and subscribes to `traffic/+/<group>/#`, so
every message goes to a client on each node, by wildcards, QoS 1 both ways. The payload is `<client> <number>`.

All clients live in one thread, which alone touches them and their ledger.
"""

import selectors
import time
from collections.abc import Mapping
from threading import Event, Thread
from types import TracebackType
from typing import Any

from paho.mqtt.client import Client, MQTTMessage, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion

from lab.errors import LabError
from lab.evidence import Evidence, Ledger
from lab.layout import LOOPBACK

KEEPALIVE = 15
RETRY_INTERVAL = 0.2
TICK = 0.05
HELLO = 0
"""The number of messages that only show that a subscription works across the cluster. They don't count."""


class Traffic:
    """MQTT clients on the nodes of a cluster.

    ``ports``: the MQTT port of each node, by host name. ``clients``: how many in all. ``rate``: messages a second each
    of them publishes. ``addresses``: those of the nodes, if they are not on this machine. As a context manager it
    starts on entry, and on an exception stops without waiting.
    """

    def __init__(
        self,
        ports: Mapping[str, int],
        clients: int = 30,
        rate: float = 5.0,
        addresses: Mapping[str, str] | None = None,
    ) -> None:
        where = addresses or {}
        nodes = list(ports.items())
        places = [(index, *nodes[index % len(nodes)], index // len(nodes)) for index in range(clients)]
        groups: dict[int, list[str]] = {}
        for index, _, _, group in places:
            groups.setdefault(group, []).append(_name(index))
        self._ledger = Ledger({_name(index): groups[group] for index, _, _, group in places})
        self._selector = selectors.DefaultSelector()
        self._clients = [
            _TrafficClient(
                _name(index),
                host,
                (where.get(host, LOOPBACK), port),
                group,
                len(groups[group]),
                self._ledger,
                self._selector,
            )
            for index, host, port, group in places
        ]
        self._interval = 1 / rate
        self._ready, self._stop, self._abandon = Event(), Event(), Event()
        self._drain_timeout = 0.0
        self._some_lost = False
        self._span = (0.0, 0.0)
        self._failure: Exception | None = None
        self._thread = Thread(target=self._run, name="traffic", daemon=True)

    def start(self, timeout: float = 30.0) -> None:
        """Connect all clients and start publishing once each hears its whole group.

        Raises `LabError` (``clients_not_ready``) after ``timeout`` seconds.
        """
        self._thread.start()
        in_time = self._ready.wait(timeout)
        if self._failure is not None:
            raise self._failure
        if not in_time:
            waiting = [client.name for client in self._clients if not client.is_ready]
            self._end_thread()
            raise LabError(
                "clients_not_ready",
                f"{len(waiting)} of {len(self._clients)} MQTT clients could not connect and hear their group: "
                f"{', '.join(waiting)}.",
                "`inv lab.status` says whether all nodes run; their logs are in <root>/log.",
            )

    def stop(self, drain_timeout: float = 15.0, *, some_lost: bool = False) -> Evidence:
        """Stop publishing, wait up to ``drain_timeout`` seconds for what is still due, disconnect; what was seen.

        With ``some_lost`` only acknowledgements are waited for: what was on its way to clients of a node that restarts
        is lost.
        """
        self._drain_timeout = drain_timeout
        self._some_lost = some_lost
        self._stop.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        return self._ledger.evidence(*self._span)

    def __enter__(self) -> "Traffic":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_thread()

    def _end_thread(self) -> None:
        self._abandon.set()
        self._stop.set()
        self._thread.join()

    # In the thread

    def _run(self) -> None:
        try:
            self._warm_up()
            self._publish()
            self._drain()
        except Exception as failure:
            self._failure = failure
            self._ready.set()
        finally:
            for client in self._clients:
                client.close()
            self._selector.close()

    def _warm_up(self) -> None:
        next_hello = 0.0
        while not (self._abandon.is_set() or all(client.is_ready for client in self._clients)):
            if time.monotonic() >= next_hello:
                for client in self._clients:
                    client.hello()
                next_hello = time.monotonic() + RETRY_INTERVAL
            self._turn(TICK)

    def _publish(self) -> None:
        start = time.monotonic()
        step = self._interval / len(self._clients)
        self._ready.set()
        count = 0
        while not self._stop.is_set():
            due = start + count * step
            self._turn(min(TICK, max(0.0, due - time.monotonic())))
            if time.monotonic() >= due:
                self._clients[count % len(self._clients)].publish()
                count += 1
        self._span = (start, time.monotonic())

    def _drain(self) -> None:
        deadline = time.monotonic() + self._drain_timeout
        while not (self._abandon.is_set() or self._has_all or time.monotonic() > deadline):
            self._turn_for(2 * TICK)
        # What comes twice comes late.
        if not self._abandon.is_set():
            self._turn_for(10 * TICK)

    @property
    def _has_all(self) -> bool:
        return self._ledger.is_acknowledged if self._some_lost else self._ledger.is_settled

    def _turn_for(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._turn(TICK)

    def _turn(self, timeout: float) -> None:
        for key, _ in self._selector.select(timeout):
            key.data()
        now = time.monotonic()
        for client in self._clients:
            client.maintain(now)


class _TrafficClient:
    """One client: a paho client driven by the selector of the traffic, noting everything in the ledger."""

    def __init__(
        self,
        name: str,
        host: str,
        address: tuple[str, int],
        group: int,
        group_size: int,
        ledger: Ledger,
        selector: selectors.BaseSelector,
    ) -> None:
        self.name = name
        self._address = address
        self._topic = f"traffic/{host}/{group}/{name}"
        self._filter = f"traffic/+/{group}/#"
        self._group_size = group_size
        self._ledger = ledger
        self._selector = selector
        self._heard: set[str] = set()
        self._in_flight: dict[int, int] = {}
        self._published = HELLO
        self._is_connected = False
        self._is_closing = False
        self._next_try = 0.0
        self._next_care = 0.0
        self._mqtt = self._make_mqtt()

    @property
    def is_ready(self) -> bool:
        """Whether a message of every client of the group has come, over whichever node."""
        return len(self._heard) == self._group_size

    def hello(self) -> None:
        """Publish what doesn't count."""
        if self._is_connected:
            self._send(HELLO)

    def publish(self) -> None:
        """Publish the next message; while there is no connection, it waits for one."""
        self._published += 1
        self._ledger.sent(self.name, self._published)
        self._send(self._published)

    def maintain(self, now: float) -> None:
        """Try to connect where there is no connection; keep alive where there is one."""
        if self._mqtt.socket() is None:
            if now >= self._next_try:
                self._next_try = now + RETRY_INTERVAL
                self._connect()
        elif now >= self._next_care:
            self._next_care = now + 1
            self._mqtt.loop_misc()

    def close(self) -> None:
        """Take leave of the broker."""
        self._is_closing = True
        self._mqtt.disconnect()

    def _make_mqtt(self) -> Client:
        mqtt = Client(CallbackAPIVersion.VERSION2, client_id=self.name, protocol=MQTTv311)
        mqtt.on_connect = self._on_connect
        mqtt.on_disconnect = self._on_disconnect
        mqtt.on_publish = self._on_publish
        mqtt.on_message = self._on_message
        mqtt.on_socket_open = lambda _, __, sock: self._watch(sock)
        mqtt.on_socket_close = lambda _, __, sock: self._unwatch(sock)
        return mqtt

    def _connect(self) -> None:
        try:
            self._mqtt.connect(*self._address, keepalive=KEEPALIVE)
        except OSError:
            # The node is down: the next try comes.
            return

    def _send(self, number: int) -> None:
        self._in_flight[self._mqtt.publish(self._topic, f"{self.name} {number}", qos=1).mid] = number
        self._flush()

    def _read(self) -> None:
        self._mqtt.loop_read()
        self._flush()

    def _flush(self) -> None:
        if self._mqtt.socket() is not None and self._mqtt.want_write():
            self._mqtt.loop_write()

    def _watch(self, sock: Any) -> None:
        self._selector.register(sock, selectors.EVENT_READ, self._read)

    def _unwatch(self, sock: Any) -> None:
        self._selector.unregister(sock)

    def _on_connect(self, mqtt: Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if not reason.is_failure:
            self._is_connected = True
            self._ledger.connected(self.name)
            mqtt.subscribe(self._filter, qos=1)

    def _on_disconnect(self, _mqtt: Client, _data: Any, _flags: Any, _reason: Any, _properties: Any) -> None:
        if self._is_connected and not self._is_closing:
            self._ledger.disconnected(self.name)
        self._is_connected = False

    def _on_publish(self, _mqtt: Client, _data: Any, mid: int, _reason: Any, _properties: Any) -> None:
        number = self._in_flight.pop(mid, HELLO)
        if number != HELLO:
            self._ledger.acknowledged(self.name, number)

    def _on_message(self, _mqtt: Client, _data: Any, message: MQTTMessage) -> None:
        publisher, number = message.payload.decode().split()
        if int(number) == HELLO:
            self._heard.add(publisher)
        else:
            self._ledger.delivered(self.name, publisher, int(number), time.monotonic())


def _name(index: int) -> str:
    return f"client-{index + 1}"
