"""A node as the checks see it: what is found on its host by SSH, and nothing else."""

import shlex
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
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

VMS = Record(
    {
        "user": TEXT,
        "hidden": Flag(),
        "vms": ListOf(
            Record(
                {"pid": COUNT, "fits": Flag(), **dict.fromkeys(("owner", "name", "root", "base", "data_dir"), TEXT)},
            )
        ),
    }
)
"""What the look says that finds the VMs. The others need to know them."""

LOOKS: Mapping[str, Shape] = {
    "files": Record(
        {
            "lacks": TEXTS,
            "specs": TEXTS,
            **dict.fromkeys(("marker", "base_version", "vars", "target", "tree", "rel"), MAYBE_TEXT),
        }
    ),
    "configuration": Record({"status": Maybe(Number()), "said": TEXT}),
    "version": Record({"status": Number(), "said": TEXT}),
    "attempt": Maybe(
        Record({"run": TEXT, "target_vsn": MAYBE_TEXT, "status": TEXT, "result": MAYBE_TEXT, "stage": MAYBE_TEXT})
    ),
    "leftovers": TEXTS,
}
"""What the looks of `on_host` find, each by its name."""

ANSWER = Record({"seconds": Number()}, {"failed": TEXT})
"""What is said of a look: what it ``found`` or why it ``failed``."""

LONGEST = 90.0
"""Seconds that a look may take. It ends by itself before the host counts as silent."""

ON_HOST = Path(__file__).with_name("on_host.py")


@dataclass
class Known:
    """What a host has said to the looks so far: its ``vms``, the ``answers`` by the look's name, which ``files`` exist.

    ``seconds`` is how long it took to ask for what is known ahead of the checks.
    """

    vms: dict[str, Any] | None = None
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, bool] = field(default_factory=dict)
    seconds: float = 0.0


@contextmanager
def look_at(
    settings: HostSettings, target: str | None, deadline: Deadline = NEVER, known: Known | None = None
) -> "Iterator[Node]":
    """The node of a host that could be reached, looked at up to the ``deadline``.

    Where something is ``known`` of it the host is reached when something else is wanted. Raises `Failure`: that of the
    connection, stage ``connect``, or ``deadline_exceeded``, stage ``postcheck``.
    """
    with connect(settings, deadline, at_once=known is None) as link:
        yield Node(link, settings, target, known)


