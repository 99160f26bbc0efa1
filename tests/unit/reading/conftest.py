"""The VMs that the reader is compared with: of each version of Erlang/OTP one, for all tests."""

from collections.abc import Iterator

import pytest

from ..core.vm import OTPS
from .erlang import Erlang


@pytest.fixture(scope="session")
def erlangs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Erlang]]:
    """They agree with one another but for what is new in the later one."""
    started = [Erlang(otp(), tmp_path_factory.mktemp(name)) for name, otp in OTPS.items()]
    yield started
    for erlang in started:
        erlang.close()
