%% Payload, shipped to hosts: the agent, compiled and loaded in the VM for one hop, and gone after it.
%%
%%     relup_agent              what the core calls, and the coordinator of a hop
%%     relup_agent_preflight    all that stands in the way of a hop; changes nothing
%%     relup_agent_hop          the hop itself
%%     relup_agent_undo         taking back a hop that failed
%%     relup_agent_replace      ending the processes of one whose state is no good
%%     relup_agent_verify       what the VM is after a hop; changes nothing
%%     relup_agent_value        the value of the hop's file
%%     relup_agent_helper       compiling a helper of the catalogue
%%     relup_agent_target       the hop, and the code that it would load
%%     relup_agent_processes    who the processes of a module are, and how they stand
%%     relup_agent_crowd        changing the state of very many processes at once
%%     relup_agent_text         words
%%
%% All of them are loaded under names that nothing in the VM has. `start/1` runs the hop in processes of its own, which
%% outlive the core and its connection; `await/3` tells how it goes, to whoever asks, since the coordinator is found by its
%% registered name and not by the module, whose name differs from load to load.
%%
%%     coordinator  registered; keeps the events and what would have to be taken back, answers await/3, writes the outcome
%%      ├ worker    runs the hop: code changes, code path, callbacks, marker
%%      └ undoer    takes it back when the worker has failed, or was killed
%%
%% What a failure leaves, by the point at which the hop failed: an exception, an answer that did not come, or the death
%% of the hop's own process. Nothing is left suspended, whatever the point. `restart` is the option --on-failure.
%%
%%     failed in                              | undone | modules | marker | VM on stop | VM on restart | next upgrade
%%     ---------------------------------------+--------+---------+--------+------------+---------------+------------------
%%     preflight                              | -      | old     | no     | as before  | as before     | whole hop
%%     load_module                            | yes    | old     | no     | as before  | as before     | whole hop
%%     update, until a state has changed      | yes    | old     | no     | as before  | as before     | whole hop
%%     update, once a state has changed       | no     | mixed   | no     | goes on    | boots base    | whole hop
%%     restart_application, until its stop    | yes    | old     | no     | as before  | as before     | whole hop
%%     restart_application, once it stops     | no     | mixed   | no     | goes on    | boots base    | whole hop
%%     apply, until it is called              | yes    | old     | no     | as before  | as before     | whole hop
%%     apply, once it is called               | no     | mixed   | no     | goes on    | boots base    | whole hop
%%     a code change after one of the latter  | no     | mixed   | no     | goes on    | boots base    | whole hop
%%     callback                               | no     | new     | no     | goes on    | goes on       | callbacks, marker
%%     marker                                 | no     | new     | no     | goes on    | goes on       | callbacks, marker
%%     nothing: it takes longer than allowed  | -      | as far  | as far | goes on    | goes on       | waits for the hop
%%     nothing: the marker is written         | -      | new     | yes    | goes on    | goes on       | nothing left
%%
%% as before: same modules, same processes, no connection lost. goes on: the VM stays up with its connections, but for
%% processes whose state could not be changed once another's had: those are ended, and started afresh by their
%% supervisors; see relup_agent_replace. boots base: the VM restarts and boots what the marker says, which is the release that it booted before.
%%
%% Where a process still runs what a piece of the hop has replaced, or that is on no disk, that piece and those before it
%% can't be undone: they stay, whole, and the outcome says so.
%%
%% A VM that is to restart is restarted by the core, which watches it. Where the core is gone, the coordinator does it.
%%
%% A request is a map: run (binary), hop (path of the hop file), calls (what it may call while it is evaluated, [{Mod, Fun,
%% Arity}], names as binaries), value (what it evaluates to, see relup_agent_value:evaluate/1, which alone needs none), from, target (strings), facts (path of the target's facts,
%% see relup_agent_target), tree (path of the deployed tree, or undefined while there is none), helpers (paths of their
%% sources), marker, outcome (paths), resume (true: the code changes are done, go on from the callbacks), kill_lingering
%% (true: processes in old code are killed, not refused for), restart (true: where the hop can't be taken back, the VM
%% restarts), timeout (milliseconds for one answer, or one application to stop or start), core (the core's node, or none),
%% updated ([{Module, [Pid]}]: the modules whose processes an earlier attempt at this hop has brought to the target's state,
%% but for those listed, in words).
-module(relup_agent).

-export([evaluate/1, preflight/1, start/1, await/3, release/0, write_whole/3]).

-import(relup_agent_text, [text/2, short/1]).

-define(NAME, relup_remote_agent).
%% How long an outcome that could not be written down, or that nobody has asked for, is kept in memory (milliseconds).
-define(LINGER, 30000).
%% How long the application controller may take to answer (milliseconds).
-define(ASK, 5000).

evaluate(Req) -> relup_agent_value:evaluate(Req).

preflight(Req) -> relup_agent_preflight:run(Req).

%% Starts the hop. Returns started, or busy while another one runs.
start(Req) ->
    Caller = self(),
    {Pid, Ref} = spawn_monitor(fun() -> coordinator(Caller, Req) end),
    receive
        {Pid, Answer} -> demonitor(Ref, [flush]), Answer;
        {'DOWN', Ref, process, Pid, Reason} -> {failed, short(Reason)}
    end.

%% {Events, Next, running | Outcome}: the events from number Since on, waiting up to Ms for one; `gone` without a hop. Core
%% is the node of who asks, or none: from now on it is that core which restarts the VM if need be.
await(Since, Ms, Core) ->
    case whereis(?NAME) of
        undefined -> gone;
        Pid ->
            Ref = monitor(process, Pid),
            Pid ! {await, {self(), Ref}, Since, Core},
            receive
                {Ref, Answer} -> demonitor(Ref, [flush]), Answer;
                {'DOWN', Ref, process, Pid, _} -> gone
            after Ms -> demonitor(Ref, [flush]), {[], Since, running}
            end
    end.

%% Ends a coordinator whose outcome has been fetched, and returns ok when it is gone; busy while its hop runs.
release() ->
    case whereis(?NAME) of
        undefined -> ok;
        Pid ->
            Ref = monitor(process, Pid),
            Pid ! {release, {self(), Ref}},
            receive
                {'DOWN', Ref, process, Pid, _} -> ok;
                {Ref, busy} -> demonitor(Ref, [flush]), busy
            end
    end.

%% ------------------------------------------------------------------------------------------------- the coordinator

coordinator(Caller, Req) ->
    try register(?NAME, self()) of
        true ->
            group_leader(whereis(user), self()),
            Caller ! {self(), started},
            audit("hop ~ts -> ~ts begins", [maps:get(from, Req), maps:get(target, Req)], Req),
            Self = self(),
            Note = fun(What) -> Self ! {note, What} end,
            {_, Worker} = spawn_monitor(fun() -> relup_agent_hop:run(Req, Note) end),
            Started = now_us(),
            State = #{req => Req, core => maps:get(core, Req), ledger => relup_agent_undo:ledger(maps:get(updated, Req)), waiting => [],
                      started => Started, apps => running_apps()},
            {Result, Next} = until_down(Worker, State),
            ended(Result, Next)
    catch
        error:badarg -> Caller ! {self(), busy}
    end.

