"""Payload, shipped to hosts (Python 3.6 and up, standard library only): putting the agent into a VM, and asking it."""

import os
import re
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from ..erlang.link import DistributionLink, Link, plain, show
from ..erlang.term import Atom, Opaque
from ..files import write_whole
from ..protocol import ERRORS, Failure

Event = Dict[str, Any]

_POLL_MS = 4000

# Runs in erl_eval, so that no code of ours is running when ours is purged. It waits for our connection to end, then for
# the hop, if one is under way; both may come long after this process on the host has gone.
_REAPER = """
case Node of none -> ok; _ -> erlang:monitor_node(Node, true) end,
receive {nodedown, _} -> ok after Limit -> ok end,
Ref = erlang:monitor(process, relup_remote_agent),
receive {'DOWN', Ref, _, _, _} -> ok end,
[begin code:purge(Module), code:delete(Module), code:purge(Module) end || Module <- Modules].
"""

_ENTRY = "relup_agent"

_LOOKING = ("_text", "_processes", "_target", "_verify")
_ACTING = ("_crowd", "_replace", "_undo", "_hop", "_preflight", "")
_SAVING = ("_backup",)
"""How the names of the agent's modules end: those that look at what is, that a hop needs besides, that a backup needs.
"""


class Agent:
    """The agent, loaded into the VM of `link` under names that nothing else has there.

    After `unload` modules and processes are gone from the VM, unless a hop is still under way; then they go after it.
    The same happens when the link breaks.
    """

    def __init__(self, link: Link, work: str) -> None:
        """`work` is a folder of ours that the VM can read."""
        self._link = link
        self._work = work
        self._entry = ""
        self._loaded: List[str] = []
        self._reaper: Optional[Opaque] = None
        self._follows = False

    def load(self) -> None:
        """Chooses the names. The modules themselves are loaded when they are needed: compiling them takes its time.

        Raises `Failure`.
        """
        self._entry = self._free_name()
        self._start_reaper()

    def _need(self, parts: Sequence[str]) -> str:
        """Loads those of the modules that are not there yet; returns the name that theirs begin with."""
        missing = [part for part in parts if part not in self._loaded]
        for module, path, code in [self._compile(part) for part in missing]:
            loaded = self._link.call("code", "load_binary", [Atom(module), path, code])
            if loaded[0] != "module":
                raise Failure(
                    "internal_error", "The agent can't be loaded in this VM.", detail={"reason": show(loaded)}
                )
        self._loaded += missing
        return self._entry

    def _compile(self, part: str) -> Tuple[str, str, Any]:
        module = self._entry + part
        path = os.path.join(self._work, module + ".erl")
        write_whole(path, source(_ENTRY + part, self._entry))
        compiled = self._link.call("compile", "file", [path, [Atom("binary"), Atom("return_errors")]])
        if not isinstance(compiled, tuple) or compiled[0] != "ok":
            raise Failure("internal_error", "The agent does not compile in this VM.", detail={"errors": show(compiled)})
        return module, path, compiled[2]

    def unload(self) -> None:
        """Removes the modules, and the processes of a hop that has ended and been followed."""
        try:
            if not self._follows or self._link.call(self._entry, "release", []) == "ok":
                for part in self._loaded:
                    for function in ("purge", "delete", "purge"):
                        self._link.call("code", function, [Atom(self._entry + part)])
                if self._reaper is not None:
                    self._link.call("erlang", "exit", [self._reaper, Atom("kill")])
        except Failure:
            # The VM is gone or out of reach: the reaper does it, or there is nothing left to do it to.
            pass

    def _free_name(self) -> str:
        while True:
            name = "{}_{}".format(_ENTRY, os.urandom(6).hex())
            if self._link.call("code", "which", [Atom(name)]) == "non_existing":
                return name

    def _start_reaper(self) -> None:
        modules = [Atom(self._entry + part) for part in (*_LOOKING, *_ACTING, *_SAVING)]
        self._reaper = self._watching(_REAPER, Modules=modules)

    def _watching(self, source: str, **values: Any) -> Opaque:
        """A process in the VM that evaluates `source`, which waits for our connection to end; `values` are bound."""
        direct = isinstance(self._link, DistributionLink)
        tokens = self._link.call("erl_scan", "string", [source])
        parsed = self._link.call("erl_parse", "parse_exprs", [tokens[1]])
        # Through the wrapper each call is a connection of its own, whose end says nothing; then a long time must do.
        bound = dict(values, Node=self.core, Limit=Atom("infinity") if direct else 3600 * 1000)
        bindings = [(Atom(name), value) for name, value in sorted(bound.items())]
        arguments = [Atom("erl_eval"), Atom("exprs"), [parsed[1], bindings]]
        process: Opaque = self._link.call("erlang", "spawn", arguments)
        return process

    def backup_module(self) -> Atom:
        """The module by which Mnesia is to write a backup, see relup_agent_backup.erl. Raises `Failure`."""
        return Atom(self._need(_SAVING) + _SAVING[0])

    @property
    def core(self) -> Atom:
        """The name by which the VM sees this core come and go, or ``none`` where it can't."""
        return Atom(self._link.name if isinstance(self._link, DistributionLink) else "none")

    def preflight(self, request: Dict[Atom, Any], timeout: float) -> Dict[str, Any]:
        """All that stands in the way of a hop: {"problems": [Failure], "warnings": [{}], "instructions": [{}]}.

        ``modules`` in it are the names of those that the hop takes from the target.
        """
        report = self._call("preflight", [request], timeout)
        return {
            "problems": [_failure(problem) for problem in report["problems"]],
            "warnings": [_warning(warning) for warning in report["warnings"]],
            "instructions": [plain(instruction) for instruction in report["instructions"]],
            "modules": sorted(plain(name) for name in report["modules"]),
        }

    def start(self, request: Dict[Atom, Any]) -> None:
        """Begins a hop. Raises `Failure` upgrade_in_progress while another one runs in the VM."""
        self._follows = True
        answer = self._call("start", [request])
        if answer == "busy":
            raise Failure("upgrade_in_progress", "A hop is under way in the VM.")
        if answer != "started":
            raise Failure("internal_error", "The hop did not start.", detail={"reason": show(answer)})

    def wait(self, on_event: Callable[[Event], None], left: Callable[[], float]) -> Optional[Dict[str, Any]]:
        """Follows the hop in the VM to its end; None when there is none. `left` says for how many more seconds.

        Raises `Failure` hop_timeout.
        """
        self._follows = True
        seen = 0
        seconds = left()
        while seconds > 0:
            poll = min(_POLL_MS, 1 + int(seconds * 1000))
            answer = self._call("await", [seen, poll, self.core], poll / 1000 + 30)
            if answer == "gone":
                return None
            events, seen, outcome = answer
            for event in events:
                on_event(plain(event))
            if outcome != "running":
                return outcome_of(outcome)
            seconds = left()
        raise Failure("hop_timeout", changed=True)

    def release(self) -> None:
        """Lets go of a hop that has ended: its outcome is known."""
        self._call("release", [])

    def _call(self, function: str, args: List[Any], timeout: float = 30.0) -> Any:
        return self._link.call(self._need((*_LOOKING, *_ACTING)), function, args, timeout)

    def verify(self, tree: Optional[str], modules: List[str], timeout: float) -> Dict[str, Any]:
        """What the VM says of modules and processes; see ``run/1`` of relup_agent_verify."""
        request = {Atom("tree"): tree, Atom("modules"): [name.encode("utf-8") for name in modules]}
        found = plain(self._link.call(self._need(_LOOKING) + "_verify", "run", [request], timeout))
        return dict(found)


def source(part: str, entry: str) -> bytes:
    """The source of a module of the agent, for an agent whose modules' names begin with `entry`."""
    # Late, for it is slow to import, and most requests need no agent.
    import pkgutil  # noqa: PLC0415

    original = pkgutil.get_data(__name__, part + ".erl") or b""
    return re.sub(rb"\b" + _ENTRY.encode("ascii") + rb"(?=_|\b)", entry.encode("ascii"), original)


def outcome_of(term: Any) -> Dict[str, Any]:
    """The outcome of a hop as plain data: result, message, instructions, suspended_ms, seconds, undone …"""
    return dict(plain(term))


def _failure(problem: Dict[Any, Any]) -> Failure:
    told = plain(problem)
    err_type = told["err_type"] if told["err_type"] in ERRORS else "preflight_failed"
    detail = dict(told["detail"], instruction=told["n"]) if told["n"] else dict(told["detail"])
    message = "Instruction {}: {}".format(told["n"], told["message"]) if told["n"] else told["message"]
    return Failure(err_type, message, detail=detail)


def _warning(warning: Dict[Any, Any]) -> Dict[str, Any]:
    failure = _failure(warning)
    failure.stage = "apply"
    return failure.to_json()
