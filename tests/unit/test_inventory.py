"""Inventories: what is read, what is refused and how it is said, which hosts are meant."""

import getopt
import re
import subprocess
from dataclasses import fields
from pathlib import Path

import pytest

from relup_remote.inventory import SETTINGS, HostSettings, Inventory, InventoryError, load, locate
from relup_remote.settings import SSH_OPTIONS
from relup_remote.usage import UsageError

GOOD = """\
defaults: {user: emqx, key: keys/id, connect_timeout: 3}
hosts:
  n1: {address: 127.0.0.1, port: 22201, root_dir: /opt/emqx/, node: emqx1@127.0.0.1, become: never}
  n2: {user: root, key: /etc/key}
  edge1:
groups:
  cores: [n2, n1]
  edges: [edge1]
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "hosts.yml"
    path.write_text(text)
    return path


@pytest.fixture
def good(tmp_path: Path) -> Inventory:
    return load(written(tmp_path, GOOD))


def test_settings_of_a_host_come_before_the_defaults(good: Inventory, tmp_path: Path) -> None:
    n1, n2, edge1 = good.hosts
    assert (n1.address, n1.port, n1.node, n1.become) == ("127.0.0.1", 22201, "emqx1@127.0.0.1", "never")
    assert n1.root_dir == "/opt/emqx"
    assert (n1.user, n1.key, n1.connect_timeout) == ("emqx", tmp_path / "keys" / "id", 3.0)
    assert (n2.address, n2.user, n2.key) == ("n2", "root", Path("/etc/key"))
    assert edge1 == HostSettings("edge1", "edge1", user="emqx", key=tmp_path / "keys" / "id", connect_timeout=3.0)


LEVELS = """\
defaults: {user: emqx, port: 1, role: core, labels: {rack: a, zone: x}}
hosts:
  n1: {port: 3, labels: {disk: fast}}
  n2: {role: core}
  n3:
groups:
  left: {hosts: [n1, n2], settings: {port: 2, labels: {rack: b}}}
  right: {hosts: [n2, n1], settings: {port: 2, role: replicant}}
  bare: {hosts: [n3]}
