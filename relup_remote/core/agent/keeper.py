"""Payload, shipped to hosts (Python 3.6 and up, standard library only): the process in a VM that keeps a checkpoint.

Whatever is begun in a VM has an owner there, who takes it back when we are gone. The owner of a checkpoint is a process
of `erl_eval`, which is none of our code: so it outlives the agent's modules, which are purged when our connection ends.

=================================  =====================================================================================
what happens                       what the keeper does
=================================  =====================================================================================
it is started                      it has a worker make the checkpoint and write the backup
the worker ends                    it takes the checkpoint back, and says how it went
we ask it to stop                  it ends the worker, takes the checkpoint back, and says so
our connection ends                the same at once, and it ends
nothing of us for `SILENCE`        the same: a core that talks by the wrapper has no connection of its own
=================================  =====================================================================================

It takes back what was begun, also where Mnesia has not come to it yet: first the worker is ended, then Mnesia's
transaction manager is asked something, so that all that the worker asked of it is done, then the checkpoint is taken
away, again and again until it is gone.
"""

from typing import Any, List, Optional, Tuple

from ..erlang.link import Link
from ..erlang.term import Atom, Opaque

SILENCE = 40
"""Seconds after which a keeper that has heard nothing of us takes everything back."""

KEY = "relup_remote_backup"
"""Under which the keeper says in its dictionary how far it is."""

_SOURCE = """
case Node of none -> ok; _ -> erlang:monitor_node(Node, true) end,
put(Key, activating),
Keeper = self(),
{Worker, Ref} = erlang:spawn_monitor(fun() ->
    exit(case mnesia:activate_checkpoint([{name, Name}, {min, Tables}]) of
        {ok, _, _} ->
            Keeper ! {writing, self()},
            {written, mnesia:backup_checkpoint(Name, Opaque, Module)};
        Other ->
            {not_activated, Other}
    end)
end),
Gone = fun() -> try not lists:member(Name, mnesia:system_info(checkpoints)) catch _:_ -> true end end,
Away = fun Again(0) -> false;
           Again(Left) ->
               {Pid, Mark} = erlang:spawn_monitor(fun() ->
                   mnesia_tm:get_info(5000), mnesia:deactivate_checkpoint(Name)
               end),
               receive {'DOWN', Mark, _, _, _} -> ok after 10000 -> exit(Pid, kill) end,
               case Gone() of
                   true -> true;
                   false -> receive after 500 -> ok end, Again(Left - 1)
               end
       end,
TakeBack = fun() ->
    Writing = case erlang:process_info(Worker, links) of {links, Links} -> Links; undefined -> [] end,
    [exit(Each, kill) || Each <- [Worker | Writing], is_pid(Each)],
    receive {'DOWN', Ref, _, _, _} -> ok after 5000 -> ok end,
    Away(600)
end,
(fun Loop() ->
    receive
        {writing, Worker} ->
            put(Key, writing), Loop();
        {'DOWN', Ref, _, _, Result} ->
            put(Key, releasing),
            put(Key, {done, Result, Away(600)}), Loop();
        stop ->
            case get(Key) of {done, _, _} -> ok; _ -> put(Key, {done, stopped, TakeBack()}) end,
            Loop();
        here -> Loop();
        leave -> case get(Key) of {done, _, _} -> ok; _ -> TakeBack() end;
        {nodedown, Node} -> case get(Key) of {done, _, _} -> ok; _ -> TakeBack() end
    after Silence ->
        case get(Key) of {done, _, _} -> ok; _ -> TakeBack() end
    end
end)().
"""


class Keeper:
    """A keeper in the VM of `link` that has its worker save tables."""

    def __init__(self, link: Link, core: Atom, name: str, tables: List[Any], opaque: Any, module: Atom) -> None:
        """Begins it: a checkpoint of that `name` of the `tables`, written by `module` to what `opaque` says.

        `core` is the name by which the VM sees us come and go, or ``none``.
        """
        self._link = link
        bound = {
            "Node": core,
            "Key": Atom(KEY),
            "Name": name,
            "Tables": tables,
            "Opaque": opaque,
            "Module": module,
            "Silence": SILENCE * 1000,
        }
        parsed = link.call("erl_parse", "parse_exprs", [link.call("erl_scan", "string", [_SOURCE])[1]])
        bindings = [(Atom(key), value) for key, value in sorted(bound.items())]
        self._process: Opaque = link.call("erlang", "spawn", [Atom("erl_eval"), Atom("exprs"), [parsed[1], bindings]])

    def ask(self) -> Tuple[str, Any, Optional[bool]]:
        """How far it is, and that we are here: ``activating``, ``writing``, ``releasing`` or ``done``; then also what
        the worker came to, and whether the checkpoint is gone. ``gone`` where there is no keeper any more."""
        self._link.call("erlang", "send", [self._process, Atom("here")])
        found = self._link.call("erlang", "process_info", [self._process, Atom("dictionary")])
        if found == "undefined":
            return "gone", None, None
        said = dict(item for item in found[1] if isinstance(item, tuple) and len(item) == 2).get(
            Atom(KEY), "activating"
        )
        if isinstance(said, tuple):
            return "done", said[1], said[2] == "true"
        return str(said), None, None

    def stop(self) -> None:
        """Has it take everything back."""
        self._link.call("erlang", "send", [self._process, Atom("stop")])

    def leave(self) -> None:
        """Has it end."""
        self._link.call("erlang", "send", [self._process, Atom("leave")])
