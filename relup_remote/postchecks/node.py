"""A node as the checks see it: what is found on its host by SSH, and nothing else."""

import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from testinfra.backend.base import CommandResult
from testinfra.host import Host

from relup_remote.boundary import MAYBE_TEXT, TEXT, TEXTS
from relup_remote.core.emqx_vars import Unclear, Variables
from relup_remote.core.erlang.term import Atom
from relup_remote.deadline import NEVER, Deadline
from relup_remote.hops.app_file import read_rel
from relup_remote.inventory import HostSettings
from relup_remote.postchecks.calls import EvalLink, argument, data
from relup_remote.postchecks.ssh import Link, connect
from relup_remote.schema import COUNT, Flag, ListOf, Maybe, Number, Record, Shape, Unfit, parsed

LOOKS: Mapping[str, Shape] = {
    "vms": Record(
        {
            "user": TEXT,
            "hidden": Flag(),
            "vms": ListOf(
                Record(
                    {
                        "pid": COUNT,
                        "fits": Flag(),
                        **dict.fromkeys(("owner", "name", "root", "base", "data_dir"), TEXT),
                    }
                )
            ),
        }
    ),
    "configuration": Record({"status": Maybe(Number()), "said": TEXT}),
    "attempt": Maybe(
        Record({"run": TEXT, "target_vsn": MAYBE_TEXT, "status": TEXT, "result": MAYBE_TEXT, "stage": MAYBE_TEXT})
    ),
    "leftovers": TEXTS,
}
"""What the looks of `on_host` say."""

ON_HOST = Path(__file__).with_name("on_host.py")


@contextmanager
def look_at(settings: HostSettings, target: str | None, deadline: Deadline = NEVER) -> "Iterator[Node]":
    """The node of a host that could be reached, looked at up to the ``deadline``.

    Raises `Failure`: that of the connection, stage ``connect``, or ``deadline_exceeded``, stage ``postcheck``.
    """
    with connect(settings, deadline) as link:
        yield Node(link, settings, target)


