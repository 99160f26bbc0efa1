"""Ansible's inventories, read by the real `ansible-inventory`: what is taken of them, and that nothing is run."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from relup_remote.inventory import Inventory, InventoryError, load
from relup_remote.inventory.ansible_variables import MEANINGS, NOT_USED, SECRETS
from relup_remote.settings import SETTINGS
from relup_remote.usage import UsageError

INI = """\
[cores]
core[1:2].lan ansible_port=2222 relup_root_dir=/opt/emqx

[edges]
edge1 ansible_host=10.0.0.9 ansible_user=bob relup_labels="{'rack': 'a'}" ansible_python_interpreter=/opt/python3

[emqx:children]
edges
cores

[emqx:vars]
ansible_user=alice
ansible_become=yes
ansible_ssh_private_key_file=keys/id
ansible_ssh_common_args='-J "bastion"'
ansible_python_interpreter=auto_silent
"""
YAML = """\
all:
  vars: {ansible_user: alice, relup_connect_timeout: 3}
  children:
    cores:
      hosts: {"core[1:2].lan": {ansible_port: "2222"}}
      vars: {ansible_become: true, ansible_become_user: emqx}
    edges:
      hosts:
        edge1: {ansible_host: 10.0.0.9, ansible_become: false}
"""


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def names(inventory: Inventory, *selectors: str) -> list[str]:
    return [host.name for host in inventory.select(selectors)]


@pytest.mark.parametrize("name", ["hosts.ini", "hosts"])
def test_ini_with_groups_children_ranges_and_variables(tmp_path: Path, name: str) -> None:
    inventory = load(written(tmp_path, name, INI))
    edge, core1, core2 = inventory.hosts
    assert [host.name for host in inventory.hosts] == ["edge1", "core1.lan", "core2.lan"]
    assert (edge.address, edge.port, edge.user, edge.labels) == ("10.0.0.9", None, "bob", {"rack": "a"})
    assert (core1.address, core1.port, core1.user, core1.root_dir) == ("core1.lan", 2222, "alice", "/opt/emqx")
    assert {host.key for host in inventory.hosts} == {tmp_path / "keys" / "id"}
    assert {host.become for host in inventory.hosts} == {"auto"}
    assert (edge.python, core2.python) == ("/opt/python3", None)
    assert core1.ssh_args == ("-J", "bastion")
    assert names(inventory, "emqx") == names(inventory) == names(inventory, "all")
    assert names(inventory, "cor*") == ["core1.lan", "core2.lan"]
    assert names(inventory, "label:rack=a") == ["edge1"]


def test_yaml_with_variables_in_all_its_places(tmp_path: Path) -> None:
    path = written(tmp_path, "hosts.yml", YAML)
    written(tmp_path, "group_vars/cores.yml", "relup_role: core\nrelup_restart: service:emqx\n")
    written(tmp_path, "group_vars/edges/relup.yml", "relup_role: replicant\n")
    written(tmp_path, "host_vars/core2.lan.yml", "relup_become: root\nansible_port: 22\n")
    core1, core2, edge = load(path).hosts
    assert [host.role for host in (core1, core2, edge)] == ["core", "core", "replicant"]
    assert [host.become for host in (core1, core2, edge)] == ["emqx", "root", "never"]
    assert [host.port for host in (core1, core2, edge)] == [2222, 22, None]
    assert {host.connect_timeout for host in (core1, core2, edge)} == {3.0}
    assert core1.restart == "service:emqx"


def test_a_folder_of_inventories(tmp_path: Path) -> None:
    written(tmp_path, "one", "[cores]\nn1\n")
    written(tmp_path, "two.yml", "all: {children: {cores: {hosts: {n2: {}}}}}\n")
    written(tmp_path, "group_vars/cores.yml", "relup_role: core\n")
    inventory = load(tmp_path)
    assert names(inventory, "cores") == ["n1", "n2"]
    assert {host.role for host in inventory.hosts} == {"core"}


def test_every_setting_can_be_a_variable(tmp_path: Path) -> None:
    values = {
        "labels": "{a: b}",
        "port": 1,
        "role": "core",
        "restart": "wrapper",
        "ssh_args": "-J b",
        "transport": "local",
    }
    seconds = {"connect_timeout": 1, "command_timeout": 1, "keepalive": 1}
    given = {name: {**values, **seconds}.get(name, "/x") for name in SETTINGS}
    lines = "".join(f"        relup_{name}: {value}\n" for name, value in given.items())
    [host] = load(written(tmp_path, "hosts.yml", f"all:\n  hosts:\n    n1:\n{lines}")).hosts
    plain = {name: getattr(host, name) for name in SETTINGS if name not in ("labels", "ssh_args")}
    assert {name: str(value) for name, value in plain.items()} == {
        name: "1.0" if name in seconds else str(value)
        for name, value in given.items()
        if name not in ("labels", "ssh_args")
    }
    assert (host.labels, host.ssh_args) == ({"a": "b"}, ("-J", "b"))


UNUSABLE = [
    ('{ansible_host: "{{ x }}"}', "ansible_host", "is a Jinja template, which is not evaluated"),
    ("{ansible_user: !vault x}", "ansible_user", "is encrypted by ansible-vault, and nothing encrypted is opened"),
    ('{relup_labels: {a: "{% x %}"}}', "relup_labels.a", "is a Jinja template"),
    ("{relup_rot_dir: /x}", "", "unknown variable 'relup_rot_dir'; did you mean 'relup_root_dir'?"),
    ("{relup_root_dir: x}", "relup_root_dir", "expected absolute path on the host, found 'x'"),
    ("{ansible_port: many}", "ansible_port", "expected whole number from 1 to 65535, found 'many'"),
    ("{ansible_host: -oProxyCommand=x}", "ansible_host", "expected text without spaces"),
    ("{ansible_become: true, ansible_become_method: su}", "ansible_become_method", "only sudo is known, not su"),
    ("{ansible_ssh_common_args: bastion}", "ansible_ssh_common_args", "expected options as on the command line"),
    ('{ansible_connection: "{{ x }}"}', "ansible_connection", "is a Jinja template"),
    ("{ansible_connection: !vault x}", "ansible_connection", "is encrypted by ansible-vault"),
    ("{ansible_connection: SSH}", "ansible_connection", "in small letters, found 'SSH'"),
    ('{ansible_connection: ""}', "ansible_connection", "expected ssh, paramiko, local or the like"),
    ("{ansible_connection: [ssh]}", "ansible_connection", "expected ssh, paramiko, local or the like"),
    ("{ansible_become: maybe}", "ansible_become", "expected yes or no, found 'maybe'"),
    ("{ansible_become_user: a b}", "ansible_become_user", "expected text without spaces"),
    ('{ansible_host: "h:22"}', "ansible_host", "the port goes into `port`"),
]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Inventory:
    """An inventory with a host that can be used, and each that can't: bad0, bad1, …"""
    hosts = "".join(f"    bad{number}: {variables}\n" for number, (variables, _, _) in enumerate(UNUSABLE))
    path = tmp_path_factory.mktemp("mixed")
    return load(written(path, "hosts.yml", f"all:\n  hosts:\n{hosts}    good: {{}}\n"))


