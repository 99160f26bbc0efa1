"""What of MQTT clients is on a node's disk: a session that lasts, and retained messages, looked at as clients do."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from paho.mqtt.client import Client, MQTTMessage, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion

from lab.layout import LOOPBACK

TIMEOUT = 15.0


class Device:
    """A connected client with the session that lasts, or with a clean one.

    ``was_known``: whether the broker had its session. ``got``: what has come, topic and payload, in order.
    """

    def __init__(self, port: int, name: str, clean: bool = False) -> None:
        self.was_known = False
        self.got: list[tuple[str, str]] = []
        self._came = threading.Condition()
        self._acknowledged: set[int] = set()
        self._mqtt = Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=MQTTv311, clean_session=clean)
        connected = threading.Event()

        def on_connect(_mqtt: Client, _data: object, flags: object, *_: object) -> None:
            self.was_known = bool(getattr(flags, "session_present", False))
            connected.set()

        self._mqtt.on_connect = on_connect
        self._mqtt.on_message = self._on_message
        self._mqtt.on_subscribe = self._on_subscribe
        self._mqtt.connect(LOOPBACK, port, keepalive=60)
        self._mqtt.loop_start()
        assert connected.wait(TIMEOUT), f"{name} is not connected within {TIMEOUT:g} s"

    def close(self) -> None:
        """Leave; a session that lasts stays. Waits until the broker has seen it: else it sends us what is to wait."""
        ours = self._mqtt.socket()
        # Of a copy the broker's end is seen to close, which is the last that it does for a client.
        copy = None if ours is None else socket.socket(fileno=os.dup(ours.fileno()))
        self._mqtt.disconnect()
        self._mqtt.loop_stop()
        if copy is not None:
            with copy, suppress(ConnectionError):
                copy.settimeout(TIMEOUT)
                while copy.recv(4096):
                    pass

    def subscribe(self, topics: str) -> None:
        """Subscribe with QoS 1, and await the answer."""
        _, number = self._mqtt.subscribe(topics, qos=1)
        assert number is not None
        with self._came:
            assert self._came.wait_for(lambda: number in self._acknowledged, TIMEOUT), f"no answer for {topics}"

    def publish(self, topic: str, payload: str, retain: bool = False) -> None:
        """Publish with QoS 1, and await the acknowledgement."""
        sent = self._mqtt.publish(topic, payload, qos=1, retain=retain)
        sent.wait_for_publish(TIMEOUT)
        assert sent.is_published(), f"{topic} was not acknowledged within {TIMEOUT:g} s"

    def await_all(self, wanted: set[tuple[str, str]]) -> None:
        """Wait until all that is wanted has come. Raises `AssertionError` naming what has not."""
        with self._came:
            self._came.wait_for(lambda: wanted <= set(self.got), TIMEOUT)
        missing = wanted - set(self.got)
        assert not missing, f"{len(missing)} of {len(wanted)} did not come: {sorted(missing)[:3]}"

    def _on_message(self, _mqtt: Client, _data: object, message: MQTTMessage) -> None:
        with self._came:
            self.got.append((message.topic, message.payload.decode()))
            self._came.notify_all()

    def _on_subscribe(self, _mqtt: Client, _data: object, number: int, *_: object) -> None:
        with self._came:
            self._acknowledged.add(number)
            self._came.notify_all()


@contextmanager
def device(port: int, name: str, clean: bool = False) -> Iterator[Device]:
    """A client that is connected during the block."""
    made = Device(port, name, clean)
    try:
        yield made
    finally:
        made.close()


class Estate:
    """What one sensor and its reader leave on a node's disk: a session with a subscription, messages that wait in it,
    and retained messages. ``name`` tells it from others."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._waiting: set[tuple[str, str]] = set()
        self._retained: set[tuple[str, str]] = set()

    def leave(self, port: int, messages: int = 3) -> None:
        """Put it there, by the node on that port."""
        with device(port, self.name) as reader:
            reader.subscribe(f"estate/{self.name}/#")
        self.add(port, messages)

    def add(self, port: int, messages: int = 3) -> None:
        """Put more there."""
        first = len(self._waiting)
        with device(port, f"{self.name}-sensor", clean=True) as sensor:
            for number in range(first, first + messages):
                waiting, retained = (f"estate/{self.name}/{number}", "waits"), (f"kept/{self.name}/{number}", "stays")
                sensor.publish(*waiting)
                self._waiting.add(waiting)
                sensor.publish(*retained, retain=True)
                self._retained.add(retained)

    def check(self, port: int, rejoin: bool = False) -> None:
        """All of it is there. The messages that wait are taken by that, unless ``rejoin``, which publishes them anew.

        Raises `AssertionError` saying what is missing.
        """
        with device(port, f"{self.name}-other", clean=True) as other:
            other.subscribe(f"kept/{self.name}/#")
            other.await_all(self._retained)
        with device(port, self.name) as reader:
            assert reader.was_known, f"the session of {self.name} is gone"
            reader.await_all(self._waiting)
        if rejoin:
            with device(port, f"{self.name}-sensor", clean=True) as sensor:
                for topic, payload in sorted(self._waiting):
                    sensor.publish(topic, payload)
        else:
            self._waiting.clear()


class Writer:
    """A client whose messages are kept, one after the other, and how long the node took for the slowest."""

    def __init__(self, port: int) -> None:
        self.longest = 0.0
        self.written = 0
        self._port = port
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Writer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        client = Device(self._port, "writer", clean=True)
        while not self._stop.is_set():
            begun = time.monotonic()
            client.publish("kept/writer", str(self.written), retain=True)
            self.longest = max(self.longest, time.monotonic() - begun)
            self.written += 1
        client.close()
