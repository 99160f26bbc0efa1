"""Ansible's inventories, as they are: INI, YAML, or a folder of them, with `group_vars` and `host_vars` beside them.

`ansible-inventory` of ansible-core reads them, in a process of its own (its licence, GPL, does not mix with ours) that
runs nothing: only the plugins for INI and YAML are on, with an empty configuration, an empty working folder, and no
variable of the operator's environment. A program, or what asks a plugin, is only run where that is allowed. Weighed
against it: the parsers that other projects keep know a part of the format each, and none of them `group_vars` and their
precedence.

What is taken of a host is in `ansible_variables`.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from relup_remote import files
from relup_remote.inventory.ansible_variables import NOT_USED, SECRETS, other_way, settings
from relup_remote.inventory.checking import Checker, merged, shown
from relup_remote.inventory.errors import InventoryError
from relup_remote.inventory.select import Inventory

PROGRAM = "ansible-inventory"
TIMEOUT = 60.0
RUN_IT = f"is a program or a plugin's configuration: see --allow-inventory-code, or write down what it says:\
 {PROGRAM} -i … --list --yaml --output hosts.yml"
SOME = 5
"""Hosts that a note names at most."""

ENCRYPTED = b"$ANSIBLE_VAULT"
"""How a file begins that ansible-vault has encrypted."""


def load(path: Path, text: str | None = None, kind: str = "", *, allow_code: bool = False) -> Inventory:
    """Read and check the inventory in a folder, or in a file with this ``text``, of the ``kind`` `.yml` or `.ini`.

    A host that can't be used is an error only for who selects it: such an inventory may be of a whole company. Hosts
    that are reached in other ways than SSH are left out, but for this machine itself. Raises `InventoryError`.
    """
    if allow_code:
        return run(path, allow_code)
    with tempfile.TemporaryDirectory(prefix="relup-") as folder:
        view, encrypted = _view(path.absolute(), text, kind, Path(folder))
        empty, configuration = Path(folder) / "empty", Path(folder) / "ansible.cfg"
        empty.mkdir()
        configuration.touch()
        arguments = ["-i", str(view), "--list", "--playbook-dir", str(empty)]
        document = _asked(path, view, arguments, empty, _environment(empty, configuration))
    return inventory(path, document, [f"{path}: not opened, because it is encrypted: {file}" for file in encrypted])


def run(path: Path, allow_code: bool) -> Inventory:
    """The inventory that a program says, or a plugin: `ansible-inventory` runs it, with all that is configured for it.

    Raises `InventoryError`, also unless ``allow_code``.
    """
    if not allow_code:
        raise Checker(path).wrong("", RUN_IT)
    folder = path.absolute() if path.is_dir() else path.absolute().parent
    document = _asked(path, path.absolute(), ["-i", str(path.absolute()), "--list"], folder, dict(os.environ))
    return inventory(path, document)


def inventory(path: Path, document: dict[str, Any], notes: Iterable[str] = ()) -> Inventory:
    """The inventory that ``document``, an answer of `ansible-inventory --list` for ``path``, stands for."""
    check = Checker(path)
    variables = check.mapping(check.mapping(document.get("_meta", {}), "_meta").get("hostvars", {}), "_meta.hostvars")
    for name, of_host in variables.items():
        check.mapping(of_host, f"_meta.hostvars.{shown(name)}")
    try:
        members = _members(check, document)
    except RecursionError as error:
        raise check.wrong("", "is nested too deep") from error
    others = {name: way for name in members["all"] if (way := other_way(variables.get(name, {}))) is not None}
    ours = [name for name in members["all"] if name not in others]
    if not ours:
        raise check.wrong("", "no hosts are given, neither hosts reached by SSH nor this machine")
    hosts, unusable = [], {}
    for name in ours:
        try:
            check.name(name, "hosts")
            hosts.append(merged(name, settings(check, variables.get(name, {}), f"hosts.{name}")))
        except InventoryError as error:
            unusable[name] = error
    groups = {name: tuple(host for host in found if host not in others) for name, found in members.items()}
    given = {name for host in ours for name in variables.get(host, {})}
    return Inventory(path, tuple(hosts), groups, unusable, (*notes, *_notes(path, others, given)))


def _notes(path: Path, others: Mapping[str, str], given: Iterable[str]) -> Iterable[str]:
    """What is not used: hosts that are reached in other ways, and variables of those that are ``given``."""
    if others:
        some = ", ".join(f"{name} ({way})" for name, way in list(others.items())[:SOME])
        more = f" and {len(others) - SOME} more" if len(others) > SOME else ""
        yield f"{path}: left out, because Ansible does not reach them by SSH: {some}{more}"
    if secrets := sorted(name for name in given if SECRETS.fullmatch(name)):
        yield f"{path}: not read: {', '.join(secrets)}; see --ask-password and --ask-sudo-password"
    if ignored := sorted({*given} & {*NOT_USED}):
        yield f"{path}: not used, because it is about Ansible's own way: {', '.join(ignored)}"


def _members(check: Checker, document: Mapping[str, Any]) -> dict[str, list[str]]:
    """The hosts of every group, those of its children too, in the order in which Ansible lists them.

    Every host is one of `all`, though a program need not say so.
    """
    found: dict[str, list[str]] = {}

    def of(group: str) -> list[str]:
        if group not in found:
            found[group] = []
            listed = check.mapping(document.get(group, {}), group)
            hosts = dict.fromkeys(_names(check, listed, group, "hosts"))
            for child in _names(check, listed, group, "children"):
                hosts |= dict.fromkeys(of(child))
            found[group] = list(hosts)
        return found[group]

    for group in ("all", *map(str, document)):
        if group != "_meta":
            of(group)
    found["all"] = list(dict.fromkeys(name for members in found.values() for name in members))
    return found


def _names(check: Checker, listed: Mapping[str, Any], group: str, what: str) -> list[str]:
    names = listed.get(what, [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise check.wrong(f"{group}.{what}", f"expected a list of names, found {shown(names)}")
    return names


# Asking ansible-inventory


def _view(path: Path, text: str | None, kind: str, folder: Path) -> tuple[Path, list[Path]]:
    """The inventory in ``folder``, with links to the variables beside it, and the encrypted files that are left out.

    A file is written anew, in UTF-8 and under a name by which Ansible knows what it is. What is encrypted is left out,
    for Ansible would not go on without the password.
    """
    encrypted: list[Path] = []

    def left_out(parent: str, names: list[str]) -> list[str]:
        for name in names:
            if _is_loop(Path(parent, name)):
                raise Checker(path).wrong("", f"{Path(parent, name)} is a link that leads back to a folder it is in")
        found = [name for name in names if _is_encrypted(Path(parent, name))]
        encrypted.extend(Path(parent, name) for name in found)
        return found

    view = folder / "inventory" / f"hosts{kind}"
    beside = [path] if text is None else [path.with_name(name) for name in ("group_vars", "host_vars")]
    view.parent.mkdir()
    for source in beside:
        if source.is_dir():
            place = view if text is None else view.parent / source.name
            try:
                shutil.copytree(source, place, ignore=left_out, copy_function=os.symlink)
            except OSError as error:
                # Those of several files are one, shutil.Error, with a list.
                raise Checker(path).wrong("", f"can't be read: {_first(error)}") from error
    if text is not None:
        files.write_private(view, text)
    return view, encrypted


def _is_loop(file: Path) -> bool:
    """Whether a file is a link to a folder that it is in, perhaps by other links."""
    try:
        return file.is_symlink() and file.is_dir() and any(file.samefile(parent) for parent in file.parents)
    except OSError:
        # A link to itself; Ansible says more about it.
        return False


def _first(error: OSError) -> str:
    """The first of the reasons why a folder can't be read."""
    if error.args and isinstance(error.args[0], list):
        return str(error.args[0][0][-1])
    return f"{error.strerror}: {error.filename}"