@pytest.mark.parametrize("number", range(len(UNUSABLE)))
def test_a_host_that_can_not_be_used_is_an_error_for_who_means_it(mixed: Inventory, number: int) -> None:
    _, where, message = UNUSABLE[number]
    assert names(mixed, "good") == ["good"]
    for selectors in ([f"bad{number}"], ["good", f"*{number}"]):
        with pytest.raises(InventoryError) as caught:
            mixed.select(selectors)
        assert caught.value.where == (f"hosts.bad{number}." + where).rstrip(".")
        assert message in caught.value.message


def test_one_host_that_can_not_be_used_is_an_error_for_who_means_all(tmp_path: Path) -> None:
    variables, where, message = UNUSABLE[0]
    inventory = load(written(tmp_path, "hosts.yml", f"all:\n  hosts:\n    bad: {variables}\n    good: {{}}\n"))
    for selectors in ([], ["all"], ["*"]):
        with pytest.raises(InventoryError) as caught:
            inventory.select(selectors)
        assert caught.value.where == f"hosts.bad.{where}"
        assert message in caught.value.message


def test_passwords_are_not_read_and_it_is_said(tmp_path: Path) -> None:
    text = "n1 ansible_password=hunter2 ansible_become_pass=hunter3\n"
    inventory = load(written(tmp_path, "hosts", text))
    assert inventory.notes == (
        f"{tmp_path}/hosts: not read: ansible_become_pass, ansible_password;"
        " see --ask-password and --ask-sudo-password",
    )
    assert "hunter" not in repr(inventory)


