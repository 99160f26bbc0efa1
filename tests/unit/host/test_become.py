"""Running the core as another user than the SSH user."""

import os
import pwd
from pathlib import Path
from typing import Any

import pytest

from relup_remote.core.protocol import Failure
from relup_remote.host import Host
from relup_remote.host.payload import Payload

from ..core.others import as_root
from .ssh_server import Server

Events = list[dict[str, Any]]

OTHER = "nobody"


def run(server: Server, core: Payload, become: str, events: Events, owner: str = OTHER) -> dict[str, Any]:
    """The result of a core whose node belongs to ``owner``."""
    with Host(server.settings(become=become), core) as host:
        return host.run({"act": "owned", "owner": owner}, None, events.append)


@as_root
@pytest.mark.parametrize("become", ["auto", OTHER])
def test_root_becomes_the_owner(server: Server, core: Payload, become: str) -> None:
    events: Events = []
    result = run(server, core, become, events)
    entry = pwd.getpwnam(OTHER)
    assert result["outcome"] == "ok"
    assert result["facts"]["uid"] == entry.pw_uid
    assert result["facts"]["home"] == entry.pw_dir
    assert os.getgid() not in result["facts"]["groups"]
    # Of the attempt as the wrong user nothing is told.
    assert [(event["event"], event.get("user")) for event in events] == [("hello", OTHER)]


@as_root
def test_owner_is_remembered(server: Server, core: Payload) -> None:
    events: Events = []
    with Host(server.settings(become="auto"), core) as host:
        first = host.run({"act": "owned", "owner": OTHER}, None, events.append)
        second = host.run({"act": "echo"}, None, events.append)
    assert first["facts"]["uid"] == second["facts"]["uid"] == pwd.getpwnam(OTHER).pw_uid


@as_root
def test_a_core_that_must_become_one_user_to_see_that_it_has_to_be_another(server: Server, core: Payload) -> None:
    events: Events = []
    with Host(server.settings(become="auto"), core) as host:
        asks = {"root": "daemon", "daemon": OTHER}
        result = host.run({"act": "hidden", "asks": asks}, None, events.append)
        assert result["facts"]["uid"] == pwd.getpwnam(OTHER).pw_uid
        assert [(event["event"], event.get("user")) for event in events] == [("hello", OTHER)]


@as_root
def test_a_core_that_never_sees_the_node_is_not_started_for_ever(server: Server, core: Payload) -> None:
    with Host(server.settings(become="auto"), core) as host:
        asks = {"root": "daemon", "daemon": OTHER, OTHER: "daemon"}
        result = host.run({"act": "hidden", "asks": asks}, None, list[dict[str, Any]]().append)
    assert (result["error"]["err_type"], result["error"]["message"]) == ("wrong_user", "It can't be seen.")


@as_root
def test_why_another_user_was_asked_for_is_told_where_it_can_not_be_had(server: Server, core: Payload) -> None:
    with Host(server.settings(become="auto"), core) as host:
        # The second time as the first.
        for _ in range(2):
            with pytest.raises(Failure) as caught:
                host.run({"act": "hidden", "asks": {"root": "no-such-user"}}, None, list[dict[str, Any]]().append)
            assert caught.value.err_type == "become_failed"
            assert caught.value.message.startswith("It can't be seen. ")


def test_never_means_that_the_refusal_stands(server: Server, core: Payload) -> None:
    events: Events = []
    result = run(server, core, "never", events)
    assert (result["error"]["err_type"], result["error"]["detail"]) == ("wrong_user", {"owner": OTHER})
    assert [event["event"] for event in events] == ["hello"]


def test_right_user_at_once_is_run_once(server: Server, core: Payload) -> None:
    events: Events = []
    result = run(server, core, "auto", events, owner=pwd.getpwuid(os.getuid()).pw_name)
    assert result["outcome"] == "ok"
    assert [event["event"] for event in events] == ["hello"]


def test_events_are_told_while_the_core_works(server: Server, core: Payload) -> None:
    seen: Events = []

    def interrupt(event: dict[str, Any]) -> None:
        seen.append(event)
        if event["event"] == "note":
            raise KeyboardInterrupt

    with Host(server.settings(become="auto"), core) as host, pytest.raises(KeyboardInterrupt):
        host.run({"act": "tick", "kind": "note", "ticks": 1000, "pause": 0.1}, None, interrupt)
    assert [event["event"] for event in seen] == ["hello", "note"]


