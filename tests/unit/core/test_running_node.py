"""Finding VMs: by /proc folders as EMQX's VMs have them, and a real one in the real /proc."""

import os
import pwd
import socket
from pathlib import Path

import pytest

from relup_remote.core.erlang.link import connect
from relup_remote.core.protocol import Failure
from relup_remote.core.running_node import RunningNode, all_nodes, base_of, find
from relup_remote.core.sockets import of_others, of_process

from .others import NOBODY, as_root, by_nobody, claiming
from .vm import Vm

HEAD = (
    "emqx -Bd -spp true -A 4 -- -root {root} -bindir {root}/erts-15.2/bin -progname {root}/bin/emqx -- -home /home/x --"
)
BODY = (
    "-boot {root}/releases/5.10.4/start -boot_var RELEASE_LIB {root}/lib -mode embedded -name {name}"
    " -mnesia dump_log_write_threshold 5000 -kernel net_ticktime 60 inet_dist_base_port 5370 -setcookie s3cret"
    " -start_epmd false -epmd_module ekka_epmd -proto_dist ekka"
)
TAIL = "-- -noshell -noinput -ekka_proto_dist inet_tcp -emqx_data_dir"


class Proc:
    """A folder made to look like /proc."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "self").mkdir()
        self.add(1, ["init"], comm="init")

    def add(
        self, pid: int, words: list[str], comm: str = "beam.smp", environ: str = "", uid: int | None = None
    ) -> None:
        owner = os.geteuid() if uid is None else uid
        process = self.folder / str(pid)
        process.mkdir()
        (process / "comm").write_text(comm + "\n")
        (process / "cmdline").write_bytes(b"".join(os.fsencode(word) + b"\0" for word in words))
        (process / "environ").write_text(environ)
        (process / "status").write_text(f"Name:\t{comm}\nUid:\t{owner}\t{owner}\t{owner}\t{owner}\nGid:\t0\t0\t0\t0\n")

    def emqx(self, pid: int, root: str = "/opt/emqx", name: str = "emqx@10.0.0.1", data: str = "data") -> None:
        """An EMQX node as its wrapper starts it."""
        words = f"{HEAD} {BODY} {TAIL}".format(root=root, name=name).split(" ")
        self.add(pid, [*words, data])

    def node(self, *words: str, environ: str = "") -> RunningNode:
        """The node of the one VM with these options."""
        self.add(4711, ["n", "--", "-root", "/opt/emqx", *words], environ=environ)
        found = self.find()
        assert found is not None
        return found

    def find(self, root_dir: str | None = None, name: str | None = None) -> RunningNode | None:
        return find(root_dir, name, str(self.folder))


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    return Proc(tmp_path)


# ------------------------------------------------------------------------------------------------- one node


def test_all_that_an_emqx_command_line_tells(proc: Proc) -> None:
    proc.emqx(4711)
    node = proc.find()
    assert node is not None
    assert node[:6] == (4711, os.geteuid(), "emqx@10.0.0.1", "/opt/emqx", "/opt/emqx", "/opt/emqx/data")
    peer = node.peer
    assert (peer.name, peer.cookie, peer.protocol) == ("emqx@10.0.0.1", "s3cret", "inet_tcp")
    assert (peer.uses_epmd, peer.port_base, peer.options_file) == (False, 5370, None)
    assert peer.wrapper in ("/opt/emqx/bin/emqx", "/usr/bin/emqx")
    assert "s3cret" not in repr(node)


def test_nothing_runs(proc: Proc) -> None:
    assert all_nodes(str(proc.folder)) == []
    assert proc.find() is None


@pytest.mark.parametrize(
    ("words", "comm"),
    [
        (["n", "-root", "/r", "-name", "a@h"], "emqx"),
        (["n", "-root", "/r"], "beam.smp"),
        (["n", "-name", "a@h"], "beam.smp"),
        (["n", "-root", "/r", "-name"], "beam.smp"),
        ([], "beam.smp"),
    ],
    ids=["another program", "no name", "no root", "no value", "a zombie"],
)
def test_processes_that_are_no_nodes(proc: Proc, words: list[str], comm: str) -> None:
    proc.add(7, words, comm)
    assert proc.find() is None


def test_a_process_that_ends_while_it_is_looked_at(proc: Proc) -> None:
    (proc.folder / "77").mkdir()
    assert proc.find() is None


def test_the_last_of_repeated_options_counts(proc: Proc) -> None:
    node = proc.node("-name", "old@h", "-setcookie", "old", "--", "-name", "new@h", "-setcookie", "new")
    assert (node.name, node.peer.cookie) == ("new@h", "new")


@pytest.mark.parametrize(
    ("words", "data_dir"),
    [
        (["-emqx_data_dir", "data"], "/opt/emqx/data"),
        (["-emqx_data_dir", "/var/lib/emqx"], "/var/lib/emqx"),
        (["-emqx_data_dir", "/srv/my data/a  b"], "/srv/my data/a  b"),
        (["-emqx_data_dir", "/srv/my", "data"], "/srv/my data"),
        ([], "/opt/emqx/data"),
        (["-emqx_data_dir", ""], "/opt/emqx/data"),
    ],
)
def test_the_data_folder(proc: Proc, words: list[str], data_dir: str) -> None:
    assert proc.node("-name", "a@h", *words).data_dir == data_dir


def test_a_short_name_gets_the_hosts(proc: Proc) -> None:
    assert proc.node("-sname", "emqx").name == "emqx@" + socket.gethostname().partition(".")[0]


@pytest.mark.parametrize(
    ("words", "protocol", "options_file"),
    [
        ([], "inet_tcp", None),
        (["-proto_dist", "inet6_tcp"], "inet6_tcp", None),
        (["-proto_dist", "ekka"], "inet_tcp", None),
        (["-proto_dist", "ekka", "-ekka_proto_dist", "inet_tls", "-ssl_dist_optfile", "/o"], "inet_tls", "/o"),
    ],
)
def test_the_protocol(proc: Proc, words: list[str], protocol: str, options_file: str | None) -> None:
    peer = proc.node("-name", "a@h", *words).peer
    assert (peer.protocol, peer.options_file) == (protocol, options_file)


@pytest.mark.parametrize(
    ("words", "base"),
    [
        ([], 4370),
        (["-kernel", "inet_dist_base_port", "5000"], 5000),
        (["-kernel", "net_ticktime", "60", "inet_dist_base_port", "5000"], 5000),
        (["-kernel", "net_ticktime", "60", "-kernel", "inet_dist_base_port", "5000", "-setcookie", "c"], 5000),
        (["-kernel", "inet_dist_base_port", "many"], 4370),
        (["-stdlib", "inet_dist_base_port", "5000"], 4370),
        (["-kernel", "net_ticktime", "60", "-stdlib", "inet_dist_base_port", "5000"], 4370),
        (["-kernel", "inet_dist_base_port"], 4370),
    ],
)
def test_the_base_of_the_fixed_port(proc: Proc, words: list[str], base: int) -> None:
    assert proc.node("-name", "a@h", *words).peer.port_base == base


@pytest.mark.parametrize(
    ("environ", "port"), [("", 4369), ("A=1\0ERL_EPMD_PORT=4400\0B=2\0", 4400), ("ERL_EPMD_PORT=x\0", 4369)]
)
def test_a_plain_node_is_looked_up_in_its_epmd(proc: Proc, environ: str, port: int) -> None:
    peer = proc.node("-name", "a@h", environ=environ).peer
    assert peer.uses_epmd
    assert peer.epmd_port == port


@pytest.mark.parametrize(("content", "cookie"), [("HOMECOOKIE\n", "HOMECOOKIE"), (None, "")])
def test_a_cookie_that_is_not_on_the_command_line(
    proc: Proc, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None, cookie: str
) -> None:
    if content is not None:
        (tmp_path / ".erlang.cookie").write_text(content)
    found = list(pwd.getpwuid(os.geteuid()))
    found[5] = str(tmp_path)
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: pwd.struct_passwd(found))
    peer = proc.node("-name", "a@h").peer
    assert (peer.cookie, peer.home_cookie()) == ("", cookie)


# ------------------------------------------------------------------------------------------------- which node


@pytest.mark.parametrize(
    ("root", "base"),
    [
        ("emqx", "emqx"),
        ("emqx/relup/5.10.5", "emqx"),
        ("emqx/relup/5.10.5/relup/5.10.6", "emqx"),
        # A root that merely lies in a folder of that name.
        ("relup/emqx", "relup/emqx"),
        ("relup/emqx/relup/5.10.5", "relup/emqx"),
        ("relup", "relup"),
    ],
)
def test_the_base_of_a_chain(root: str, base: str, tmp_path: Path) -> None:
    for release in ("emqx", "emqx/relup/5.10.5", "relup/emqx"):
        (tmp_path / release / "releases").mkdir(parents=True)
        (tmp_path / release / "releases" / "emqx_vars").touch()
    assert base_of(str(tmp_path / root)) == str(tmp_path / base)
    assert base_of("/") == "/"


def test_a_node_in_a_chain_is_found_by_its_base_and_by_its_own_root(proc: Proc, tmp_path: Path) -> None:
    base = str(tmp_path / "emqx")
    root = f"{base}/relup/5.10.5/relup/5.10.6"
    for release in (base, f"{base}/relup/5.10.5"):
        Path(release, "releases").mkdir(parents=True)
        Path(release, "releases", "emqx_vars").touch()
    proc.emqx(5, root)
    for root_dir in (None, base, f"{base}/", root):
        node = proc.find(root_dir)
        assert node is not None
        assert (node.root, node.base, node.data_dir) == (root, base, f"{base}/data")
    assert proc.find(f"{base}/relup/5.10.5") is None


def test_a_root_may_be_given_by_a_link_to_it(proc: Proc, tmp_path: Path) -> None:
    real, link = tmp_path / "emqx-5.10.4", tmp_path / "emqx"
    real.mkdir()
    link.symlink_to(real)
    proc.emqx(5, str(real))
    assert proc.find(str(link)) is not None


def test_several_nodes(proc: Proc) -> None:
    proc.emqx(5, "/opt/a", "emqx1@10.0.0.1")
    proc.emqx(6, "/opt/b", "emqx2@10.0.0.1")
    proc.emqx(7, "/opt/b", "emqx3@10.0.0.1")
    for root_dir, name, pid in (
        ("/opt/a", None, 5),
        (None, "emqx2@10.0.0.1", 6),
        (None, "emqx3", 7),
        ("/opt/b", "emqx3@10.0.0.1", 7),
    ):
        node = proc.find(root_dir, name)
        assert node is not None
        assert node.os_pid == pid
    assert proc.find(None, "emqx") is None
    for root_dir, pids in ((None, {5, 6, 7}), ("/opt/b", {6, 7})):
        with pytest.raises(Failure) as caught:
            proc.find(root_dir)
        assert caught.value.err_type == "ambiguous_node"
        assert {node["pid"] for node in caught.value.detail["nodes"]} == pids
        assert "s3cret" not in f"{caught.value} {caught.value.to_json()}"


# ------------------------------------------------------------------------------------------------- whose it is


OTHER = 54321
"""A user who owns nothing."""


def own(path: Path, uid: int) -> None:
    """Make a folder of that user."""
    path.mkdir(parents=True, exist_ok=True)
    os.chown(path, uid, uid)


@as_root
@pytest.mark.parametrize("claim", ["base", "tree"])
def test_a_process_of_a_user_who_owns_nothing_of_the_node_is_named(proc: Proc, tmp_path: Path, claim: str) -> None:
    base = tmp_path / "emqx"
    (base / "releases").mkdir(parents=True)
    (base / "releases" / "emqx_vars").write_text('RUNNER_USER=""\n')
    root = base if claim == "base" else base / "relup" / "5.10.5"
    words = ["-root", str(root), "-name", "emqx@h", "-emqx_data_dir", str(tmp_path / "planted")]
    own(tmp_path / "planted", OTHER)
    proc.add(66, ["emqx", *words], uid=OTHER)
    for root_dir, name in ((str(base), None), (None, "emqx"), (None, None)):
        with pytest.raises(Failure) as caught:
            proc.find(root_dir, name)
        assert caught.value.err_type == "untrusted_process"
        assert "66" in caught.value.message
        (told,) = caught.value.detail["processes"]
        assert (told["pid"], told["user"], told["root"]) == (66, f"uid {OTHER}", str(root))
    # Beside the node it is passed over.
    proc.add(77, ["emqx", *words])
    node = proc.find(str(base), "emqx")
    assert node is not None
    assert node.os_pid == 77


@as_root
@pytest.mark.parametrize("of", ["root", "data folder in it", "data folder named", "user named in emqx_vars"])
def test_whose_process_may_be_the_node(proc: Proc, tmp_path: Path, of: str) -> None:
    base, data = tmp_path / "emqx", tmp_path / "elsewhere"
    (base / "releases").mkdir(parents=True)
    user = pwd.getpwnam("nobody")
    uid = user.pw_uid
    if of == "user named in emqx_vars":
        (base / "releases" / "emqx_vars").write_text('RUNNER_USER="nobody"\n')
    else:
        own({"root": base, "data folder in it": base / "data", "data folder named": data}[of], uid)
    proc.add(5, ["emqx", "-root", str(base), "-name", "emqx@h", "-emqx_data_dir", str(data)], uid=uid)
    node = find(str(base), None, str(proc.folder), str(data) if of == "data folder named" else None)
    assert node is not None
    assert node.uid == uid


@pytest.mark.parametrize(
    ("executable", "is_node"),
    [
        ("{root}/erts-15.2/bin/beam.smp", True),
        ("{root}/erts-15.2/bin/beam.smp (deleted)", True),
        ("{root}/erts-15.2/bin/sh", False),
        ("/tmp/erts-15.2/bin/beam.smp", False),
        ("/usr/bin/dash", False),
    ],
)
def test_what_a_node_executes(proc: Proc, tmp_path: Path, executable: str, is_node: bool) -> None:
    proc.emqx(5, str(tmp_path / "emqx"))
    running = executable.format(root=tmp_path / "emqx")
    (proc.folder / "5" / "exe").symlink_to(running)
    if is_node:
        assert proc.find() is not None
        return
    with pytest.raises(Failure) as caught:
        proc.find()
    assert caught.value.err_type == "untrusted_process"
    assert running in caught.value.message


@as_root
@pytest.mark.parametrize("uid", [NOBODY, 0], ids=["of another user", "of ours, but no VM"])
def test_a_real_process_that_only_says_it_is_the_node(vm: Vm, tmp_path: Path, uid: int) -> None:
    real = find(None, vm.name)
    assert real is not None
    with claiming(tmp_path, real.root, vm.name, uid=uid) as pid:
        assert pid in [node.os_pid for node in all_nodes()]
        found = find(real.root, vm.name)
        assert found is not None
        assert found.os_pid == real.os_pid
    with claiming(tmp_path, real.root, "other@h", uid=uid) as pid, pytest.raises(Failure) as caught:
        find(None, "other@h")
    assert caught.value.err_type == "untrusted_process"
    assert [process["pid"] for process in caught.value.detail["processes"]] == [pid]


def test_a_process_is_of_the_user_who_started_it(proc: Proc) -> None:
    """Whatever its folder in /proc says: that is root's where a process has hidden itself."""
    proc.add(5, ["emqx", "-root", "/opt/emqx", "-name", "emqx@h"], uid=OTHER)
    assert (proc.folder / "5").stat().st_uid == os.geteuid()
    assert [node.uid for node in all_nodes(str(proc.folder))] == [OTHER]


