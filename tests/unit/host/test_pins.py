"""A host stays the one that was met first, on real SSH servers."""

from dataclasses import replace
from pathlib import Path

import pytest

from relup_remote.core.protocol import Failure
from relup_remote.host.transport.fabric import Connection
from relup_remote.inventory import HostSettings
from relup_remote.pins import Pin

from .ssh_server import Server, running


def connects(settings: HostSettings) -> None:
    Connection(settings).close()


def test_the_first_connection_takes_note_of_address_and_key(server: Server) -> None:
    pin = Pin()
    connects(server.settings(pin=pin))
    assert pin.address == "127.0.0.1"
    assert (pin.key or "").startswith("SHA256:")
    connects(server.settings(pin=pin))


def test_another_host_under_the_same_name_is_refused_by_name_although_its_key_is_known(
    server: Server, tmp_path: Path
) -> None:
    pin = Pin()
    connects(server.settings(pin=pin))
    with running(tmp_path / "other") as other:
        with pytest.raises(Failure) as caught:
            connects(other.settings(pin=pin))
        # By itself it is a good host.
        connects(other.settings(pin=Pin()))
    assert (caught.value.err_type, caught.value.stage) == ("host_changed", "connect")
    assert caught.value.detail["key_before"] == pin.key != caught.value.detail["key"]


def test_where_a_name_leads_later_does_not_matter(server: Server, tmp_path: Path) -> None:
    pin = Pin()
    connects(server.settings(pin=pin))
    known = tmp_path / "known"
    known.write_text(server.known_hosts.read_text().replace("127.0.0.1", "moved.invalid"))
    moved = replace(server.settings(pin=pin), address="moved.invalid", known_hosts=known)
    connects(moved)
    with pytest.raises(Failure) as caught:
        connects(replace(moved, pin=None))
    assert caught.value.err_type == "host_unreachable"
