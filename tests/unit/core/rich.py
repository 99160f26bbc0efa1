"""A richer version of the small application, for hops of any kind, one after the other in one VM.

Below its top supervisor are workers that list their module, one that lists another, one that lists a module of mere
functions as well, and a supervisor that does not say that it is one. It includes an application, and the target has a
new one. The second version's workers can't change a state that is new already.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from relup_remote.core.erlang.term import Atom

from .demo import TARGET, Demo, add_app, running_demo, sources
from .lent import Vms
from .vm import evaluate

TOP = """
-module(demo_sup).
-behaviour(supervisor).
-export([start_link/0, init/1, children/0, version/0]).
start_link() -> supervisor:start_link({local, ?MODULE}, ?MODULE, []).
init([]) ->
    Worker = fun(Id, Mods) -> #{id => Id, start => {demo_worker, start_link, [Id]}, modules => Mods} end,
    Plain = #{id => plain, start => {demo_plain, start_link, []}, type => supervisor, modules => [demo_plain]},
    {ok, {#{intensity => 0}, [Worker(Id, [demo_worker]) || Id <- [1, 2, 3]] ++
        [Worker(4, [demo_other]), Worker(5, [demo_worker, demo_lib]), Plain,
         #{id => same, start => {demo_same, start_link, []}, modules => [demo_same]}]}}.
children() -> [Pid || {_, Pid, worker, _} <- supervisor:which_children(?MODULE)].
version() -> VERSION.
"""

# No behaviour is told of.
PLAIN = """
-module(demo_plain).
-export([start_link/0, init/1, version/0]).
start_link() -> supervisor:start_link({local, ?MODULE}, ?MODULE, []).
init([]) ->
    Temporary = #{id => any, start => {demo_worker, start_link, []}, restart => temporary, modules => [demo_worker]},
    {ok, {#{strategy => simple_one_for_one}, [Temporary]}}.
version() -> VERSION.
"""

APP = """
-module(demo_app).
-behaviour(application).
-export([start/2, stop/1]).
start(_, _) ->
    {ok, Top} = demo_sup:start_link(),
    {ok, _} = supervisor:start_child(demo_plain, [6]),
    {ok, Top}.
stop(_) -> ok.
"""

NEW = """
-module(demo_new).
-behaviour(application).
-behaviour(supervisor).
-export([start/2, stop/1, init/1]).
start(_, _) -> supervisor:start_link({local, ?MODULE}, ?MODULE, []).
stop(_) -> ok.
init([]) -> {ok, {#{}, []}}.
"""

PLAIN_MODULE = "-module({name}).\n-export([value/0, version/0]).\nvalue() -> ok.\nversion() -> {version}.\n"

# How often its state has changed.
SAME = """
-module(demo_same).
-behaviour(gen_server).
-export([start_link/0, init/1, handle_call/3, handle_cast/2, code_change/3]).
start_link() -> gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).
init([]) -> {ok, 0}.
handle_call(_, _, N) -> {reply, N, N}.
handle_cast(_, N) -> {noreply, N}.
code_change(_, N, _) -> {ok, N + 1}.
"""

# Worker 5 is of two updates.
ONLY_OLD_STATES = "true = element(1, State) =:= 1 orelse Id =:= 5, {ok, {VERSION, Id}}"

HELPER = """
start() -> {ok, _} = supervisor:start_child(demo_plain, [7]), ok.
nothing(_) -> ok.
inner(Mod) -> ok = demo_inner:called(), ok = Mod:called().
"""

REL = '{{release, {{"emqx", "{version}"}}, {{erts, "1"}}, [{{demo, "2"}}, {{demo_new, "2"}}, {{emqx, "2", load}}]}}.'

RESET = """
[begin
     application:stop(App),
     application:unload(App)
 end || App <- [demo, demo_new, demo_inc]],
[begin
     code:purge(Mod),
     code:delete(Mod),
     code:purge(Mod)
 end || Mod <- [demo_new]],
[begin
     Old = Root ++ "/lib/" ++ App ++ "-1/ebin",
     {error, bad_name} =:= code:lib_dir(list_to_atom(App)) orelse code:replace_path(list_to_atom(App), Old)
 end || App <- ["demo", "demo_inc", "emqx"]],
code:del_path(demo_new),
[begin
     Name = list_to_atom(filename:basename(File, ".beam")),
     {ok, {Name, Md5}} = beam_lib:md5(File),
     Loaded = try erlang:get_module_info(Name, md5) catch error:badarg -> none end,
     Md5 =:= Loaded orelse begin
         code:purge(Name),
         {module, Name} = code:load_abs(filename:rootname(File)),
         code:purge(Name)
     end
 end || File <- filelib:wildcard(Root ++ "/lib/*/ebin/*.beam")],
ok = application:start(demo).
"""


def modules(version: int) -> dict[str, str]:
    """The application's modules; demo_same is the same in both versions, demo_gone is only in the first."""
    of_version = {"demo_sup": TOP, "demo_plain": PLAIN, "demo_app": APP}
    names = ["demo_calls", "demo_lib", *(["demo_gone"] if version == 1 else [])]
    return {
        **{name: text.replace("VERSION", str(version)) for name, text in of_version.items()},
        "demo_worker": sources(version, ONLY_OLD_STATES if version == 2 else "{ok, State}")["demo_worker"],
        **{name: PLAIN_MODULE.format(name=name, version=version) for name in names},
        "demo_same": SAME,
    }


def _release(root: Path, version: int) -> None:
    needs = "{applications, []}"
    add_app(
        root,
        "demo",
        version,
        modules(version),
        f"{needs}, {{included_applications, [demo_inc]}}, {{mod, {{demo_app, []}}}}",
    )
    included = PLAIN_MODULE.format(name="demo_inc", version=version)
    add_app(root, "demo_inc", version, {"demo_inc": included}, f"{needs}, {{env, [{{made_for, {version}}}]}}")
    if version == 2:
        add_app(root, "demo_new", 2, {"demo_new": NEW}, f"{needs}, {{mod, {{demo_new, []}}}}")
        place = root / "releases" / TARGET
        place.mkdir(parents=True)
        (place / "emqx.rel").write_text(REL.format(version=TARGET))


class Rich(Demo):
    """The demo with the richer application; ``reset`` puts it back to the first version."""

    def reset(self) -> None:
        with self.vm.connected() as connection:
            source = RESET.replace("Root", f'"{self.folder / "old"}"')
            assert evaluate(connection, source) == "ok"
        self.marker.unlink(missing_ok=True)
        self.outcome.unlink(missing_ok=True)

    def helpers(self) -> list[str]:
        """The catalogue's helpers."""
        called = "called() -> ok."
        inner = [self.helper(name, called)[0] for name in ("demo_inner", "demo_named")]
        return [*self.helper("demo_helper", HELPER), *inner]

    def planned(self, changes: str, **fields: Any) -> dict[str, Any]:
        """What the preflight says of a hop whose tree is deployed."""
        return self.agent.preflight(self.request(changes, helpers=self.helpers(), **fields), 30.0)

    def did(self, changes: str, **fields: Any) -> dict[str, Any]:
        """The outcome of a hop."""
        self.outcome.unlink(missing_ok=True)
        return self.run(changes, helpers=self.helpers(), **fields)

    def version(self, module: str) -> Any:
        return self.call(module, "version")


@contextlib.contextmanager
def running_rich(vms: Vms, folder: Path) -> Iterator[Rich]:
    """A VM with the first version running, and the second deployed."""
    with running_demo(vms, folder, base=lambda tree: _release(tree, 1), prepare=lambda tree: _release(tree, 2)) as demo:
        made = Rich(demo.vm, demo.agent, demo.link, demo.folder, demo.target)
        for module in modules(1):
            made.call("code", "ensure_loaded", Atom(module))
        made.call("code", "ensure_loaded", Atom("demo_inc"))
        yield made