%% What a process of the hop came to; notes and questions are taken meanwhile.
until_down(Ref, State) ->
    receive
        {note, Note} -> until_down(Ref, answer_all(running, noted(Note, State)));
        {await, From, Since, Core} -> until_down(Ref, answer(running, From, Since, State#{core := Core}));
        {release, {Pid, Tag}} -> Pid ! {Tag, busy}, until_down(Ref, State);
        {'DOWN', Ref, process, _, Reason} -> {Reason, State}
    end.

noted(Note, #{ledger := Ledger} = State) -> State#{ledger := relup_agent_undo:noted(Note, Ledger)}.

%% A hop that has succeeded ends like this, so that what it has started goes on though it may be linked to it.
ended(normal, #{ledger := #{stage := marker}} = State) -> succeeded(State);
ended(Reason, State) ->
    %% The file server renames for a caller that has died as well.
    case is_marked(State) of
        true -> succeeded(State);
        false -> failed(Reason, State)
    end.

is_marked(#{ledger := #{stage := marker}, req := #{marker := Path, target := Version}}) ->
    file:read_file(Path) =:= {ok, unicode:characters_to_binary(Version)};
is_marked(_) -> false.

succeeded(#{ledger := Ledger} = State) ->
    _ = relup_agent_undo:finish(Ledger),
    settle((summary(State))#{result => success, undone => false, restart => false}, State).

failed(Reason, #{ledger := Ledger, req := #{timeout := Ms} = Req} = State) ->
    #{stage := Stage, piece := Piece, since := Since} = Ledger,
    {Type, Message} = failure(Reason, Stage, Piece),
    Entries = relup_agent_hop:entries(Piece, failed, Message, (now_us() - Since) / 1.0e6),
    #{ledger := Whole} = Done = until_hands_are_done(State),
    Failed = answer_all(running, noted({done, Entries}, Done)),
    {#{undone := Undone} = Left, Next} = taken_back(Whole, Failed, Ms),
    InChanges = lists:member(Stage, [preparing, code_changes]),
    Restart = InChanges andalso not Undone andalso maps:get(restart, Req),
    settle(maps:merge(summary(Next), Left#{result => Type, message => Message, stage => Stage, n => first_of(Piece),
                                           restart => Restart}), Next).

%% States that began to change are changed to the end, also where the hop's own process has died: hands end by themselves,
%% and before that they note whose state could not be changed.
until_hands_are_done(#{ledger := #{changing := {all, Hands}}} = State) ->
    lists:foldl(fun(Hand, Before) -> element(2, until_down(monitor(process, Hand), Before)) end, State, Hands);
until_hands_are_done(State) -> State.

%% What became of what the hop had done, by the Ledger of the moment when it failed. Should the process die that takes it
%% back, another one sees to it that nothing is left suspended; should that die as well, all are told to go on.
taken_back(Ledger, State, Ms) ->
    case aside(fun() -> relup_agent_undo:take_back(Ledger, Ms) end, State) of
        {{ended, Left}, Next} -> {Left, Next};
        {Why, Next} ->
            case aside(fun() -> relup_agent_undo:release(Ledger, Ms) end, Next) of
                {{ended, #{left := Silent} = Left}, Last} -> {Left#{left := [short(Why) | Silent]}, Last};
                {_, Last} -> {(relup_agent_undo:go_on(Ledger))#{left => [short(Why)]}, Last}
            end
    end.

%% {{ended, what it returns} | why it died, State}: it runs in a process of its own, and questions are taken meanwhile.
aside(Does, State) ->
    {_, Ref} = spawn_monitor(fun() -> exit({ended, Does()}) end),
    until_down(Ref, State).

failure({failed, Type, Message}, _, _) -> {Type, Message};
failure(Reason, Stage, Piece) ->
    {relup_agent_hop:failure_of(Stage, Piece), text("The hop's own process died: ~0tP", [Reason, 12])}.

first_of({loads, [{N, _} | _]}) -> N;
first_of({N, _}) when is_integer(N) -> N;
first_of(_) -> 0.

summary(#{ledger := #{report := Report, swap := Swap, suspending := Suspended}, started := Started, apps := Apps}) ->
    Now = running_apps(),
    Known = is_list(Apps) andalso is_list(Now),
    #{instructions => lists:reverse(Report), suspended_ms => Suspended / 1000, swap_ms => Swap / 1000,
      stopped => [atom_to_binary(App, utf8) || Known, App <- Apps -- Now], stopped_known => Known,
      seconds => (now_us() - Started) / 1.0e6}.

%% Or unknown: an application that hangs while it stops keeps that from everybody.
running_apps() ->
    try [App || {App, _, _} <- application:which_applications(?ASK)] catch exit:_ -> unknown end.

%% Writes the outcome down before it tells it. Who comes later reads the file; the coordinator stays only for what is not
%% done yet.
settle(#{result := Result, restart := Restart} = Outcome, #{req := Req} = State) ->
    audit("hop ended: ~p", [Result], Req),
    Written = (catch write_outcome(Outcome, Req)),
    Next = answer_all(Outcome, State),
    case Restart of
        true -> watch(Next), linger(Outcome, Next, fun() -> restart(Req) end);
        false when Written =:= ok -> ok;
        false -> linger(Outcome, Next, fun() -> ok end)
    end.

%% Until whoever asked for the hop has let go of it; Then when nobody is there to.
linger(Outcome, State, Then) ->
    receive
        {await, From, Since, Core} ->
            Next = answer(Outcome, From, Since, State#{core := Core}),
            watch(Next),
            linger(Outcome, Next, Then);
        {release, _} -> ok;
        {nodedown, Core} when Core =:= map_get(core, State) -> Then();
        {nodedown, _} -> linger(Outcome, State, Then)
    after ?LINGER -> Then()
    end.

%% A core that is gone already is told of as well.
watch(#{core := none}) -> ok;
watch(#{core := Core}) -> erlang:monitor_node(Core, true).

restart(Req) ->
    audit("the core is gone; the VM restarts", [], Req),
    init:restart().

answer(Outcome, {Pid, Ref} = From, Since, #{ledger := #{report := Report}, waiting := Waiting} = State) ->
    Count = length(Report),
    case Outcome =/= running orelse Count > Since of
        true ->
            Pid ! {Ref, {lists:nthtail(min(Since, Count), lists:reverse(Report)), Count, Outcome}},
            State;
        false -> State#{waiting := [{From, Since} | Waiting]}
    end.

answer_all(Outcome, #{waiting := Waiting} = State) ->
    lists:foldl(fun({From, Since}, S) -> answer(Outcome, From, Since, S) end, State#{waiting := []}, Waiting).

%% A line in the node's own log for each thing done to it.
audit(Format, Args, #{run := Run}) ->
    logger:notice("relup_remote, run ~ts: " ++ Format, [Run | Args]).

write_outcome(Outcome, #{outcome := Path, run := Run}) -> write_whole(Path, term_to_binary(Outcome#{run => Run}), 8#600).

%% A file that appears whole, with its mode, whatever the VM's umask: temporary, sync, rename. A temporary file that is
%% there already is written over, and cut off only then: on a full disk the room that it has could not be had again.
write_whole(Path, Content, Mode) ->
    Temporary = Path ++ ".tmp",
    {ok, File} = file:open(Temporary, [read, write, raw, binary]),
    try
        ok = file:write(File, Content),
        ok = file:truncate(File),
        ok = file:sync(File)
    after
        file:close(File)
    end,
    ok = file:change_mode(Temporary, Mode),
    ok = file:rename(Temporary, Path).

now_us() -> erlang:monotonic_time(microsecond).
