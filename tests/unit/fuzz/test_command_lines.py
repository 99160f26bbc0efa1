"""Command lines, environments and names of processes, which any user of a host can choose."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relup_remote.core.erlang.link import fixed_port
from relup_remote.core.protocol import Failure
from relup_remote.core.running_node import all_nodes, find

from .inputs import bounded, damaged, fuzz

GOOD = (
    b"emqx -- -root /opt/emqx -bindir /opt/emqx/erts-15.2/bin -progname emqx -- -home /home/x -- -name emqx@10.0.0.1"
    b" -kernel net_ticktime 60 inet_dist_base_port 5370 -setcookie s3cret -start_epmd false -epmd_module ekka_epmd"
    b" -proto_dist ekka -- -ekka_proto_dist inet_tcp -emqx_data_dir /var/lib/my data"
).replace(b" ", b"\0") + b"\0"
OPTIONS = (b"-root", b"-name", b"-sname", b"-setcookie", b"-kernel", b"-emqx_data_dir", b"-proto_dist", b"-epmd_module")
WORDS = (
    *(b"", b"--", b"inet_dist_base_port", b"emqx@h", b"/opt/emqx", b"../..", b"/", b"\xc2\xb2", b"9" * 5000, b"-1"),
    *(b"\xff", b"\n", b"inet_tls", b"ekka", b"a" * 3000, b"@", b"emqx99999@h"),
)

lines = st.lists(st.sampled_from(OPTIONS) | st.sampled_from(WORDS), max_size=14).map(
    lambda words: b"".join(word + b"\0" for word in words)
)
environments = st.lists(
    st.sampled_from([b"ERL_EPMD_PORT=", b"=", b"\0", b"\xc2\xb2", b"4369", b"9" * 5000, b"-1", b"\xff"]), max_size=6
).map(b"".join)


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A folder like /proc, with one VM whose command line is to be written."""
    process = tmp_path / "4711"
    process.mkdir()
    (process / "comm").write_text("beam.smp\n")
    uids = "\t".join([str(os.geteuid())] * 4)
    (process / "status").write_text(f"Name:\tbeam.smp\nUid:\t{uids}\n")
    (process / "exe").symlink_to("/opt/emqx/erts-15.2/bin/beam.smp")
    return tmp_path


@fuzz
@given(
    lines | damaged(GOOD) | st.builds(bytes.__add__, st.just(b"n\0-root\0/opt/emqx\0-name\0a@b\0"), lines), environments
)
def test_command_lines(proc: Path, cmdline: bytes, environ: bytes) -> None:
    (proc / "4711" / "cmdline").write_bytes(cmdline)
    (proc / "4711" / "environ").write_bytes(environ)
    for node in all_nodes(str(proc)):
        assert 0 < node.peer.epmd_port < 100_000
        assert 0 <= node.peer.port_base < 100_000
        assert fixed_port(node.name, node.peer.port_base) >= node.peer.port_base
        assert isinstance(node.peer.listening(), list)
    try:
        found = find(None, None, str(proc))
    except Failure as failure:
        assert failure.err_type in ("untrusted_process", "ambiguous_node")
    else:
        assert found is None or found.os_pid == 4711


@pytest.mark.parametrize(
    "word", [b"-root\0", b"-kernel\0", b"-kernel\0inet_dist_base_port\0", b"-emqx_data_dir\0", b"a\0"]
)
def test_a_command_line_of_two_megabytes(proc: Path, word: bytes) -> None:
    (proc / "4711" / "cmdline").write_bytes(b"-root\0/opt/emqx\0-name\0a@b\0" + word * ((2 << 20) // len(word)))
    with bounded(20.0):
        assert len(all_nodes(str(proc))) == 1