SAME = {
    "hosts.cfg": b"# two\n[cores]\nn1\nn2\n",
    "hosts.yml": b"[cores]\nn1\nn2\n",
    "hosts.json": b'{"all": {"children": {"cores": {"hosts": {"n1": {}, "n2": {}}}}}}',
    "hosts": b"---\nall:\n  children:\n    cores:\n      hosts: {n1: , n2: }\n",
    "without_all.yml": b"cores:\n  hosts:\n    n1:\n    n2:\n",
    "marked.yml": b"\xef\xbb\xbfcores:\n  hosts:\n    n1:\n    n2:\n",
    "marked.ini": b"\xef\xbb\xbf[cores]\nn1\nn2\n",
    "wide.ini": "[cores]\nn1\nn2\n".encode("utf-16"),
    "variables.yml": b"n1 ansible_port=22\nn2\n[cores]\nn1\nn2\n",
    "listed.ini": b'{"_meta": {"hostvars": {}}, "all": {"children": ["cores"]}, "cores": {"hosts": ["n1", "n2"]}}',
    "ours.ini": b"hosts: {n1: {}, n2: {}}\ngroups: {cores: [n1, n2]}\n",
    "ours": b'\xef\xbb\xbf{"hosts": {"n1": {}, "n2": {}}, "groups": {"cores": ["n1", "n2"]}}',
}


@pytest.mark.share(4)
@pytest.mark.parametrize("name", SAME)
def test_what_is_in_a_file_says_what_it_is(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(SAME[name])
    assert names(load(tmp_path / name), "cores") == ["n1", "n2"]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('{"_meta": {"hostvars": {"n1": []}}, "all": {"hosts": ["n1"]}}', "_meta.hostvars.'n1'"),
        ('{"_meta": [], "all": {"hosts": ["n1"]}}', "_meta"),
        ('{"_meta": {}, "all": ["n1"]}', "all"),
        ('{"_meta": {}, "all": {"hosts": {"n1": {}}}}', "all.hosts"),
        ('{"_meta": {}, "all": {"children": [["n1"]]}}', "all.children"),
    ],
)
def test_what_a_program_has_said_is_checked(tmp_path: Path, text: str, where: str) -> None:
    with pytest.raises(InventoryError) as caught:
        load(written(tmp_path, "hosts.json", text))
    assert caught.value.where == where


def test_programs_and_plugins_are_run_where_that_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = '{"_meta": {"hostvars": {"n1": {"ansible_port": 2222}}}, "cores": {"hosts": ["n1"]}}'
    program = written(tmp_path, "hosts.yml", f"#!/bin/sh\necho '{said}'\n")
    program.chmod(0o755)
    with pytest.raises(InventoryError, match="see --allow-inventory-code"):
        load(program)
    [host] = load(program, allow_code=True).select(["cores"])
    assert (host.name, host.port) == ("n1", 2222)
    plugin = written(tmp_path, "constructed.yml", "plugin: advanced_host_list\n")
    with pytest.raises(InventoryError, match="see --allow-inventory-code"):
        load(plugin)
    # What a plugin says against it is heard.
    with pytest.raises(InventoryError, match=r"ansible-inventory can't read it|no hosts are given"):
        load(plugin, allow_code=True)
    mixed = written(tmp_path, "folder/static", "[edges]\nn2\n").parent
    (mixed / "dynamic").write_text(program.read_text())
    (mixed / "dynamic").chmod(0o755)
    assert names(load(mixed, allow_code=True), "cores", "edges") == ["n1", "n2"]


def test_what_is_not_reached_by_ssh_is_left_out(tmp_path: Path) -> None:
    inventory = load(written(tmp_path, "hosts", "win1 ansible_connection=winrm\nn1 ansible_connection=ssh\n"))
    assert names(inventory) == names(inventory, "all") == ["n1"]
    [note] = inventory.notes
    assert note.endswith("left out, because Ansible does not reach them by SSH: win1 (winrm)")
    with pytest.raises(UsageError, match="no host or group matches 'win1'"):
        inventory.select(["win1"])


def test_who_is_become_without_a_word_whether(tmp_path: Path) -> None:
    text = (
        "n1 ansible_become_user=emqx\nn2 ansible_become_user=root\nn3 ansible_become_user=emqx ansible_become=no\nn4\n"
    )
    become = [host.become for host in load(written(tmp_path, "hosts", text)).hosts]
    assert become == ["emqx", "auto", "never", "auto"]


