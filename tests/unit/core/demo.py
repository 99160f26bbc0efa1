"""A small application in two versions, running in a real VM, for hops from the one to the other."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from relup_remote.core.agent import Agent, bundle, outcome_of
from relup_remote.core.archive import FILE, Member
from relup_remote.core.erlang import term
from relup_remote.core.erlang.link import DistributionLink
from relup_remote.core.erlang.term import Atom, text
from relup_remote.core.harmless import allowed, as_term
from relup_remote.core.kept import cache_folder
from relup_remote.hops.code import Boot, Code
from tests.unit.core.lent import Vms
from tests.unit.core.vm import Vm, eventually
from tests.unit.erlc import compile_all

FROM, TARGET = "1.0", "1.1"

RELEASE = '-module(emqx_release).\n-export([version/0]).\nversion() -> "{version}".\n'

SUPERVISOR = """
-module(demo_sup).
-behaviour(supervisor).
-export([start/1, init/1, children/0]).
start(N) ->
    {ok, Sup} = supervisor:start_link({local, ?MODULE}, ?MODULE, []),
    unlink(Sup),
    [{ok, _} = supervisor:start_child(Sup, [Id]) || Id <- lists:seq(1, N)],
    ok.
init([]) ->
    Worker = #{id => worker, start => {demo_worker, start_link, []}, modules => [demo_worker]},
    {ok, {#{strategy => simple_one_for_one, intensity => 100000}, [Worker]}}.
children() -> lists:sort([Pid || {_, Pid, _, _} <- supervisor:which_children(?MODULE)]).
"""

APP = """
-module(demo_app).
-behaviour(application).
-export([start/2, stop/1]).
start(_, _) -> demo_sup:start(20), {ok, whereis(demo_sup)}.
stop(_) -> ok.
"""

WORKER = """
-module(demo_worker).
-behaviour(gen_server).
-export([start_link/1, init/1, handle_call/3, handle_cast/2, code_change/3, state/1, hop/0]).
start_link(Id) -> gen_server:start_link(?MODULE, Id, []).
init(Id) -> {ok, {VERSION, Id}}.
handle_call(state, _, State) -> {reply, State, State}.
handle_cast({sleep, Ms}, State) -> timer:sleep(Ms), {noreply, State};
handle_cast(wait, State) -> receive go_on -> {noreply, State} end;
handle_cast(sibling, State) -> sibling(process_info(whereis(demo_sup), current_function)), {noreply, State}.
%% Asks its own supervisor for something as soon as that is suspended.
sibling({current_function, {sys, suspend_loop, _}}) -> {ok, _} = supervisor:start_child(demo_sup, [21]);
sibling(_) -> timer:sleep(1), sibling(process_info(whereis(demo_sup), current_function)).
state(Pid) -> gen_server:call(Pid, state).
code_change(From, {_, Id} = State, Extra) -> CHANGE.
%% The process that runs the hop.
hop() ->
    {monitors, [{process, Pid}]} = process_info(whereis(relup_remote_agent), monitors),
    Pid.
"""

CALLS = "-module(demo_calls).\n-export([value/0]).\nvalue() -> {version}.\n"

KEYS = """
{application, demo,
 [{vsn, "%s"}, {modules, [demo_app, demo_sup, demo_worker, demo_calls]}, {applications, [kernel, stdlib]},
  {registered, []}, {mod, {demo_app, []}}]}.
"""


def sources(version: int, change: str = "{ok, {VERSION, Id}}") -> dict[str, str]:
    """The application's modules; ``change`` is what the worker's code_change does."""
    release = FROM if version == 1 else TARGET
    return {
        "emqx_release": RELEASE.format(version=release),
        "demo_sup": SUPERVISOR,
        "demo_app": APP,
        "demo_worker": WORKER.replace("CHANGE", change).replace("VERSION", str(version)),
        "demo_calls": CALLS.format(version=version),
    }


def build(root: Path, version: int, modules: Mapping[str, str]) -> Path:
    """A release tree with the application ``demo``, and ``emqx`` with the release's version."""
    for app in ("demo", "emqx"):
        (root / "lib" / f"{app}-{version}" / "ebin").mkdir(parents=True)
    for name, beam in compiled(modules).items():
        app = "emqx" if name == "emqx_release" else "demo"
        (root / "lib" / f"{app}-{version}" / "ebin" / f"{name}.beam").write_bytes(beam)
    (root / "lib" / f"demo-{version}" / "ebin" / "demo.app").write_text(KEYS % version)
    return root


def recompile(root: Path, name: str, source: str) -> None:
    """Puts another version of a module in the place of the tree's."""
    (beam,) = root.glob(f"lib/*/ebin/{name}.beam")
    beam.write_bytes(compiled({name: source})[name])


_compiled: dict[tuple[str, str], bytes] = {}


def compiled(modules: Mapping[str, str]) -> dict[str, bytes]:
    """The beams of modules, each compiled only once for all tests of a process."""
    missing = {name: source for name, source in modules.items() if (name, source) not in _compiled}
    if missing:
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder, f"{name}.erl") for name in missing]
            for path, source in zip(paths, missing.values(), strict=True):
                path.write_text(source)
            compile_all(paths)
            _compiled.update(
                {(path.stem, missing[path.stem]): path.with_suffix(".beam").read_bytes() for path in paths}
            )
    return {name: _compiled[name, source] for name, source in modules.items()}


