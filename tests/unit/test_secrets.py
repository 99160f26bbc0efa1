"""A password is tried at one host first; what shows secrets shows nothing."""

import threading

import pytest

from relup_remote.secrets import NotTried, Password, Secrets


def test_nothing_shows_them() -> None:
    shown = Secrets("first", Password("second"), Password("third"))
    with Password("fourth").tried_at("n1", "alice", 1) as trial:
        text = f"{shown} {shown!r} {shown.login!r} {trial!r} {vars(shown.login).keys() if shown.login else ''}"
    assert not {"first", "second", "third", "fourth"} & set(text.replace("'", " ").split())


def test_the_others_wait_for_the_first_and_go_together_once_it_was_right() -> None:
    password, together, order = Password("x"), threading.Barrier(3, timeout=60), list[str]()

    def other(name: str) -> None:
        with password.tried_at(name, "alice", 60) as trial:
            order.append("others")
            # All of them have it at the same time.
            together.wait()
            trial.is_right = True

    with password.tried_at("first", "alice", 60) as trial:
        threads = [threading.Thread(target=other, args=(name,)) for name in ("n1", "n2", "n3")]
        for thread in threads:
            thread.start()
        order.append("first")
        trial.is_right = True
    for thread in threads:
        thread.join(60)
    assert order == ["first", "others", "others", "others"]


def test_a_password_that_was_refused_goes_nowhere_else() -> None:
    password = Password("x")
    with password.tried_at("n1", "alice", 1) as trial:
        trial.is_right = False
    with pytest.raises(NotTried, match="refused by n1"), password.tried_at("n2", "alice", 1):
        pass
    with pytest.raises(NotTried, match="refused here before"), password.tried_at("n1", "alice", 1):
        pass


def test_one_that_was_right_elsewhere_is_refused_by_one_host_alone() -> None:
    password = Password("x")
    for name, right in (("n1", True), ("n2", False)):
        with password.tried_at(name, "alice", 1) as trial:
            trial.is_right = right
    with pytest.raises(NotTried), password.tried_at("n2", "alice", 1):
        pass
    with password.tried_at("n3", "alice", 1) as trial:
        assert trial.text == "x"


def test_a_host_that_says_nothing_leaves_the_attempt_to_the_next() -> None:
    password = Password("x")
    with pytest.raises(OSError, match="gone"), password.tried_at("n1", "alice", 1):
        raise OSError("gone")
    with password.tried_at("n2", "alice", 1) as trial:
        trial.is_right = True


def test_nobody_waits_for_ever() -> None:
    password = Password("x")
    with password.tried_at("n1", "alice", 1), pytest.raises(TimeoutError), password.tried_at("n2", "alice", 0.01):
        pass


def test_each_account_has_an_attempt_of_its_own() -> None:
    password = Password("x")
    for name, user, right in (("n1", "alice", True), ("n2", "bob", False)):
        with password.tried_at(name, user, 1) as trial:
            # It is right for one, so nobody knows yet whether it is for the other.
            with pytest.raises(TimeoutError), password.tried_at("n3", user, 0.01):
                pass
            trial.is_right = right
    with pytest.raises(NotTried, match="refused by n2"), password.tried_at("n3", "bob", 1):
        pass
    with password.tried_at("n3", "alice", 1) as trial:
        assert trial.text == "x"