class Node:
    """One host's node, the fixture ``emqx_node``. Everything is looked up when a check first asks for it.

    What a check needs and does not find is an AssertionError with a sentence.
    """

    def __init__(self, link: Link, settings: HostSettings, target: str | None, known: Known | None = None) -> None:
        self._link = link
        self._settings = settings
        self._target = target
        self.known = known or Known()
        self._unused = {look: float(answer["seconds"]) for look, answer in self.known.answers.items()}
        self._seconds = 0.0

    def look_ahead(self) -> Known:
        """Ask the host in one go for all that the checks of this package want to know; returns all that it said."""
        began = time.monotonic()
        # What stands in the way of a look stands in the way of a check, which says so.
        with suppress(AssertionError):
            self._ask_for(*LOOKS)
            if folder := self.boot_folder("EMQX_ETC_DIR"):
                self.finds_configuration_in(folder)
        self.known.seconds = time.monotonic() - began
        return self.known

    def seconds_ahead(self) -> float:
        """How long those looks took that were taken ahead and first wanted since this was last asked."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds

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

    @property
    def marker(self) -> str | None:
        """The version that the marker names; None without a marker, where a restart boots the base release."""
        marker: str | None = self._answer("files")["marker"]
        return marker

    @property
    def boots(self) -> str:
        """The version that the next restart boots."""
        boots = self.marker or self._answer("files")["base_version"]
        assert boots, f"{self.root}/releases/emqx_vars is missing or names no REL_VSN"
        return str(boots)

    @property
    def target(self) -> str:
        """The version that the node should be on: as asked, else the one that it boots."""
        return self._target or self.boots

    @property
    def tree(self) -> str:
        """The target's tree: the deployed one, or the root itself where the target is the base release."""
        assert self.target
        return str(self._answer("files")["tree"])

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
        path, text = f"{tree}/releases/emqx_vars", self._answer("files")["vars"]
        assert text is not None, f"{path} is missing"
        try:
            return Variables(text, {"RUNNER_ROOT_DIR": tree, "BASE_RUNNER_ROOT_DIR": self.root}).get(name)
        except Unclear as unclear:
            raise AssertionError(f"{name} in {path} can't be told: {unclear}") from None

    def finds_configuration_in(self, folder: str) -> bool:
        """Whether there is an emqx.conf in a folder."""
        if folder not in self.known.files:
            self.known.files[folder] = self.host.run("test -f %s", f"{folder}/emqx.conf").rc == 0
        return self.known.files[folder]

    def configuration(self) -> dict[str, Any]:
        """How the wrapper of the next start gets on with the configuration: its exit ``status``, what it ``said``."""
        found: dict[str, Any] = self._answer("configuration")
        return found

    def said_version(self) -> str:
        """The version that the node says it runs, as it was when the checks began."""
        found = self._answer("version")
        assert found["status"] == 0, f"bin/emqx eval ended with {found['status']}: {found['said'][:300]}"
        return str(found["said"]).strip('"')

    def missing(self) -> list[str]:
        """What the target's tree lacks: folders, the VM's files, the release, each of its applications."""
        found, path = self._answer("files"), f"{self.tree}/releases/{self.target}/emqx.rel"
        if found["lacks"]:
            return [f"{self.tree}/{name}" for name in found["lacks"]]
        assert found["rel"] is not None, f"{path} is missing"
        apps = applications(found["rel"])
        assert apps, "the release names no application"
        expected = {f"lib/{name}-{version}/ebin/{name}.app" for name, version in apps.items()}
        return [f"{self.tree}/{name}" for name in sorted(expected.difference(found["specs"]))]

    def attempt(self) -> dict[str, Any] | None:
        """The last attempt in the host's history: ``run``, ``target_vsn``, ``status``, ``result``, ``stage``."""
        found: dict[str, Any] | None = self._answer("attempt")
        return found

    def leftovers(self) -> list[str]:
        """Files and folders that an upgrade should have taken away."""
        found: list[str] = self._answer("leftovers")
        return found

    def _answer(self, look: str) -> Any:
        """What a look at the host finds, which is taken once."""
        if look not in self.known.answers:
            self._ask_for(look)
        self._seconds += self._unused.pop(look, 0.0)
        answer = self.known.answers[look]
        assert "found" in answer, f"looking at the host failed: {answer.get('failed')}"
        return answer["found"]

    def _ask_for(self, *looks: str) -> None:
        """Have the host take some looks side by side. Raises AssertionError if it can't."""
        folder = self._settings.staging_dir
        staging = f"{self.data_dir}/relup_remote/staging" if folder is None else f"{folder}/relup_remote"
        pid = str(self.vms[0]["pid"]) if self.vms else ""
        seconds = f"{min(LONGEST, 0.8 * self._settings.command_timeout):g}"
        words = (",".join(looks), self.root, self.data_dir, staging, self._target or "", pid, seconds)
        shape = Record(dict.fromkeys(looks, ANSWER))
        said = self._ask(self.host, "looks", *words, shape=shape)
        for look in looks:
            if "found" in said[look]:
                _fits_or_says(look, LOOKS[look], said[look]["found"])
        self.known.answers.update({look: said[look] for look in looks})

    @property
    def _seen(self) -> dict[str, Any]:
        if self.known.vms is None:
            self.known.vms = self._look_for_vms()
        return self.known.vms

    def _look_for_vms(self) -> dict[str, Any]:
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
        words = (self._settings.data_dir or "", self._settings.root_dir or "")
        return dict(self._ask(self._link.host(user), "vms", *words, shape=VMS))

    def _shared(self, fact: str) -> str | None:
        """What all VMs that fit have in common, so that one too many does not hide the rest; None if nothing."""
        values = {str(vm[fact]) for vm in self.vms}
        return values.pop() if len(values) == 1 else None

    def _fits(self, vm: dict[str, Any]) -> bool:
        name = self._settings.node
        return bool(vm["fits"]) and (name is None or name in (vm["name"], vm["name"].partition("@")[0]))

    def _ask(self, host: Host, *words: str, shape: Shape) -> Any:
        python = self._settings.python or "python3"
        result = host.run(
            f"{shlex.quote(python)} -c %s {' '.join(map(shlex.quote, words))}", ON_HOST.read_text("utf-8")
        )
        assert result.rc == 0, f"looking at the host failed: {str(result.stderr).strip().splitlines()[-1:]}"
        return _understood(words[0], result.stdout_bytes, shape)


def _understood(look: str, said: bytes, shape: Shape) -> Any:
    """What a host says to a look at it, which has to be as that look would say it: anything may answer there."""
    try:
        found = parsed(said)
    except Unfit as unfit:
        raise _not_accepted(look, unfit) from None
    _fits_or_says(look, shape, found)
    return found


def _fits_or_says(look: str, shape: Shape, found: Any) -> None:
    try:
        shape.check(found)
    except Unfit as unfit:
        raise _not_accepted(look, unfit) from None


def _not_accepted(look: str, unfit: Unfit) -> AssertionError:
    return AssertionError(f"what the host says of its {look} is not accepted: {unfit}")


def applications(rel: str) -> dict[str, str]:
    """Name and version of each application that a `.rel` file names. Raises `SpecError`."""
    return {app.name: app.version for app in read_rel(rel.encode())}
