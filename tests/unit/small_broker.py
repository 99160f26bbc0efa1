"""An MQTT broker just good enough for the lab's clients, that misbehaves on request."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Thread

from paho.mqtt.client import topic_matches_sub

CONNECT, PUBLISH, SUBSCRIBE, PINGREQ = 1, 3, 8, 12
CONNACK, PINGRESP = b"\x20\x02\x00\x00", b"\xd0\x00"
QOS_1 = 0x32


@dataclass
class Broker:
    """``copies`` says how many times a payload is delivered to each subscriber; ``port`` is where it listens."""

    copies: Callable[[str], int] = lambda payload: 1
    port: int = 0
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _subscriptions: dict[asyncio.StreamWriter, str] = field(default_factory=dict)

    @contextmanager
    def running(self) -> Iterator["Broker"]:
        """Serve in a thread of its own."""
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        thread = Thread(target=self._loop.run_forever)
        thread.start()
        yield self
        self.cut_all()
        self._loop.call_soon_threadsafe(self._loop.stop)
        thread.join()
        server.close()
        self._loop.run_until_complete(server.wait_closed())
        self._loop.close()

    def cut_all(self) -> None:
        """Close every connection."""
        asyncio.run_coroutine_threadsafe(self._cut_all(), self._loop).result(timeout=60)

    async def _cut_all(self) -> None:
        for writer in self._subscriptions:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                first = (await reader.readexactly(1))[0]
                body = await reader.readexactly(await _length(reader))
                self._handle(first >> 4, body, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            self._subscriptions.pop(writer, None)
            writer.close()

    def _handle(self, kind: int, body: bytes, writer: asyncio.StreamWriter) -> None:
        if kind == CONNECT:
            writer.write(CONNACK)
        elif kind == PINGREQ:
            writer.write(PINGRESP)
        elif kind == SUBSCRIBE:
            self._subscriptions[writer] = body[4:-1].decode()
            writer.write(b"\x90\x03" + body[:2] + b"\x01")
        elif kind == PUBLISH:
            topic_end = 2 + int.from_bytes(body[:2], "big")
            writer.write(b"\x40\x02" + body[topic_end : topic_end + 2])
            self._deliver(body[2:topic_end].decode(), body[topic_end + 2 :].decode(), body)

    def _deliver(self, topic: str, payload: str, packet: bytes) -> None:
        for subscriber, pattern in self._subscriptions.items():
            if topic_matches_sub(pattern, topic):
                # The packets are short: one byte holds the length.
                subscriber.write((bytes([QOS_1, len(packet)]) + packet) * self.copies(payload))


async def _length(reader: asyncio.StreamReader) -> int:
    length = shift = 0
    while (byte := (await reader.readexactly(1))[0]) & 0x80:
        length |= (byte & 0x7F) << shift
        shift += 7
    return length | byte << shift
