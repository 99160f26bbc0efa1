"""Payload, shipped to hosts (Python 3.6 and up, standard library only): what the steps of one request share."""

import base64
import os
from typing import Any, BinaryIO, Callable, Dict, List, Optional

from . import boot, release, service, wrapper
from .agent import Agent
from .deadline import Deadline
from .erlang.link import Link
from .erlang.term import Atom
from .files import has_room, private_dir, remove_tree, write_whole
from .harmless import allowed, as_term
from .journal import Journal
from .kept import cache_folder
from .protocol import OPTIONS, Failure, Result
from .site import NodeView, Site, connect_node

_MEMORY = "/dev/shm"  # noqa: S108  # A folder of a name of its own is made in it.
_WORK = 8 << 20
"""Bytes that the work of a request may need: the agent's sources, and the hop with its helpers."""

Emit = Callable[[Dict[str, Any]], None]


class Context:
    """One request on its way: `request` as sent, `site`, `journal`, `result` so far, the `link` to the VM when needed.

    `changed` is set by a step as soon as it has changed the node or what it boots. `unfinished` says that an earlier
    attempt at the same hop got into the VM and no further than to its callbacks (`resume`) or not even there.
    `updated` are the modules whose processes that attempt has brought to the target's state, each with the pids of
    those that it could not. `deployed` says that the target's tree is there because of this request, `hop_started` that
    its hop began in the VM, and `hop_runs` that its outcome is not known yet. `warned` are the warnings of the last
    preflight.
    """

    def __init__(
        self, request: Dict[str, Any], site: Site, emit: Emit, stdin: BinaryIO, deadline: Optional[Deadline] = None
    ) -> None:
        self.request = request
        self.deadline = deadline or Deadline()
        self.site = site
        self.emit = emit
        self.stdin = stdin
        self.journal = Journal(site.ours)
        self.result = Result()
        self.changed = False
        self.unfinished = False
        self.resume = False
        self.updated: Dict[str, List[str]] = {}
        self.deployed = False
        self.hop_runs = False
        self.hop_started = False
        self.warned: List[Dict[str, Any]] = []
        self.extra: Dict[str, Any] = {}
        self.row: Optional[int] = None
        self._link: Optional[Link] = None
        self._work: Optional[str] = None
        self._agent: Optional[Agent] = None
        self._unit: List[Optional[str]] = []
        self._value: Optional[Dict[str, Any]] = None
        self._environment: Optional[Dict[str, str]] = None

    def option(self, name: str) -> Any:
        """An option of the request, or its default."""
        return self.request.get("options", {}).get(name, OPTIONS[name][0])

    @property
    def link(self) -> Link:
        """The link to the VM, made at the first use. Raises `Failure` node_not_running, node_unreachable."""
        if self._link is None:
            self._link = connect_node(self.site)
            self.result.facts["link"] = self._link.kind
            if self._link.why:
                warning = Failure("slow_link", detail={"reason": self._link.why}).to_json()
                if warning not in self.result.warnings:
                    self.result.warnings.append(warning)
        return self._link

    @property
    def view(self) -> NodeView:
        """The running node, to be asked."""
        return NodeView(self.link)

    def vm_runs(self) -> bool:
        """Whether the VM that the request began with still runs."""
        # Not as it was found: what only hides it for a moment, as a second VM of its name, must not count as its end.
        return self.site.node is not None and self.site.node.runs()

    @property
    def agent(self) -> Agent:
        """The agent in the VM, loaded at the first use. Raises `Failure`."""
        if self._agent is None:
            self._agent = Agent(self.link, self.work(), cache_folder())
        return self._agent

    @property
    def service(self) -> Optional[str]:
        """The systemd unit by which the node is restarted; None: by its wrapper. What the first use finds stays so."""
        if not self._unit:
            self._unit.append(service.unit_for(self.option("restart_by"), self.site))
        return self._unit[0]

    @property
    def environment(self) -> Dict[str, str]:
        """What the node's wrapper is run with (see `wrapper.environment`), as it was at the first use: a VM that ends
        takes its own along."""
        if self._environment is None:
            self._environment = wrapper.environment(self.site)
        return self._environment

    @property
    def tarball(self) -> Dict[str, Any]:
        """The request's tarball. Raises `Failure` bad_request where there is none."""
        found = self.request.get("tarball")
        if not isinstance(found, dict):
            raise Failure("bad_request", "The command needs a tarball.")
        return found

    @property
    def target(self) -> str:
        """The version to upgrade to. Raises the `Failure` met in reading the tarball."""
        facts = self.tarball["release"]
        if "error" in facts:
            error = facts["error"]
            stage = "extract" if error["err_type"] in ("rel_vsn_not_found", "cannot_read_emqx_vars") else "stage"
            raise Failure(error["err_type"], error["message"], detail=error.get("detail"), stage=stage)
        return str(facts["version"])

    @property
    def tree(self) -> str:
        """Where the target's tree is, or will be, deployed."""
        return release.tree_of(self.site.base, self.target)

    @property
    def staged(self) -> str:
        """Where the tarball is, or will be, staged."""
        return os.path.join(self.site.staging, os.path.basename(self.tarball["name"]))

    def hop(self) -> Dict[str, Any]:
        """The hop from the running version to the target. Raises `Failure` no_relup_entry, ambiguous_hop."""
        source = self.result.from_vsn
        hops = self.request.get("hops", [])
        found = [hop for hop in hops if hop["from"] == source and hop["target"] == self.target]
        if not found:
            raise self._no_hop(source, hops)
        if len(found) > 1:
            raise Failure("ambiguous_hop", detail={"files": [hop["file"] for hop in found]})
        return dict(found[0])

    def hop_value(self) -> Dict[str, Any]:
        """What the hop evaluates to in this VM: its ``term``, and the ``sha256`` by which two values are compared.

        It is evaluated once. Where the request brings a value, that is the one: what was planned is what is run.
        Raises `Failure` hop_changed where it is not what it is said to be, malformed_hop, hop_call_not_allowed,
        hop_too_costly.
        """
        if self._value is None:
            brought = self.request.get("hop_value") or {}
            request = {
                "hop": self._for_vm("hop.relup", self.hop()["text"].encode("utf-8")),
                "calls": as_term(allowed(self.option("allow_calls"))),
                "value": base64.b64decode(brought["term"]) if brought else None,
            }
            fields = {Atom(name): value for name, value in request.items()}
            self._value = self.agent.evaluate(fields, self.option("call_timeout"))
            if brought and brought["sha256"] != self._value["sha256"]:
                raise Failure("hop_changed", detail={"planned": brought["sha256"], "is": self._value["sha256"]})
        return self._value

    def _no_hop(self, source: Optional[str], hops: List[Dict[str, Any]]) -> Failure:
        paths = [(path["from"], path["target"]) for path in self.request.get("paths") or hops]
        onward = [target for start, target in paths if start == source]
        message = "The catalogue has no hop {} -> {}; from {} it has {}.".format(
            source, self.target, source, "hops to " + ", ".join(onward) if onward else "none"
        )
        supported = ["{} -> {}".format(*path) for path in paths if path[0] == source or path[1] == self.target]
        return Failure("no_relup_entry", message, detail={"supported": supported})

    def hop_request(self, tree: Optional[str]) -> Dict[Atom, Any]:
        """The agent's request for the hop (see relup_agent.erl); its files are put where the VM can read them."""
        helpers = [
            self._for_vm(os.path.basename(helper["file"]), _content(helper))
            for helper in self.request.get("helpers", [])
        ]
        fields = {
            "run": self.request["run"].encode("utf-8"),
            "value": self.hop_value()["term"],
            "from": self.result.from_vsn or "",
            "target": self.target,
            "facts": self._for_vm("facts", base64.b64decode(self.tarball["release"]["code"])),
            "tree": tree,
            "helpers": helpers,
            "marker": os.path.join(self.site.base, release.MARKER),
            "outcome": self.site.outcome,
            "resume": self.resume,
            "kill_lingering": bool(self.option("kill_lingering")),
            "restart": self.option("on_failure") == "restart",
            "timeout": int(self.option("step_timeout") * 1000),
            "core": self.agent.core,
            "updated": [
                (Atom(module), [pid.encode("utf-8") for pid in kept]) for module, kept in sorted(self.updated.items())
            ],
        }
        return {Atom(name): value for name, value in fields.items()}

    def _for_vm(self, name: str, content: bytes) -> str:
        path = os.path.join(self.work(), name)
        write_whole(path, content)
        return path

    def note(self, **facts: Any) -> None:
        """Puts facts into the history's row of this attempt."""
        self.extra.update(facts)
        if self.row is not None:
            self.journal.note(self.row, self.extra)

    def prove_boot(self, tree: str) -> Dict[str, Any]:
        """Shows that a tree would boot (see `boot.prove`); the result's facts say how. Raises `Failure`."""
        limit = None if self.option("no_boot_check") else self.option("boot_check_timeout")
        try:
            told = boot.prove(tree, self.site, limit, self.work(), self.option("boot_proof"))
        except Failure as failure:
            if "boot" in failure.detail:
                boot.tell(self.result, failure.detail["boot"], self.site.base)
            raise
        boot.tell(self.result, told, self.site.base)
        return told

    def work(self) -> str:
        """A folder of this request alone, which the VM can read; removed by `close`.

        It is below the node's data, or in memory where that disk is full: to look at a node needs no room there.
        """
        if self._work is None:
            name = "{}-{}".format(self.request["run"], os.getpid())
            if not has_room(self.site.ours, _WORK) and has_room(_MEMORY, _WORK):
                # A service may have a /tmp of its own, but not this.
                self._work = private_dir(os.path.join(_MEMORY, "relup_remote-{}-{}".format(os.urandom(8).hex(), name)))
            else:
                self._work = self.site.make_ours("work", name)
        return self._work

    def close(self) -> None:
        """Leaves the VM, and removes what only this request needed, empty folders of ours included."""
        self.leave_vm()
        if self._work is not None:
            remove_tree(self._work)
            for folder in (self.site.work, self.site.ours):
                try:
                    os.rmdir(folder)
                except OSError:
                    break

    def leave_vm(self) -> None:
        """Takes all that is ours out of the VM and closes the link; the next use makes a new one."""
        if self._agent is not None:
            self._agent.unload()
        if self._link is not None:
            self._link.close()
        self._agent = self._link = None


def _content(helper: Dict[str, str]) -> bytes:
    """What the file of a helper holds: its source, or its beam."""
    return base64.b64decode(helper["code"]) if helper["file"].endswith(".beam") else helper["text"].encode("utf-8")