def test_user_that_does_not_exist(server: Server, core: Payload) -> None:
    fake_sudo(server, SUDO)
    with pytest.raises(Failure) as caught:
        run(server, core, "no-such-user", [])
    assert caught.value.err_type == "become_failed"
    assert "no such user" in caught.value.detail["error"]


@pytest.mark.parametrize("owner", ["-s", "", 7, ["root"]])
def test_owner_that_is_no_user(server: Server, core: Payload, owner: Any) -> None:
    with pytest.raises(Failure) as caught:
        run(server, core, "auto", [], owner)
    assert caught.value.err_type == "become_failed"


SUDO = """\
#!/bin/sh
# Stands in for sudo: no question may be asked, and the user is named.
[ "$1 $2 $4" = "-n -u --" ] || exit 99
echo "$3" >"$(dirname "$0")/asked_for"
shift 4
exec "$@"
"""


def fake_sudo(server: Server, script: str) -> Path:
    """Give the host a `sudo`, and an `id` that says we are not root; the folder they are in."""
    folder: Path = server.host.dir / "bin"
    folder.mkdir()
    for name, text in (("sudo", script), ("id", '#!/bin/sh\n[ "$1" = -u ] && echo 1234 || echo alice\n')):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    server.with_path(folder)
    return folder


def refusing_sudo(server: Server, said: str) -> None:
    """Give the host a `sudo` that only says something, and fails."""
    fake_sudo(server, f"#!/bin/sh\necho '{said}' >&2\nexit 1\n")


def refused_by_sudo(server: Server, core: Payload, user: str, said: str) -> Failure:
    """What becomes of a request as ``user`` where sudo says that."""
    refusing_sudo(server, said)
    with pytest.raises(Failure) as caught:
        run(server, core, user, [])
    return caught.value


def test_others_become_the_owner_by_sudo(server: Server, core: Payload) -> None:
    folder = fake_sudo(server, SUDO)
    me = pwd.getpwuid(os.getuid()).pw_name
    events: Events = []
    assert run(server, core, me, events, owner=me)["outcome"] == "ok"
    assert (folder / "asked_for").read_text().strip() == me
    assert events[0]["user"] == me


def test_sudo_that_refuses(server: Server, core: Payload) -> None:
    failure = refused_by_sudo(server, core, "daemon", "sudo: a password is required")
    assert (failure.err_type, failure.stage) == ("become_failed", "connect")
    assert (
        failure.message == "Our program could not be started on the host as daemon: sudo says: a password is required"
    )
    assert "--ask-sudo-password" in failure.hint
    assert failure.detail == {"ended_by": "exit status 1", "stderr": "sudo: a password is required"}


def test_sudo_that_wants_a_terminal(server: Server, core: Payload) -> None:
    said = "sudo: unable to resolve host n1\nsudo: sorry, you must have a tty to run sudo"
    failure = refused_by_sudo(server, core, "daemon", said)
    assert failure.message.endswith("as daemon: sudo says: sorry, you must have a tty to run sudo")
    assert "!requiretty" in failure.hint


def test_what_plugins_of_sudo_say_is_not_the_reason(server: Server, core: Payload) -> None:
    said = "sudo: unknown user nobody-here\nsudo: error initializing audit plugin sudoers_audit"
    failure = refused_by_sudo(server, core, "nobody-here", said)
    assert failure.message.endswith("as nobody-here: sudo says: unknown user nobody-here")


def test_where_root_is_asked_for_only_to_see_the_node_its_user_can_be_named(server: Server, core: Payload) -> None:
    refusing_sudo(server, "sudo: a password is required")
    with Host(server.settings(become="auto"), core) as host, pytest.raises(Failure) as caught:
        host.run({"act": "hidden", "asks": {pwd.getpwuid(os.getuid()).pw_name: "root"}}, None, lambda _: None)
    assert caught.value.message.startswith("It can't be seen. Our program could not be started on the host as root: ")
    assert "name that user as `become`" in caught.value.hint


@as_root
@pytest.mark.parametrize(
    "asks",
    [
        {"root": "daemon", "daemon": "bin", "bin": OTHER},
        {"root": "x" * 100_000},
        {"root": "a\nb"},
        {"root": "a\u202eb"},
    ],
    ids=["one more each time", "long", "lines", "direction"],
)
def test_a_host_that_names_ever_more_users_or_none(server: Server, core: Payload, asks: dict[str, str]) -> None:
    with Host(server.settings(become="auto"), core) as host:
        try:
            told = host.run({"act": "hidden", "asks": asks}, None, lambda _: None)["error"]
        except Failure as failure:
            told = failure.to_json()
    assert told["err_type"] == ("wrong_user" if len(asks) > 1 else "become_failed")