"""


def test_settings_of_groups_come_between_host_and_defaults(tmp_path: Path) -> None:
    n1, n2, n3 = load(written(tmp_path, LEVELS)).hosts
    assert [host.port for host in (n1, n2, n3)] == [3, 2, 1]
    assert [host.role for host in (n1, n2, n3)] == ["replicant", "core", "core"]
    assert {host.user for host in (n1, n2, n3)} == {"emqx"}
    assert n1.labels == {"rack": "b", "zone": "x", "disk": "fast"}
    assert n3.labels == {"rack": "a", "zone": "x"}


def test_groups_may_disagree_on_what_the_host_says_itself(tmp_path: Path) -> None:
    text = (
        "hosts: {n1: {port: 3}}\ngroups: {g: {hosts: [n1], settings: {port: 1}}, h: {hosts: [n1], settings: {port: 2}}}"
    )
    assert load(written(tmp_path, text)).hosts[0].port == 3


@pytest.mark.parametrize(
    ("selectors", "meant"),
    [
        (["label:rack=a"], ["n3"]),
        (["label:rack=*"], ["n1", "n2", "n3"]),
        (["label:disk"], ["n1"]),
        (["label:disk,n3"], ["n1", "n3"]),
    ],
)
def test_hosts_are_meant_by_their_labels(tmp_path: Path, selectors: list[str], meant: list[str]) -> None:
    assert [host.name for host in load(written(tmp_path, LEVELS)).select(selectors)] == meant


def test_labels_that_fit_nothing_are_listed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"matches 'label:rack=c'.*; labels: disk=fast, rack=a, rack=b, zone=x"):
        load(written(tmp_path, LEVELS)).select(["label:rack=c"])


def test_a_group_without_hosts_is_an_error_for_who_means_it(tmp_path: Path) -> None:
    inventory = load(written(tmp_path, "hosts: {n1: {}}\ngroups: {none: []}"))
    assert inventory.select()
    with pytest.raises(UsageError, match="the group 'none' has no hosts"):
        inventory.select(["none"])


def test_how_a_node_is_restarted_and_reached(tmp_path: Path) -> None:
    text = (
        "hosts: {n1: {restart: 'service:emqx@1.service', ssh_args: \"-J bastion -o 'A b'\", ssh_config: cfg}, n2: {}}"
    )
    n1, n2 = load(written(tmp_path, text)).hosts
    assert (n1.restart, n1.ssh_args) == ("service:emqx@1.service", ("-J", "bastion", "-o", "A b"))
    assert n1.ssh_config == tmp_path / "cfg"
    assert (n2.restart, n2.ssh_args, n2.ssh_config) == ("auto", (), None)


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (
            "-4C -Jb1,b2 -o 'ProxyCommand=ssh -W %h:%p b'",
            ("-4", "-C", "-J", "b1,b2", "-o", "ProxyCommand=ssh -W %h:%p b"),
        ),
        ("-q -tt -A -E log -L 1:h:1 -p22", ("-p", "22")),
        ("-S /x/%C -M", ("-o", "ControlPath=/x/%C")),
    ],
)
def test_options_of_ssh_are_taken_apart_as_ssh_does(tmp_path: Path, arguments: str, meant: tuple[str, ...]) -> None:
    [host] = load(written(tmp_path, f'hosts: {{n1: {{ssh_args: "{arguments}"}}}}')).hosts
    assert host.ssh_args == meant
    said = subprocess.run(
        ["ssh", "-F", "none", "-G", *meant, "--", "n1"], capture_output=True, text=True, check=True
    ).stdout
    assert "\nhostname n1\n" in said


def test_every_option_of_the_ssh_of_this_machine_is_known() -> None:
    usage = subprocess.run(["ssh"], capture_output=True, text=True, check=False).stderr
    flags, *valued = re.findall(r"\[-(\w+)(?: [^]]|\])", usage)
    assert len(valued) > 10
    theirs = {f"-{flag}": "" for flag in flags} | {f"-{option}": "x" for option in valued if option != "P"}
    ours, _ = getopt.getopt([option + value for option, value in theirs.items()], SSH_OPTIONS)
    assert dict(ours) == theirs


def test_paths_know_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    inventory = load(written(tmp_path, "hosts: {n1: {key: ~/.ssh/id, known_hosts: ../known}}"))
    assert inventory.hosts[0].key == tmp_path / "home" / ".ssh" / "id"
    assert inventory.hosts[0].known_hosts == tmp_path / ".." / "known"


def test_the_table_of_settings_is_the_dataclass() -> None:
    assert ["name", *SETTINGS, "secrets", "ways", "pin"] == [field.name for field in fields(HostSettings)]
    assert all(setting.metadata["description"] for setting in SETTINGS.values())


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ("", "", "is empty"),
        ("- n1", "", "expected a mapping"),
        ("hosts: {n1: {}}\nhost: {}", "", "unknown section 'host'; did you mean 'hosts'?"),
        ("hosts: {}", "hosts", "no hosts"),
        ("defaults: {user: x}", "hosts", "no hosts"),
        ("hosts: [n1]", "hosts", "expected a mapping"),
        ("hosts: {n1: {prot: 1}}", "hosts.n1", "unknown setting 'prot'; did you mean 'port'?"),
        ("hosts: {n1: {secrets: {}}}", "hosts.n1", "unknown setting 'secrets'"),
        ("hosts: {n1: {pin: {}}}", "hosts.n1", "unknown setting 'pin'"),
        ("hosts: {n1: {zzzzz: 1}}", "hosts.n1", "unknown setting 'zzzzz'; known: address, port,"),
        ("defaults: {usr: x}\nhosts: {n1: {}}", "defaults", "unknown setting 'usr'; did you mean 'user'?"),
        ("hosts: {n1: {port: '22'}}", "hosts.n1.port", "expected whole number from 1 to 65535, found '22'"),
        ("hosts: {n1: {port: 0}}", "hosts.n1.port", "expected whole number"),
        ("hosts: {n1: {port: true}}", "hosts.n1.port", "expected whole number"),
        ("hosts: {n1: {port: 65536}}", "hosts.n1.port", "expected whole number"),
        ("hosts: {n1: {address: -oProxyCommand=x}}", "hosts.n1.address", "expected text without spaces"),
        ("hosts: {n1: {user: 'a b'}}", "hosts.n1.user", "expected text without spaces"),
        ("hosts: {n1: {become: null}}", "hosts.n1.become", "expected text"),
        ("hosts: {n1: {root_dir: opt/emqx}}", "hosts.n1.root_dir", "expected absolute path on the host"),
        ("hosts: {n1: {key: 3}}", "hosts.n1.key", "expected path on this machine"),
        ("hosts: {n1: {keepalive: 0}}", "hosts.n1.keepalive", "expected seconds, more than 0"),
        ("hosts: {n1: {keepalive: .inf}}", "hosts.n1.keepalive", "expected seconds"),
        ("hosts: {n1: {role: cores}}", "hosts.n1.role", "expected `core` or `replicant`"),
        ("hosts: {1: {}}", "hosts", "1 is not a name"),
        ("hosts: {'n*': {}}", "hosts", "'n*' is not a name: a name has only a-z, A-Z, 0-9, dots"),
        ("hosts: {n1: {}}\ngroups: {g: [n2]}", "groups.g", "there is no host 'n2'; did you mean 'n1'?"),
        ("hosts: {n1: {}}\ngroups: {g: [[n1]]}", "groups.g", "there is no host ['n1']"),
        ("hosts: {n1: {}}\ngroups: {g: n1}", "groups.g", "expected a list of hosts"),
        ("hosts: {n1: {}}\ngroups: {g: {}}", "groups.g", "expected a list of hosts, found None"),
        ("hosts: {n1: {}}\ngroups: {g: {host: [n1]}}", "groups.g", "unknown key 'host'; did you mean 'hosts'?"),
        ("hosts: {n1: {}}\ngroups: {g: {hosts: [n1], settings: {prot: 1}}}", "groups.g.settings", "'prot'"),
        (
            "hosts: {n1: {}}\ngroups: {g: {hosts: [n1], settings: {port: 1}}, h: {hosts: [n1], settings: {port: 2}}}",
            "groups.h.settings.port",
            "n1 is in the group 'g' too, which sets something else",
        ),
        (
            "hosts: {n1: {}}\ngroups: {g: {hosts: [n1], settings: {labels: {a: b}}},"
            " h: {hosts: [n1], settings: {labels: {a: c}}}}",
            "groups.h.settings.labels.a",
            "n1 is in the group 'g' too",
        ),
        ("hosts: {n1: {labels: [a]}}", "hosts.n1.labels", "expected mapping of words"),
        ("hosts: {n1: {labels: {a: 'b,c'}}}", "hosts.n1.labels", "expected mapping of words"),
        ("hosts: {n1: {labels: {a: 1}}}", "hosts.n1.labels", "expected mapping of words"),
        ("hosts: {n1: {labels: null}}", "hosts.n1.labels", "expected mapping of words"),
        ("hosts: {n1: {restart: systemd}}", "hosts.n1.restart", "expected `auto`, `wrapper` or `service:UNIT`"),
        ("hosts: {n1: {restart: 'service:'}}", "hosts.n1.restart", "expected `auto`"),
        ("hosts: {n1: {restart: 'service:-x'}}", "hosts.n1.restart", "expected `auto`"),
        ("hosts: {n1: {address: 'h:22'}}", "hosts.n1.address", "found 'h:22': the port goes into `port`"),
        ("hosts: {n1: {address: 'bob@h:22'}}", "hosts.n1.address", "the port goes into `port`"),
        ("hosts: {n1: {address: '[::1]:22'}}", "hosts.n1.address", "the port goes into `port`"),
        ("hosts: {n1: {address: '[::1]'}}", "hosts.n1.address", "an IPv6 address has no brackets here"),
        ("hosts: {n1: {user: 12}}", "hosts.n1.user", "expected text without spaces, found 12: YAML takes it for"),
        ("hosts: {n1: {labels: {rack: 1}}}", "hosts.n1.labels", "put it in quotes"),
        ("hosts: {n1: {become: no}}", "hosts.n1.become", "write `never` for no sudo"),
        ("hosts: {no: {}}", "hosts", "False is not a name: YAML takes it for a number, a date, yes, no or nothing"),
        ("hosts: {1.2: {}}", "hosts", "put it in quotes"),
        ("hosts: {n1: {}}\ngroups: {on: [n1]}", "groups", "True is not a name: YAML takes it"),
        ("hosts: {n1: {}}\ngroups: {g: [no]}", "groups.g", "False is not a name: YAML takes it"),
        ("hosts: {n1: {ssh_args: bastion}}", "hosts.n1.ssh_args", "expected options as on the command line of `ssh`"),
        ("hosts: {n1: {ssh_args: -J b1 b2}}", "hosts.n1.ssh_args", "'b2' is no option, and a value with spaces wants"),
        ("hosts: {n1: {ssh_args: -J b1 --}}", "hosts.n1.ssh_args", "'--' is no option"),
        ("hosts: {n1: {ssh_args: -J}}", "hosts.n1.ssh_args", "option -J requires argument"),
        ("hosts: {n1: {ssh_args: -Z}}", "hosts.n1.ssh_args", "option -Z not recognized"),
        ("hosts: {n1: {ssh_args: '-o ProxyCommand=ssh -W %h:%p b1'}}", "hosts.n1.ssh_args", "'b1' is no option"),
        ("hosts: {n1: {ssh_args: -G}}", "hosts.n1.ssh_args", "with -G `ssh` makes no connection of its own"),
        ('hosts: {n1: {ssh_args: "-o \'x"}}', "hosts.n1.ssh_args", "expected options"),
        ("hosts: {n1: {}}\ngroups: {n1: [n1]}", "groups.n1", "a host has this name too"),
        ("hosts:\n  n1: {}\n  n1: {}", "line 3", "'n1' is given twice"),
        ("hosts:\n  n1: {port: 1, port: 2}", "line 2", "'port' is given twice"),
        ("hosts: {n1: {}", "line 1", "expected ',' or '}'"),
        ("hosts: !!python/object:os.system {}", "line 1", "could not determine a constructor"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path: Path, text: str, where: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(InventoryError) as caught:
        load(path)
    assert caught.value.where == where
    assert caught.value.path == path
    assert message in caught.value.message
    assert caught.value.err_type == "bad_inventory"
    assert "\n" not in caught.value.message


def test_a_file_that_can_not_be_read_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match="can't be read: No such file"):
        load(tmp_path / "none.yml")
    (tmp_path / "latin.yml").write_bytes(b"hosts: {n1: {user: \xfc}}")
    with pytest.raises(InventoryError, match="is not UTF-8 text: byte 19"):
        load(tmp_path / "latin.yml")


@pytest.mark.parametrize(
    ("selectors", "meant"),
    [
        ([], ["n1", "n2", "edge1"]),
        (["n2"], ["n2"]),
        (["edge1,n1"], ["n1", "edge1"]),
        (["edges", "n2"], ["n2", "edge1"]),
        (["cores"], ["n1", "n2"]),
        (["n*"], ["n1", "n2"]),
        (["*1"], ["n1", "edge1"]),
        (["cor*"], ["n1", "n2"]),
        (["n1", "n1,cores"], ["n1", "n2"]),
        (["cores:!n1"], ["n2"]),
        (["!n1"], ["n2", "edge1"]),
        (["!n1,!edges"], ["n2"]),
        (["cores:edges:&*1"], ["n1", "edge1"]),
        (["cores", "!n2"], ["n1"]),
        (["~n[12]$"], ["n1", "n2"]),
        (["~(cor|none)"], ["n1", "n2"]),
        (["*:!~.*1"], ["n2"]),
        (["[en]*1"], ["n1", "edge1"]),
        (["*[1-2]*"], ["n1", "n2", "edge1"]),
        (["cores[0]"], ["n2"]),
        (["cores[-1]"], ["n1"]),
        (["cores[0:0]"], ["n2"]),
        (["cores[0:1]"], ["n1", "n2"]),
        (["cores[1:]"], ["n1"]),
        (["cores[0:7]:!n1"], ["n2"]),
        (["*:!cores[0]"], ["n1", "edge1"]),
        (["*:&cores[1:2],!edge1"], ["n1"]),
        (["n*[1]"], ["n2"]),
        (["n1[0]"], ["n1"]),
    ],
)
def test_selected_hosts_come_in_the_order_of_the_file_and_once(
    good: Inventory, selectors: list[str], meant: list[str]
) -> None:
    assert [host.name for host in good.select(selectors)] == meant


@pytest.mark.parametrize(
    "selector",
    [
        "n3",
        "N1",
        "",
        "n1,",
        "x*",
        "cores:!n3",
        "n1:!n1",
        "n1:&n2",
        "!",
        "~[",
        "~x",
        "!*",
        "cores[2]",
        "cores[2:]",
        "cores[-3]",
        "n[12]",
        "n[1:2]",
        "n[01:10]",
        "n[1-2]",
        "cores[:1]",
        "cor*[1:x]",
        "*:!n[1:2]",
        "[1:2]",
        "*[10-12]*",
        "label:rack=[1-12]",
    ],
)
def test_a_selector_that_means_nothing_is_an_error_that_lists_what_there_is(good: Inventory, selector: str) -> None:
    with pytest.raises(UsageError) as caught:
        good.select([selector])
    assert caught.value.err_type == "unknown_host"
    assert "hosts: n1, n2, edge1; groups: cores, edges" in caught.value.message


def test_the_usual_places_are_looked_at_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RELUP_INVENTORY", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inventory").mkdir()
    for name in ("lab.yml", "hosts.yml"):
        (tmp_path / "inventory" / name).write_text("")
        assert locate() == tmp_path / "inventory" / name
        assert capsys.readouterr().err == f"inventory: {tmp_path}/inventory/{name}\n"
    monkeypatch.setenv("RELUP_INVENTORY", "/from/environment")
    assert locate() == Path("/from/environment")
    assert locate("/given") == Path("/given")
    assert capsys.readouterr().err == ""


def test_the_example_is_a_good_inventory() -> None:
    example = load(Path(__file__).parents[2] / "inventory" / "example.yml")
    assert [host.name for host in example.select(["cores"])] == ["core1", "core2"]
