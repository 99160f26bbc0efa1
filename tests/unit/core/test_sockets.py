"""Where a process listens, and which of that is its own: by tables as the kernel has them."""

import socket
import struct
from pathlib import Path

import pytest

from relup_remote.core.sockets import Listener, listeners, of_others, of_process, takes

OURS, OTHERS = 1000, 1001
PORT = 4370


def row(number: int, host: str, uid: int, inode: int, state: str = "0A") -> str:
    """A line of /proc/net/tcp or tcp6."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    packed = socket.inet_pton(family, host)
    words = struct.unpack(f"={len(packed) // 4}I", packed)
    local = "".join(f"{word:08X}" for word in words) + f":{PORT:04X}"
    nowhere = "0" * 8 * len(words) + ":0000"
    return f" {number}: {local} {nowhere} {state} 00000000:00000000 00:00000000 00000000 {uid} 0 {inode} 1 0 100 0\n"


def proc(folder: Path, own: list[str], others: list[str]) -> str:
    """A folder like /proc, with process 5 that listens; its folder."""
    (folder / "net").mkdir()
    (folder / "5" / "fd").mkdir(parents=True)
    rows = [(host, OURS, 100 + at) for at, host in enumerate(own)] + [
        (h, OTHERS, 200 + at) for at, h in enumerate(others)
    ]
    for table, is_six in (("tcp", False), ("tcp6", True)):
        lines = [row(at, *each) for at, each in enumerate(rows) if (":" in each[0]) is is_six]
        (folder / "net" / table).write_text(
            "head\n" + "".join(lines) + row(9, "::1" if is_six else "127.0.0.9", 0, 0, "01")
        )
    for at in range(len(own)):
        (folder / "5" / "fd" / str(at)).symlink_to(f"socket:[{100 + at}]")
    return str(folder / "5")


@pytest.mark.parametrize(
    ("own", "others", "reached"),
    [
        (["127.0.0.1"], ["127.0.0.2"], ["127.0.0.1"]),
        (["127.0.0.2"], ["127.0.0.1"], ["127.0.0.2"]),
        (["0.0.0.0"], [], ["127.0.0.1"]),
        # One that takes what comes to the loopback before that of any address.
        (["0.0.0.0"], ["127.0.0.1"], []),
        (["0.0.0.0"], ["127.0.0.5"], ["127.0.0.1"]),
        (["::"], [], ["127.0.0.1", "::1"]),
        (["::"], ["0.0.0.0"], ["::1"]),
        (["::"], ["127.0.0.1"], ["::1"]),
        (["::"], ["::1", "127.0.0.1"], []),
        (["0.0.0.0"], ["::"], ["127.0.0.1"]),
        (["10.0.0.7", "127.0.0.1"], [], ["10.0.0.7", "127.0.0.1"]),
        ([], ["127.0.0.1"], []),
    ],
)
def test_where_a_process_is_reached_and_nobody_else(
    tmp_path: Path, own: list[str], others: list[str], reached: list[str]
) -> None:
    found = of_process(proc(tmp_path, own, others), OURS)
    assert found == [(host, PORT) for host in reached]


def test_who_else_listens(tmp_path: Path) -> None:
    proc(tmp_path, ["127.0.0.1"], ["127.0.0.2", "::"])
    assert of_others({OURS}, str(tmp_path)) == [("127.0.0.2", PORT), ("::", PORT)]
    assert Listener("127.0.0.1", PORT, OURS, "100") in listeners(str(tmp_path))
    assert listeners(str(tmp_path / "absent")) == []


@pytest.mark.parametrize(
    ("place", "host", "is_taken"),
    [
        (("127.0.0.1", 1), "127.0.0.1", True),
        (("127.0.0.2", 1), "127.0.0.1", False),
        (("127.0.0.1", 2), "127.0.0.1", False),
        (("0.0.0.0", 1), "127.0.0.1", True),
        (("::", 1), "127.0.0.1", True),
        (("::", 1), "::1", True),
        (("0.0.0.0", 1), "::1", False),
    ],
)
def test_whose_place_it_may_come_to(place: tuple[str, int], host: str, is_taken: bool) -> None:
    assert takes([place], host, 1) is is_taken
