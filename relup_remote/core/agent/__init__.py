"""Payload, shipped to hosts (Python 3.6 and up, standard library only): putting the agent into a VM, and asking it."""

import hashlib
import os
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from ..erlang.link import DistributionLink, Link, plain, show
from ..erlang.term import Atom, encode
from ..files import write_whole
from ..kept import Kept, key
from ..protocol import ERRORS, Failure
from ..release import Beam
from . import bundle
from .owner import Owner

Event = Dict[str, Any]

_POLL_MS = 4000
_COMPILING = 60.0
_OPTIONS = (
    *("binary", "return_errors", "deterministic"),
    # What makes fast code takes two thirds of the time, and the agent is used once. Only `receive` is made fast: a slow
    # one takes longer with each message that waits.
    *("no_ssa_opt", "no_copt", "no_bsm_opt", "no_type_opt", "no_bool_opt"),
    *("no_share_opt", "no_fold", "no_module_opt", "no_postopt"),
)

CODE = Kept("agent-", ".beam", at_most=12, largest=4 << 20)
"""Compiled modules: to compile them costs a busy VM seconds. A node needs two, and one for each kind of backup."""

COORDINATOR = "relup_remote_agent"
"""The registered name of the process that runs a hop."""

_LOOKING = ("text", "processes", "value", "helper", "target", "verify")
_ACTING = (*_LOOKING, "crowd", "replace", "undo", "hop", "preflight", "")
_VERIFY = ("verify", "run", 1)
_ENTRIES = (("", "evaluate", 1), ("", "preflight", 1), ("", "start", 1), ("", "await", 3), ("", "release", 0))

_LOOKS, _HOP, _BACKUP = "_looks", "_hop", "_backup"
"""How the names of the modules in the VM end: to look at what is, all that a hop needs, and to write a backup."""