@pytest.mark.parametrize("name", ["hosts.yml", "group_vars/all.yml", "listed.json"])
def test_keys_given_twice_are_an_error(tmp_path: Path, name: str) -> None:
    twice = {
        "hosts.yml": "all:\n  hosts:\n    n1: {ansible_port: 1, ansible_port: 2}\n",
        "group_vars/all.yml": "ansible_port: 1\nansible_port: 2\n",
        "listed.json": '{"_meta": {"hostvars": {}}, "all": {"hosts": ["n1"]}, "all": {"hosts": ["n2"]}}',
    }
    written(tmp_path, "hosts.yml", "all: {hosts: {n1: {}}}\n")
    written(tmp_path, name, twice[name])
    with pytest.raises(InventoryError) as caught:
        load(tmp_path / ("hosts.yml" if "group_vars" in name else name))
    assert re.search("twice|[Dd]uplicate", caught.value.message), caught.value.message


def test_variables_about_ansibles_own_way_are_named(tmp_path: Path) -> None:
    text = "n1 ansible_become_exe=/x ansible_ssh_timeout=7 ansible_pipelining=yes\n"
    inventory = load(written(tmp_path, "hosts", text))
    assert inventory.hosts[0].connect_timeout == 7.0
    assert [note.partition(": ")[2] for note in inventory.notes] == [
        "not used, because it is about Ansible's own way: ansible_become_exe"
    ]


def test_every_variable_about_the_way_to_a_host_has_its_place() -> None:
    """Ansible's own code says which there are, in a process of its own."""
    ended = subprocess.run([sys.executable, "-c", VARIABLES], capture_output=True, text=True, check=True)
    taken = {name for names, _ in MEANINGS for name in names}
    theirs = {name for name in json.loads(ended.stdout) if name.startswith("ansible_")}
    assert "ansible_ssh_executable" in theirs
    left = {name for name in theirs - taken - {*NOT_USED} if not SECRETS.fullmatch(name)}
    assert all(re.search("scp|sftp|pipelining|retries|verbosity|transfer|prompt", name) for name in left), left


VARIABLES = """\
import json, yaml
from ansible.plugins.become import sudo
from ansible.plugins.connection import ssh
options = [yaml.safe_load(plugin.DOCUMENTATION)["options"] for plugin in (sudo, ssh)]
print(json.dumps([each["name"] for found in options for option in found.values() for each in option.get("vars", ())]))
"""


def test_a_host_of_any_group_is_one_of_all(tmp_path: Path) -> None:
    said = (
        '{"_meta": {"hostvars": {}}, "all": {"children": ["a"]}, "a": {"hosts": ["n1"]}, "b": {"hosts": ["n1", "n2"]}}'
    )
    inventory = load(written(tmp_path, "hosts.json", said))
    assert names(inventory) == names(inventory, "b") == names(inventory, "all") == ["n1", "n2"]


@pytest.mark.parametrize("as_folder", [False, True])
def test_links_that_lead_in_a_circle_are_an_error(tmp_path: Path, as_folder: bool) -> None:
    path = written(tmp_path, "hosts", "n1\n")
    written(tmp_path, "group_vars/g", "")
    other = written(tmp_path, "host_vars/here/x", "").parent
    for loop, target in ((tmp_path / "group_vars/loop", "."), (other / "there", tmp_path / "group_vars")):
        loop.symlink_to(target)
    (tmp_path / "group_vars/back").symlink_to(other)
    with pytest.raises(InventoryError, match="leads back to a folder it is in"):
        load(tmp_path if as_folder else path)
    (tmp_path / "group_vars/loop").unlink()
    with pytest.raises(InventoryError, match="leads back to a folder it is in"):
        load(tmp_path if as_folder else path)


def test_this_very_machine_is_reached_without_ssh(tmp_path: Path) -> None:
    text = "here ansible_connection=local\nthere\nelse ansible_connection=local relup_transport=openssh\n"
    transports = {host.name: host.transport for host in load(written(tmp_path, "hosts", text)).hosts}
    assert transports == {"here": "local", "there": "auto", "else": "openssh"}


def test_subscripts_mean_what_they_mean_to_ansible(tmp_path: Path) -> None:
    """Ansible's own code says it, in a process of its own."""
    text = "[g]\nc\na\nb\n[h]\nd\na\n[p:children]\nh\ng\n"
    patterns = [
        "g[0]",
        "g[0:1]",
        "g[1:]",
        "g[-1]",
        "p[1:2]",
        "all[0]",
        "all:!g[0]",
        "p:&g[1:]",
        "g*[2]",
        "h[0:5]",
        "h[1:1]",
    ]
    path = written(tmp_path, "hosts.ini", text)
    command = [sys.executable, "-c", MEANT, str(path), *patterns]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    inventory = load(path)
    ours = {each: sorted(host.name for host in inventory.select([each])) for each in patterns}
    assert ours == json.loads(ended.stdout)