class Node:
    """One host's node, the fixture ``emqx_node``. Everything is looked up when a check first asks for it.

    What a check needs and does not find is an AssertionError with a sentence.
    """

    def __init__(self, link: Link, settings: HostSettings, target: str | None) -> None:
        self._link = link
        self._settings = settings
        self._target = target

    @property
    def name(self) -> str:
        """The node's name, as Erlang has it."""
        return str(self.vm["name"])

    @property
    def version(self) -> str:
        """The version that the node says it runs; asked each time."""
        return self.eval("emqx_release:version()").strip('"')

    @cached_property
    def vms(self) -> list[dict[str, Any]]:
        """The VMs that fit the inventory: ``pid``, ``owner``, ``name``, ``root``, ``base``, ``data_dir`` of each."""
        return [vm for vm in self._seen["vms"] if self._fits(vm)]

    @cached_property
    def vm(self) -> dict[str, Any]:
        """The one VM."""
        assert self.vms or not self._seen["hidden"], (
            "whether a VM of this root is running can't be seen: /proc hides the processes of other users (hidepid)"
        )
        assert self.vms, "no VM of this root is running"
        pids = ", ".join(str(vm["pid"]) for vm in self.vms)
        assert len(self.vms) == 1, f"{len(self.vms)} VMs fit: {pids}"
        return self.vms[0]

    @cached_property
    def host(self) -> Host:
        """The host, as the user that owns the node; where the inventory names another, nothing is run there."""
        become, user, owner = self._settings.become, self._seen["user"], self._shared("owner")
        if become == "auto":
            become = owner or "never"
        ours = user if become == "never" else become
        assert owner in (None, ours), f"the node belongs to {owner}, but the inventory says to look at it as {ours}"
        return self._link.host(None if ours == user else ours)

    @cached_property
    def root(self) -> str:
        """The base root: authority for data and marker."""
        return self._shared("base") or self._settings.root_dir or str(self.vm["base"])

    @cached_property
    def data_dir(self) -> str:
        """The data folder."""
        return self._settings.data_dir or self._shared("data_dir") or str(self.vm["data_dir"])

    @cached_property
    def marker(self) -> str | None:
        """The version that the marker names; None without a marker, where a restart boots the base release."""
        file = self.host.file(f"{self.root}/relup/current")
        return str(file.content_string).strip() if file.is_file else None

    @cached_property
    def boots(self) -> str:
        """The version that the next restart boots."""
        return self.marker or self._base_version

    @cached_property
    def target(self) -> str:
        """The version that the node should be on: as asked, else the one that it boots."""
        return self._target or self.boots

    @cached_property
    def tree(self) -> str:
        """The target's tree: the deployed one, or the root itself where the target is the base release."""
        is_base = self.marker is None and self.target == self.boots
        return self.root if is_base else f"{self.root}/relup/{self.target}"

    def eval(self, expression: str) -> str:
        """What the VM makes of an Erlang expression, as it prints it, asked through the node's own script."""
        result = self._run_eval(expression)
        assert result.rc == 0, f"bin/emqx eval ended with {result.rc}: {(result.stderr or result.stdout).strip()[:300]}"
        return str(result.stdout).strip()

    def call(self, module: str, function: str, *arguments: Any) -> Any:
        """The value of a function of the node as plain data.

        `calls.data` says how values look, `calls.argument` how ``arguments`` are taken.
        Raises `Failure`: ``call_failed`` if the function does, ``node_unreachable`` if the node can't be asked.
        """

        def run(expression: str) -> tuple[int, bytes]:
            result = self._run_eval(expression)
            return result.rc, result.stdout_bytes

        return data(EvalLink(run).call(module, function, [argument(each) for each in arguments]))

    @staticmethod
    def atom(name: str) -> Atom:
        """An atom, as an argument of a call."""
        return Atom(name)

    def _run_eval(self, expression: str) -> CommandResult:
        return self.host.run("%s eval %s", f"{self.root}/bin/emqx", expression)

    def boot_folder(self, name: str) -> str | None:
        """The folder that a variable of emqx_vars names to the wrapper of the next start; None where it names none."""
        tree = f"{self.root}/relup/{self.marker}" if self.marker else self.root
        file = self.host.file(f"{tree}/releases/emqx_vars")
        assert file.is_file, f"{file.path} is missing"
        given = {"RUNNER_ROOT_DIR": tree, "BASE_RUNNER_ROOT_DIR": self.root}
        try:
            return Variables(file.content_string, given).get(name)
        except Unclear as unclear:
            raise AssertionError(f"{name} in {file.path} can't be told: {unclear}") from None

    def configuration(self) -> dict[str, Any]:
        """How the wrapper of the next start gets on with the configuration: its exit ``status``, what it ``said``."""
        pid = str(self.vms[0]["pid"]) if self.vms else ""
        found: dict[str, Any] = self._ask(self.host, "configuration", f"{self.root}/bin/emqx", pid)
        return found

    def release_apps(self) -> dict[str, str]:
        """The applications of the target's release, from its `emqx.rel`: name and version."""
        file = self.host.file(f"{self.tree}/releases/{self.target}/emqx.rel")
        assert file.is_file, f"{file.path} is missing"
        return applications(file.content_string)

    def attempt(self) -> dict[str, Any] | None:
        """The last attempt in the host's history: ``run``, ``target_vsn``, ``status``, ``result``, ``stage``."""
        found: dict[str, Any] | None = self._ask(self.host, "attempt", self.data_dir)
        return found

    def leftovers(self) -> list[str]:
        """Files and folders that an upgrade should have taken away."""
        folder = self._settings.staging_dir
        staging = f"{self.data_dir}/relup_remote/staging" if folder is None else f"{folder}/relup_remote"
        found: list[str] = self._ask(self.host, "leftovers", self.root, self.data_dir, staging)
        return found

    @cached_property
    def _base_version(self) -> str:
        file = self.host.file(f"{self.root}/releases/emqx_vars")
        assert file.is_file, f"{file.path} is missing"
        found = re.search(r"""^REL_VSN=["']?([^"'\s]+)""", file.content_string, re.MULTILINE)
        assert found, f"{file.path} names no REL_VSN"
        return found[1]

    @cached_property
    def _seen(self) -> dict[str, Any]:
        found = self._look(None)
        # Who sees the processes of all users, or at least those of the node's.
        seer = {"auto": "root", "never": found["user"]}.get(self._settings.become, self._settings.become)
        if found["hidden"] and seer != found["user"] and not any(map(self._fits, found["vms"])):
            # Where that is not allowed, it stays unknown.
            with suppress(AssertionError):
                found = {**self._look(seer), "user": found["user"]}
        return found

    def _look(self, user: str | None) -> dict[str, Any]:
        """The VMs of the host as a user sees them, by default the SSH user."""
        found: dict[str, Any] = self._ask(
            self._link.host(user), "vms", self._settings.data_dir or "", self._settings.root_dir or ""
        )
        return found

    def _shared(self, fact: str) -> str | None:
        """What all VMs that fit have in common, so that one too many does not hide the rest; None if nothing."""
        values = {str(vm[fact]) for vm in self.vms}
        return values.pop() if len(values) == 1 else None

    def _fits(self, vm: dict[str, Any]) -> bool:
        name = self._settings.node
        return bool(vm["fits"]) and (name is None or name in (vm["name"], vm["name"].partition("@")[0]))

    def _ask(self, host: Host, *words: str) -> Any:
        python = self._settings.python or "python3"
        result = host.run(
            f"{shlex.quote(python)} -c %s {' '.join(map(shlex.quote, words))}", ON_HOST.read_text("utf-8")
        )
        assert result.rc == 0, f"looking at the host failed: {str(result.stderr).strip().splitlines()[-1:]}"
        return _understood(words[0], result.stdout_bytes)


def _understood(look: str, said: bytes) -> Any:
    """What a host says to a look at it, which has to be as that look would say it: anything may answer there."""
    try:
        found = parsed(said)
        LOOKS[look].check(found)
    except Unfit as unfit:
        raise AssertionError(f"what the host says of its {look} is not accepted: {unfit}") from None
    return found


def applications(rel: str) -> dict[str, str]:
    """Name and version of each application that a `.rel` file names. Raises `SpecError`."""
    return {app.name: app.version for app in read_rel(rel.encode())}