class Agent:
    """The agent, loaded into the VM of `link` under names that nothing else has there.

    After `unload` modules and processes are gone from the VM, unless a hop is still under way; then they go after it.
    The same happens when the link breaks, see `Owner`.
    """

    def __init__(self, link: Link, work: str, cache: Optional[str] = None) -> None:
        """`work` is a folder of ours that the VM can read, `cache` one where compiled modules are kept."""
        self._link = link
        self._work = work
        self._cache = cache
        self._loaded: List[str] = []
        self._owner: Optional[Owner] = None
        self._follows = False

    @property
    def owner(self) -> Owner:
        """Who takes back in the VM what we begin there. Raises `Failure`."""
        if self._owner is None:
            self._owner = Owner(self._link, bundle.PREFIX, (_LOOKS, _HOP, _BACKUP))
        return self._owner

    def _need(self, ending: str) -> str:
        """Loads a module, if it is not there yet; returns its name."""
        if self._owner is not None and self._link.kind == "wrapper" and not self._owner.is_there():
            # Too long ago that it heard of us.
            self._owner, self._loaded = None, []
        module = self.owner.entry + ending
        if ending not in self._loaded:
            self._load(module, _source(ending, module))
            self._loaded.append(ending)
        return module

    def prepare_looks(self) -> None:
        """Has the VM compile what a later `verify` needs, unless it is kept, so that it compiles nothing then.

        Nothing is loaded. Raises `Failure`.
        """
        module = self.owner.entry + _LOOKS
        source = _source(_LOOKS, module)
        if self._cache and self._kept(module, source) is None:
            self._keep(module, source, self._compile(self._path(module), source))

    def _load(self, module: str, source: bytes) -> None:
        """Loads a module, as it is kept or else compiled anew."""
        path = self._path(module)
        code: Any = self._kept(module, source)
        if code is not None and self._loads(module, path, code)[0] == "module":
            return
        code = self._compile(path, source)
        loaded = self._loads(module, path, code)
        if loaded[0] != "module":
            raise Failure("internal_error", "The agent can't be loaded in this VM.", detail={"reason": show(loaded)})
        self._keep(module, source, code)

    def _path(self, module: str) -> str:
        return os.path.join(self._work, module + ".erl")

    def _kept(self, module: str, source: bytes) -> Optional[bytes]:
        return CODE.find(self._cache, self._key(module, source)) if self._cache else None

    def _keep(self, module: str, source: bytes, code: Any) -> None:
        if self._cache:
            CODE.keep(self._cache, self._key(module, source), code)

    def _key(self, module: str, source: bytes) -> bytes:
        return key(source, [module, *_OPTIONS, *self.owner.versions])

    def _loads(self, module: str, path: str, code: bytes) -> Any:
        return self._link.call("code", "load_binary", [Atom(module), path, code])

    def _compile(self, path: str, source: bytes) -> Any:
        write_whole(path, source)
        compiled = self._link.call("compile", "noenv_file", [path, [Atom(option) for option in _OPTIONS]], _COMPILING)
        if not isinstance(compiled, tuple) or compiled[0] != "ok":
            raise Failure("internal_error", "The agent does not compile in this VM.", detail={"errors": show(compiled)})
        return compiled[2]

    def unload(self) -> None:
        """Removes the modules, and the processes of a hop that has ended and been followed."""
        if self._owner is None:
            return
        try:
            if self._follows:
                self._call("release", [])
            self._owner.leave()
        except Failure:
            # The VM is gone or out of reach: the owner does it, or there is nothing left to do it to.
            pass

    def tables(self) -> List[Tuple[Any, Any, Any, Any]]:
        """The tables that the VM has a copy of, as ``tables/0`` of relup_agent_backup has them. Raises `Failure`."""
        found = self._link.call(self._need(_BACKUP), "tables", [])
        return list(found)

    def save(self, name: str, tables: Sequence[str], to: Any) -> None:
        """Has the VM begin to write `tables` from a checkpoint of that `name`; `to` is as in relup_agent_backup.

        The checkpoint is taken back when we are gone. Raises `Failure`.
        """
        module = self._need(_BACKUP)
        self.owner.own("backup", module, "leave", [])
        self.owner.outlast(module)
        self._link.call(module, "start", [name, [Atom(table) for table in tables], to])

    def saving(self) -> Tuple[str, Any, Optional[bool]]:
        """How far that is: ``activating``, ``writing``, ``releasing`` or ``done``; then also what it came to, and if
        the checkpoint is gone. ``gone`` where nothing is written any more."""
        found = self._link.call(self._need(_BACKUP), "step", [])
        if isinstance(found, tuple):
            return "done", found[1], found[2] == "true"
        return str(found), None, None

    def stop_saving(self) -> None:
        """Has the checkpoint taken back; `saving` tells of it."""
        self._link.call(self._need(_BACKUP), "stop", [])

    def leave_saving(self) -> None:
        """Has the VM end what is left of it, also later where that takes long."""
        self.owner.settle("backup")

    @property
    def core(self) -> Atom:
        """The name by which the VM sees this core come and go, or ``none`` where it can't."""
        return Atom(self._link.name if isinstance(self._link, DistributionLink) else "none")

    def evaluate(self, request: Dict[Atom, Any], timeout: float) -> Dict[str, Any]:
        """What the hop's file evaluates to, once and for all: {"sha256", "term"}, see `Context.hop_value`.

        A ``value`` in the request is taken for it, and not evaluated again. Raises the `Failure` that it comes to.
        """
        found = self._call("evaluate", [request], timeout)
        if Atom("problem") in found:
            raise _failure(found[Atom("problem")])
        return {"sha256": hashlib.sha256(found[Atom("told")]).hexdigest(), "term": found[Atom("value")]}

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
        self._need(_HOP)
        self.owner.outlast(COORDINATOR)
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
        return self._link.call(self._need(_HOP), bundle.exported("", function), args, timeout)

    def verify(self, beams: Optional[Sequence[Beam]], modules: List[str], timeout: float) -> Dict[str, Any]:
        """What the VM says of modules and processes; see ``run/1`` of relup_agent_verify.

        `beams` are the modules of the release that it should run, `modules` the names of those that the hop loaded.
        """
        path = os.path.join(self._work, "beams.term")
        listed = [
            (beam.name.encode("utf-8", "surrogateescape"), os.fsencode(beam.path), beam.is_listed)
            for beam in beams or ()
        ]
        if listed:
            # They are thousands: too many for the arguments of the wrapper.
            write_whole(path, encode(listed))
        names = [name.encode("utf-8") for name in modules]
        request = {Atom("beams"): os.fsencode(path) if listed else [], Atom("modules"): names}
        module = self._need(_HOP if _HOP in self._loaded else _LOOKS)
        found = plain(self._link.call(module, bundle.exported(*_VERIFY[:2]), [request], timeout))
        return dict(found)


def _source(ending: str, module: str) -> bytes:
    """The source of a module whose name ends like this."""
    if ending == _BACKUP:
        # Mnesia knows its functions by their names.
        original = bundle.resource(bundle.PREFIX + ending + ".erl")
        return original.replace(bundle.PREFIX + ending, module).encode("utf-8")
    if ending == _LOOKS:
        return bundle.source(_LOOKING, module, (_VERIFY,))
    return bundle.source(_ACTING, module, (_VERIFY, *_ENTRIES))


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