MEANT = """\
import json, sys
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
inventory = InventoryManager(loader=DataLoader(), sources=[sys.argv[1]])
print(json.dumps({each: sorted(host.name for host in inventory.get_hosts(each)) for each in sys.argv[2:]}))
"""


def test_a_word_that_is_a_host_and_a_group_is_ambiguous(tmp_path: Path) -> None:
    inventory = load(written(tmp_path, "hosts", "[emqx]\nn1\nn2\n[others]\nemqx\n"))
    with pytest.raises(UsageError) as caught:
        inventory.select(["emqx"])
    assert caught.value.err_type == "ambiguous_host"


def test_nothing_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = tmp_path / "ran"
    program = f'#!/bin/sh\ntouch {ran}\necho \'{{"all": {{"hosts": ["n1"]}}}}\'\n'
    plugin = f"open({str(ran)!r}, 'w').close()\n"
    for folder in ("inventory_plugins", "vars_plugins"):
        written(tmp_path, f"{folder}/evil.py", plugin)
    settings = "[defaults]\ninventory_plugins = inventory_plugins\nvars_plugins = vars_plugins\n"
    config = written(tmp_path, "ansible.cfg", settings + "[inventory]\nenable_plugins = evil, script\n")
    monkeypatch.setenv("ANSIBLE_CONFIG", str(config))
    monkeypatch.setenv("ANSIBLE_INVENTORY_ENABLED", "evil,script")
    monkeypatch.setenv("ANSIBLE_VARS_PLUGINS", str(tmp_path / "vars_plugins"))
    monkeypatch.chdir(tmp_path)
    assert names(load(written(tmp_path, "hosts", "n1\n"))) == ["n1"]
    for path in (
        written(tmp_path, "dynamic", program),
        written(tmp_path, "aws.yml", "plugin: evil\nall:\n"),
        written(tmp_path, "folder/dynamic", program).parent,
    ):
        for file in (path, *path.glob("*")):
            file.chmod(0o755)
        with pytest.raises(InventoryError):
            load(path)
    assert not ran.exists()


@pytest.mark.share(3)
@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("hosts", "[a\n", "ansible-inventory can't read it: "),
        ("hosts", "n1 ansible_password=my secret\n", "ansible-inventory can't read it: "),
        ("hosts.yml", "all: [n1]\n", "no hosts are given"),
        ("hosts.yml", "all:\n  hosts: {\n", "ansible-inventory can't read it: "),
        ("hosts", "", "no hosts are given"),
        ("hosts", "win1 ansible_connection=winrm\n", "no hosts are given, neither hosts reached by SSH"),
        ("hosts", "#!/bin/sh\n", "is a program"),
    ],
)
def test_what_can_not_be_read_is_one_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(InventoryError) as caught:
        load(written(tmp_path, name, text))
    assert message in caught.value.message
    assert "\n" not in caught.value.message
    assert "secret" not in caught.value.message


@pytest.mark.parametrize("as_folder", [False, True])
def test_encrypted_files_of_variables_are_not_opened_but_all_others_are(tmp_path: Path, as_folder: bool) -> None:
    vault = written(tmp_path, "group_vars/all/vault.yml", "$ANSIBLE_VAULT;1.1;AES256\n3039\n")
    written(tmp_path, "group_vars/all/vars.yml", "relup_role: core\nansible_password: '{{ vault_password }}'\n")
    path = written(tmp_path, "hosts", "n1\n")
    inventory = load(tmp_path if as_folder else path)
    assert [host.role for host in inventory.select()] == ["core"]
    assert any(note.endswith(f"not opened, because it is encrypted: {vault}") for note in inventory.notes)


def test_an_encrypted_inventory_is_not_opened(tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match="ansible-inventory can't read it: "):
        load(written(tmp_path, "hosts", "$ANSIBLE_VAULT;1.1;AES256\n3039\n"))


def test_without_ansible_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InventoryError) as caught:
        load(written(tmp_path, "hosts.ini", "n1\n"))
    assert caught.value.err_type == "ansible_missing"
    assert "relup_remote[ansible]" in caught.value.hint


def test_the_example_is_a_good_inventory() -> None:
    example = load(Path(__file__).parents[2] / "inventory" / "example.ini")
    assert names(example, "cores") == ["core1", "core2"]
    assert [host.role for host in example.select(["emqx"])] == ["core", "core", "replicant"]
