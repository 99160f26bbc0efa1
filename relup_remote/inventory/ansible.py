"""Ansible's inventories, as they are: INI, YAML, or a folder of them, with `group_vars` and `host_vars` beside them.

`ansible-inventory` of ansible-core reads them, in a process of its own (its licence, GPL, does not mix with ours) that
runs nothing: only the plugins for INI and YAML are on, with an empty configuration, an empty working folder, and no
variable of the operator's environment. Weighed against it: the parsers that other projects keep know a part of the
format each, and none of them `group_vars` and their precedence.

What is taken of a host is in `MEANINGS`, and our own settings as ``relup_<setting>``. Passwords are not read.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from relup_remote.inventory.checking import NAME, Checker, Settings, merged
from relup_remote.inventory.errors import InventoryError
from relup_remote.inventory.select import Inventory
from relup_remote.settings import SETTINGS

PROGRAM = "ansible-inventory"
TIMEOUT = 60.0
WRITE_IT = f"; write down what it says: {PROGRAM} -i … --list --yaml --output hosts.yml"
OWN = "relup_"
OVER_SSH = ("ssh", "smart", "paramiko", "paramiko_ssh", "ansible.builtin.ssh", "ansible.builtin.paramiko_ssh")
SECRETS = re.compile(r"ansible_(?:\w+_)?pass(?:word|phrase)?")
VAULT = "__ansible_vault"

Variables = Mapping[str, Any]


def load(path: Path) -> Inventory:
    """Read and check the inventory in a file or folder.

    A host that can't be used is an error only for who selects it: such an inventory may be of a whole company. Hosts
    that are not reached by SSH are left out. Raises `InventoryError`.
    """
    check = Checker(path)
    if _is_program(path):
        raise check.error("", "is a program or a plugin's configuration, and no such thing is run" + WRITE_IT)
    document = _document(check, path)
    variables = document.get("_meta", {}).get("hostvars", {})
    members = _members(document)
    ours = [name for name in members["all"] if _by_ssh(variables.get(name, {}))]
    hosts, unusable = [], {}
    for name in ours:
        try:
            check.name(name, "hosts")
            hosts.append(merged(name, _settings(check, variables.get(name, {}), f"hosts.{name}")))
        except InventoryError as error:
            unusable[name] = error
    if not ours:
        raise check.error("", "no hosts are given that are reached by SSH")
    groups = {name: tuple(host for host in found if host in ours) for name, found in members.items()}
    return Inventory(path, tuple(hosts), groups, unusable, tuple(_notes(path, variables)))


def _is_program(path: Path) -> bool:
    """Whether Ansible would run something to read it: an executable file, or a configuration for a plugin."""
    if path.is_dir():
        return False
    if path.suffix in ("", ".ini"):
        return path.read_bytes().startswith(b"#!")
    return re.search(r"^plugin\s*:", path.read_text(encoding="utf-8"), re.MULTILINE) is not None


# Asking ansible-inventory


def _document(check: Checker, path: Path) -> dict[str, Any]:
    """What `ansible-inventory --list` says."""
    with tempfile.TemporaryDirectory(prefix="relup-") as name:
        folder = Path(name)
        (folder / "ansible.cfg").touch()
        command = [_program(path), "-i", str(path.absolute()), "--list", "--playbook-dir", name]
        try:
            ended = subprocess.run(
                command,
                cwd=folder,
                env=_environment(folder),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                encoding="utf-8",
                errors="replace",
                check=False,
                timeout=TIMEOUT,
            )
        except subprocess.TimeoutExpired:
            raise check.error("", f"{PROGRAM} did not read it within {TIMEOUT:g} s") from None
        except OSError as error:
            raise check.error("", f"{PROGRAM} can't be run: {error.strerror}") from error
    if ended.returncode != 0:
        raise check.error("", _reason(path, ended.stderr))
    try:
        return check.mapping(json.loads(ended.stdout), "")
    except ValueError as error:
        raise check.error("", f"{PROGRAM} says something that is no JSON") from error


def _program(path: Path) -> str:
    """The one beside our own Python, else that of the PATH."""
    found = shutil.which(PROGRAM, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if found is None:
        raise InventoryError(path, "", f"is Ansible's, and {PROGRAM} is not there to read it", "ansible_missing")
    return found


def _environment(folder: Path) -> dict[str, str]:
    """Variables with which `ansible-inventory` runs nothing and asks nothing."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME")}
    return kept | {
        "LC_ALL": "C.UTF-8",
        "ANSIBLE_HOME": str(folder / "home"),
        "ANSIBLE_CONFIG": str(folder / "ansible.cfg"),
        "ANSIBLE_INVENTORY_ENABLED": "yaml,ini",
        "ANSIBLE_VARS_ENABLED": "host_group_vars",
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
        "ANSIBLE_NOCOLOR": "1",
    }


def _reason(path: Path, said: str) -> str:
    """Why Ansible can't read it, in one line. What is quoted of the file is cut off: it may be a password."""
    if "vault" in said:
        return "files of variables beside it are encrypted by ansible-vault, which is not opened"
    plugin = "yaml" if path.suffix in (".yml", ".yaml", ".json") else "ini"
    found = re.search(rf"with '{plugin}' plugin: (.+)", said) or re.search(r"\[?ERROR\]?: (.+)", said)
    reason = found[1] if found else "it gives no reason"
    return f"{PROGRAM} can't read it: {re.split(r', got: ', reason)[0][:300]}"