def add_app(root: Path, name: str, version: int, modules: Mapping[str, str], keys: str) -> None:
    """Puts an application into a tree, with further ``keys`` in its .app file; in the place of one of that name."""
    ebin = root / "lib" / f"{name}-{version}" / "ebin"
    ebin.mkdir(parents=True, exist_ok=True)
    for module, beam in compiled(modules).items():
        (ebin / f"{module}.beam").write_bytes(beam)
    known = f'{{vsn, "{version}"}}, {{modules, [{", ".join(modules)}]}}, {{registered, []}}'
    (ebin / f"{name}.app").write_text(f"{{application, {name}, [{known}, {keys}]}}.")


def facts(root: Path) -> bytes:
    """The facts of a tree, as they are read from a tarball."""
    code = Code()
    for path in sorted(root.glob("lib/*/ebin/*")):
        code.visit(Member(str(path.relative_to(root)), FILE, 0o644, path.stat().st_size, ""), path.read_bytes)
    return code.term(Boot("", frozenset()))


class Demo:
    """The VM in which the application runs, the agent in it, and the target's tree."""

    def __init__(self, vm: Vm, agent: Agent, link: DistributionLink, folder: Path, target: Path) -> None:
        self.vm = vm
        self.agent = agent
        self.link = link
        self.folder = folder
        self.target = target

    @property
    def marker(self) -> Path:
        return self.folder / "marker"

    @property
    def outcome(self) -> Path:
        return self.folder / "outcome"

    def request(self, changes: str, callbacks: str = "", calls: str = "", **fields: Any) -> dict[Atom, Any]:
        """The agent's request for a hop; ``changes`` and ``callbacks`` as the hop's file has them."""
        hop = self.folder / "hop.relup"
        versions = f'from_version => "{FROM}", target_version => "{TARGET}"'
        hop.write_text(
            f"#{{{versions}, code_changes => [{changes}], post_upgrade_callbacks => [{callbacks}]}}.", "utf-8"
        )
        target_facts = self.folder / "facts"
        target_facts.write_bytes(facts(self.target))
        known = {
            "run": b"run", "value": self.value(hop, calls), "from": FROM, "target": TARGET, "facts": str(target_facts),
            "tree": str(self.target), "helpers": [], "marker": str(self.marker), "outcome": str(self.outcome),
            "resume": False, "kill_lingering": False, "restart": False, "timeout": 10_000, "core": self.agent.core,
            "updated": [],
        }  # fmt: skip
        return {Atom(name): value for name, value in {**known, **fields}.items()}

    def value(self, hop: Path, calls: str = "") -> bytes:
        """What the file of a hop evaluates to."""
        request = {"hop": str(hop), "calls": as_term(allowed(calls)), "value": None}
        return bytes(self.agent.evaluate({Atom(name): value for name, value in request.items()}, 30.0)["term"])

    def helper(self, name: str, body: str) -> list[str]:
        """A helper module of the catalogue, as the request's ``helpers``."""
        path = self.folder / f"{name}.erl"
        path.write_text(f"-module({name}).\n-compile([export_all, nowarn_export_all]).\n{body}\n")
        return [str(path)]

    def load(self, name: str, body: str) -> None:
        """A module that the VM runs, and that is in no release."""
        (path,) = self.helper(name, body)
        code = self.call("compile", "file", path, [Atom("binary")])[2]
        assert self.call("code", "load_binary", Atom(name), path, code)[0] == "module"

    def load_helper(self, path: str) -> None:
        """A helper that the VM has from an earlier hop, compiled as the agent does it."""
        name = "demo_compiling"
        source = self.folder / f"{name}.erl"
        source.write_bytes(bundle.source(("text", "value", "helper"), name, [("helper", "compile", 1)]))
        code = self.call("compile", "file", str(source), [Atom("binary")])[2]
        assert self.call("code", "load_binary", Atom(name), str(source), code)[0] == "module"
        _, module, compiled = self.call(name, bundle.exported("helper", "compile"), path)
        assert self.call("code", "load_binary", module, path, compiled)[0] == "module"

    def run(self, changes: str, callbacks: str = "", **fields: Any) -> dict[str, Any]:
        """The outcome of a hop."""
        return self.ran(self.request(changes, callbacks, **fields))

    def ran(self, request: dict[Atom, Any]) -> dict[str, Any]:
        """The outcome of a request."""
        self.agent.start(request)
        assert eventually(self.outcome.exists)
        return outcome_of(term.decode(self.outcome.read_bytes()))

    def call(self, module: str, function: str, *args: Any) -> Any:
        return self.link.call(module, function, list(args))

    def code(self) -> dict[str, bytes]:
        """The MD5 of the application's modules as they are loaded."""
        names = ["emqx_release", "demo_sup", "demo_worker", "demo_calls"]
        return {name: self.call("erlang", "get_module_info", Atom(name), Atom("md5")) for name in names}

    def children(self) -> list[Any]:
        return list(self.call("demo_sup", "children"))

    def states(self) -> list[Any]:
        """What each worker's state is; a suspended one does not answer."""
        return [self.call("demo_worker", "state", pid) for pid in self.children()]

    def suspended(self) -> int:
        return int(self.agent.verify(None, [], 30.0)["suspended_count"])


@contextlib.contextmanager
def running_demo(
    vms: Vms,
    folder: Path,
    change: str = "{ok, {VERSION, Id}}",
    prepare: Callable[[Path], None] = lambda tree: None,
    base: Callable[[Path], None] = lambda tree: None,
) -> Iterator[Demo]:
    """A VM with the first version running and the second deployed; ``base`` and ``prepare`` may change them.

    It is lent by ``vms``.
    """
    old = build(folder / "old", 1, sources(1))
    base(old)
    target = build(folder / "target", 2, sources(2, change))
    prepare(target)
    work = folder / "work"
    work.mkdir()
    with vms.lent() as vm:
        link = DistributionLink(vm.connect())
        try:
            assert link.call("code", "add_pathsa", [[str(ebin) for ebin in old.glob("lib/*/ebin")]]) == "ok"
            assert link.call("application", "start", [Atom("demo")]) == "ok"
            assert text(link.call("emqx_release", "version", [])) == FROM
            link.call("demo_calls", "value", [])
            agent = Agent(link, str(work), cache_folder())
            yield Demo(vm, agent, link, folder, target)
            agent.unload()
        finally:
            link.close()