# ------------------------------------------------------------------------------------------------- a real one


def test_a_real_vm_is_found_and_reached(vm: Vm) -> None:
    node = find(None, vm.name)
    assert node is not None
    assert (node.os_pid, node.uid, node.name) == (vm.process.pid, os.geteuid(), vm.name)
    assert node.peer.epmd_port == vm.epmd
    link = connect(node.peer)
    assert link.kind == "distribution"
    assert bytes(link.call("code", "root_dir", [])).decode() == node.root
    link.close()


def test_where_a_real_vm_listens(vm: Vm) -> None:
    assert ("127.0.0.1", vm.port) in of_process(f"/proc/{vm.process.pid}", os.geteuid())
    assert of_process("/nonexistent", 0) == []


@pytest.mark.parametrize(
    ("bound", "reached"),
    [
        ("127.0.0.1", {"127.0.0.1"}),
        ("127.0.0.3", {"127.0.0.3"}),
        ("0.0.0.0", {"127.0.0.1"}),
        ("::1", {"::1"}),
        ("::", {"::1", "127.0.0.1"}),
        ("::ffff:127.0.0.4", {"127.0.0.4"}),
    ],
)
def test_where_we_listen_and_how_that_is_reached(bound: str, reached: set[str]) -> None:
    family = socket.AF_INET6 if ":" in bound else socket.AF_INET
    with socket.socket(family) as listener:
        listener.bind((bound, 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert {host for host, found in of_process("/proc/self", os.geteuid()) if found == port} == reached
        for host in reached:
            socket.create_connection((host, port), 5).close()
    assert port not in [found for _, found in of_process("/proc/self", os.geteuid())]


@as_root
def test_where_the_sockets_of_a_process_can_not_be_seen_those_of_its_user_count(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = listener.getsockname()

        def look() -> None:
            assert place in of_process(f"/proc/{os.getppid()}", 0)
            with socket.create_server(("127.0.0.1", 0)) as mine:
                assert mine.getsockname() not in of_process(f"/proc/{os.getppid()}", 0)

        by_nobody(tmp_path, look)


@as_root
def test_where_another_user_listens(tmp_path: Path) -> None:
    def look() -> None:
        with socket.create_server(("127.0.0.1", 0)) as mine:
            assert mine.getsockname() in of_others({0})
            assert mine.getsockname() not in of_others({0, NOBODY})

    by_nobody(tmp_path, look)