def _is_encrypted(file: Path) -> bool:
    try:
        return files.read_bytes(file)[: len(ENCRYPTED)] == ENCRYPTED
    except OSError:
        # A folder; or what Ansible will say more about.
        return False


def _asked(
    path: Path, view: Path, arguments: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> dict[str, Any]:
    """What `ansible-inventory` says of ``view``, the one of ``path``; it works in ``folder``."""
    check = Checker(path)
    try:
        ended = subprocess.run(
            [_program(path), *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            timeout=TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        raise check.wrong("", f"{PROGRAM} did not read it within {TIMEOUT:g} s") from None
    except OSError as error:
        raise check.wrong("", f"{PROGRAM} can't be run: {error.strerror}") from error
    if ended.returncode != 0:
        raise check.wrong("", _reason(view, ended.stderr.replace(str(view), str(path))))
    try:
        return check.mapping(json.loads(ended.stdout), "")
    except ValueError as error:
        raise check.wrong("", f"{PROGRAM} writes something that is not JSON") from error


def _program(path: Path) -> str:
    """The one beside our own Python, else that of the PATH."""
    found = shutil.which(PROGRAM, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if found is None:
        raise InventoryError(path, "", f"is Ansible's, and {PROGRAM} is not there to read it", "ansible_missing")
    return found


def _environment(home: Path, configuration: Path) -> dict[str, str]:
    """Variables with which `ansible-inventory` runs nothing and asks nothing."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME")}
    return kept | {
        "LC_ALL": "C.UTF-8",
        "ANSIBLE_HOME": str(home),
        "ANSIBLE_CONFIG": str(configuration),
        "ANSIBLE_INVENTORY_ENABLED": "yaml,ini",
        "ANSIBLE_VARS_ENABLED": "host_group_vars",
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
        "ANSIBLE_DUPLICATE_YAML_DICT_KEY": "error",
        "ANSIBLE_NOCOLOR": "1",
    }


def _reason(view: Path, said: str) -> str:
    """Why Ansible can't read it, in one line. What is quoted of the file is cut off: it may be a password."""
    plugin = "yaml" if view.suffix in (".yml", ".yaml", ".json") else "ini"
    found = re.search(rf"with '{plugin}' plugin: (.+)", said) or re.search(r"\[?ERROR\]?: (.+)", said)
    reason = found[1] if found else "it gives no reason"
    return f"{PROGRAM} can't read it: {re.split(r', got: ', reason)[0][:300]}"