def _members(document: dict[str, Any]) -> dict[str, list[str]]:
    """The hosts of every group, those of its children too, in the order in which Ansible lists them."""
    found: dict[str, list[str]] = {}

    def of(group: str) -> list[str]:
        if group not in found:
            found[group] = []
            listed = document.get(group, {})
            hosts = dict.fromkeys(listed.get("hosts", []))
            for child in listed.get("children", []):
                hosts |= dict.fromkeys(of(child))
            found[group] = list(hosts)
        return found[group]

    for group in ("all", *document):
        if group != "_meta":
            of(group)
    return found


# What its variables say


def _by_ssh(variables: Variables) -> bool:
    return variables.get("ansible_connection", "ssh") in OVER_SSH


def _settings(check: Checker, variables: Variables, where: str) -> Settings:
    own = [name for name in variables if name.startswith(OWN)]
    check.known(own, [f"{OWN}{setting}" for setting in SETTINGS], where, "variable")
    settings: Settings = {}
    for setting, names, read in TAKEN:
        name = next((name for name in names if variables.get(name) is not None), None)
        if name is not None:
            value = read(_plain(check, variables[name], f"{where}.{name}"))
            if value is not None:
                settings[setting] = check.value(setting, value, f"{where}.{name}")
    become = _become(check, variables, where)
    arguments = _ssh_args(check, variables, where)
    settings |= {"become": become} if become else {}
    settings |= (
        {"ssh_args": check.value("ssh_args", arguments, f"{where}.ansible_ssh_common_args")} if arguments else {}
    )
    for name in own:
        setting, place = name.removeprefix(OWN), f"{where}.{name}"
        settings[setting] = check.value(setting, _plain(check, variables[name], place), place)
    return settings


def _as_it_is(value: Any) -> Any:
    return value


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, str) and value.isascii() and value.isdecimal() else value


def _python(value: Any) -> Any:
    """Ansible's words for looking for one mean what we do anyway."""
    return None if isinstance(value, str) and value.startswith("auto") else value


class Taken(NamedTuple):
    """A setting that is taken from the first of ``names`` that a host has; ``read`` says what a value means."""

    setting: str
    names: tuple[str, ...]
    read: Callable[[Any], Any] = _as_it_is


TAKEN = (
    Taken("address", ("ansible_host", "ansible_ssh_host")),
    Taken("port", ("ansible_port", "ansible_ssh_port"), _number),
    Taken("user", ("ansible_user", "ansible_ssh_user")),
    Taken("key", ("ansible_ssh_private_key_file", "ansible_private_key_file")),
    Taken("python", ("ansible_python_interpreter",), _python),
)
SSH_ARGS = ("ansible_ssh_args", "ansible_ssh_common_args", "ansible_ssh_extra_args")

MEANINGS = (
    *((names, f"`{setting}`") for setting, names, _read in TAKEN),
    (SSH_ARGS, "`ssh_args`, all of them together"),
    (("ansible_become",), "if false, `become: never`"),
    (("ansible_become_user",), "if it is to become: `become`; root, who can be anybody, is `auto`"),
    (("ansible_become_method",), "nothing but `sudo` is known"),
    (("ansible_connection",), "whether the host is one for us: SSH in any of Ansible's ways"),
)
"""The variables that mean something, and what, for people."""


def _become(check: Checker, variables: Variables, where: str) -> str | None:
    """Whom to become: root is everybody, so that this leaves it to the node's owner."""
    place = f"{where}.ansible_become"
    wanted = _plain(check, variables.get("ansible_become"), place)
    if wanted is None:
        return None
    if str(wanted).lower() in ("no", "false", "off", "0", "n", "f"):
        return "never"
    method = _plain(check, variables.get("ansible_become_method", "sudo"), f"{place}_method")
    if method not in ("sudo", "ansible.builtin.sudo"):
        raise check.error(f"{place}_method", f"only sudo is known, not {method}")
    user = _plain(check, variables.get("ansible_become_user", "root"), f"{place}_user")
    return "auto" if user == "root" else str(check.value("become", user, f"{place}_user"))


def _ssh_args(check: Checker, variables: Variables, where: str) -> str:
    given = (_plain(check, variables.get(name), f"{where}.{name}") for name in SSH_ARGS)
    return " ".join(str(each) for each in given if each)


def _plain(check: Checker, value: Any, where: str) -> Any:
    """``value``, which must be one that needs no more work."""
    if isinstance(value, dict) and VAULT in value:
        raise check.error(where, "is encrypted by ansible-vault, which is not opened")
    if isinstance(value, str) and ("{{" in value or "{%" in value):
        raise check.error(where, "is a Jinja template, which is not evaluated")
    if isinstance(value, dict):
        return {key: _plain(check, inner, f"{where}.{key}") for key, inner in value.items()}
    return value


def _notes(path: Path, variables: Mapping[str, Variables]) -> Iterable[str]:
    secrets = sorted({name for of_host in variables.values() for name in of_host if SECRETS.fullmatch(name)})
    if secrets:
        yield f"{path}: not read: {', '.join(secrets)}; see --ask-password and --ask-sudo-password"
    odd = sorted(name for name in variables if not NAME.fullmatch(name))
    if odd:
        yield f"{path}: hosts with names that can't be used: {', '.join(odd)}"
