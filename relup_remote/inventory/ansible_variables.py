"""What the variables of a host in an Ansible inventory mean: `MEANINGS`, and our settings as ``relup_<setting>``."""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from relup_remote.inventory.checking import Checker, Settings, shown
from relup_remote.settings import SETTINGS

OWN = "relup_"
WAY = "ansible_connection"
OVER_SSH = ("ssh", "smart", "paramiko", "paramiko_ssh", "ansible.builtin.ssh", "ansible.builtin.paramiko_ssh")
HERE = ("local", "ansible.builtin.local")
VAULT = "__ansible_vault"
"""The key of an encrypted value, as `ansible-inventory` shows it."""

SECRETS = re.compile(r"ansible_(?:\w+_)?(?:pass(?:word|phrase)?|private_key)")
"""The variables that are passwords: they are not read."""

Variables = Mapping[str, Any]


def other_way(variables: Variables) -> str | None:
    """How Ansible reaches a host that is reached neither by SSH nor on this very machine.

    None if it is, and also if the variable does not say how in plain words: such a host can't be used.
    """
    way = variables.get(WAY)
    if not isinstance(way, str) or not re.fullmatch(r"\w+(?:\.\w+)*", way) or way.lower() in (*OVER_SSH, *HERE):
        return None
    return way


def settings(check: Checker, variables: Variables, where: str) -> Settings:
    """The settings of the host at ``where``. Raises `InventoryError` if a variable that means one can't be used."""
    own = [name for name in variables if name.startswith(OWN)]
    check.known(own, [f"{OWN}{setting}" for setting in SETTINGS], where, "variable")
    way = _plain(check, variables.get(WAY), f"{where}.{WAY}")
    if way not in (None, *OVER_SSH, *HERE):
        known = "ssh, paramiko, local or the like, in small letters"
        raise check.wrong(f"{where}.{WAY}", f"expected {known}, found {shown(way)}")
    found: Settings = {}
    for setting, names, read in TAKEN:
        name = next((name for name in names if variables.get(name) is not None), None)
        if name is not None:
            value = read(_plain(check, variables[name], f"{where}.{name}"))
            if value is not None:
                found[setting] = check.value(setting, value, f"{where}.{name}")
    if way in HERE:
        found["transport"] = "local"
    if (become := _become(check, variables, where)) is not None:
        found["become"] = become
    if arguments := _ssh_args(check, variables, where):
        found["ssh_args"] = check.value("ssh_args", arguments, f"{where}.{SSH_ARGS[1]}")
    for name in own:
        setting, place = name.removeprefix(OWN), f"{where}.{name}"
        found[setting] = check.value(setting, _plain(check, variables[name], place), place)
    return found


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
    Taken("connect_timeout", ("ansible_ssh_timeout", "ansible_timeout"), _number),
)
SSH_ARGS = ("ansible_ssh_args", "ansible_ssh_common_args", "ansible_ssh_extra_args")

BECOME_USER = ("ansible_become_user", "ansible_sudo_user")
YES = ("yes", "true", "on", "1", "y", "t")
NO = ("no", "false", "off", "0", "n", "f")

NOT_USED = (
    "ansible_become_exe",
    "ansible_become_flags",
    "ansible_control_path",
    "ansible_control_path_dir",
    "ansible_host_key_checking",
    "ansible_shell_executable",
    "ansible_shell_type",
    "ansible_ssh_executable",
    "ansible_ssh_host_key_checking",
    "ansible_ssh_password_mechanism",
    "ansible_ssh_pkcs11_provider",
    "ansible_ssh_use_tty",
    "ansible_sudo_chdir",
    "ansible_sudo_exe",
    "ansible_sudo_flags",
)
"""The variables that say how Ansible reaches a host or becomes a user there, and have no meaning here. A note says so.

Those about how Ansible moves its files, how often it tries and how much it says are none of these.
"""

MEANINGS = (
    *((names, f"`{setting}`") for setting, names, _read in TAKEN),
    (SSH_ARGS, "`ssh_args`, all of them together"),
    (("ansible_become",), "if false, `become: never`"),
    (
        BECOME_USER,
        "`become`, if `ansible_become` is not false; for root `auto`, because root can become any user",
    ),
    (("ansible_become_method",), "only `sudo` is known"),
    (
        ("ansible_connection",),
        "any of Ansible's ways of SSH: the host is used; `local`: `transport: local`; any other: the host is left out",
    ),
)
"""The variables that mean something, and what, for people."""


def _become(check: Checker, variables: Variables, where: str) -> str | None:
    """Whom to become: root is everybody, so that this leaves it to the node's owner."""
    place = f"{where}.ansible_become"
    wanted = _plain(check, variables.get("ansible_become"), place)
    named = next((name for name in BECOME_USER if variables.get(name) is not None), None)
    if wanted is not None:
        if str(wanted).lower() in NO:
            return "never"
        if str(wanted).lower() not in YES:
            raise check.wrong(place, f"expected yes or no, found {shown(wanted)}")
    elif named is None:
        return None
    method = _plain(check, variables.get("ansible_become_method", "sudo"), f"{place}_method")
    if method not in ("sudo", "ansible.builtin.sudo"):
        raise check.wrong(f"{place}_method", f"only sudo is known, not {method}")
    place = f"{where}.{named}"
    user = _plain(check, variables[named], place) if named else "root"
    return "auto" if user == "root" else str(check.value("become", user, place))


def _ssh_args(check: Checker, variables: Variables, where: str) -> str:
    given = (_plain(check, variables.get(name), f"{where}.{name}") for name in SSH_ARGS)
    return " ".join(str(each) for each in given if each)


def _plain(check: Checker, value: Any, where: str) -> Any:
    """``value``, which must be one that needs no more work."""
    if isinstance(value, dict) and VAULT in value:
        raise check.wrong(where, "is encrypted by ansible-vault, and nothing encrypted is opened")
    if isinstance(value, str) and ("{{" in value or "{%" in value):
        raise check.wrong(where, "is a Jinja template, which is not evaluated")
    if isinstance(value, dict):
        return {key: _plain(check, inner, f"{where}.{key}") for key, inner in value.items()}
    return value
