%% Payload, shipped to hosts: takes back what a hop that failed has done, from what it had noted.
-module(relup_agent_undo).

-export([ledger/1, noted/2, take_back/2, release/2, go_on/1, unload/1, finish/1]).

-import(relup_agent_text, [short/1]).

%% How many of a kind are named.
-define(NAMED, 20).

%% What the coordinator knows of a hop under way (see relup_agent_hop):
%% stage, piece; current, undo (how the modules of this piece, and of each before it, are brought back, the newest first);
%% suspended (processes that may be, but for failed), above (supervisors that may be because of them), changing, failed
%% (processes whose state could not be changed once others' had); updated (as in the request); firm; helpers; swap, suspending
%% (microseconds); report (newest first); since (when the piece began).
ledger(Updated) ->
    #{stage => preparing, piece => none, current => [], undo => [], suspended => [], above => [], changing => none, failed => [],
      updated => maps:from_list(Updated), firm => false, helpers => [], swap => 0, suspending => 0, report => [],
      since => now_us()}.

noted({at, Stage, Piece}, #{current := Current, undo := Undo} = Ledger) ->
    Ledger#{stage := Stage, piece := Piece, current := [], undo := [Current | Undo], since := now_us()};
noted({current, Hows}, #{current := Current} = Ledger) -> Ledger#{current := Hows ++ Current};
noted({suspending, Sups, Pids}, #{suspended := Before, above := Above} = Ledger) ->
    Ledger#{suspended := Pids ++ Before, above := Sups ++ Above};
noted({changing, {all, _} = Whose}, Ledger) -> Ledger#{changing := Whose, firm := true};
noted({changing, Whose}, Ledger) -> Ledger#{changing := Whose};
noted({failed, Pids}, #{failed := Before} = Ledger) -> Ledger#{failed := Pids ++ Before};
noted(gone_on, Ledger) -> Ledger#{suspended := []};
noted({updated, Mod}, #{updated := Updated} = Ledger) -> Ledger#{updated := Updated#{Mod => []}};
noted(resumed, Ledger) -> Ledger#{suspended := [], above := []};
noted(firm, Ledger) -> Ledger#{firm := true};
noted({helper, Mod}, #{helpers := Mods} = Ledger) -> Ledger#{helpers := lists:usort([Mod | Mods])};
noted({spent, swap, Us}, #{swap := Before} = Ledger) -> Ledger#{swap := Before + Us};
noted({spent, suspended, Us}, #{suspending := Before} = Ledger) -> Ledger#{suspending := Before + Us};
noted({done, Entries}, #{report := Report} = Ledger) -> Ledger#{report := lists:reverse(Entries) ++ Report, changing := none}.

%% Brings back what can be: everything while nothing firm was done; else what the failed piece has replaced, unless a
%% state has changed to it. Then all that is suspended goes on. #{undone, left, killed, killed_count, kept, updated}: whether
%% all is as it was before; what could not be brought back; processes that were ended, for their state may be either or could
%% not be changed, and supervisors that go on with the state that they had, in words; and the modules as they are updated.
take_back(#{current := Current, undo := Undo, firm := Firm, changing := Changing} = Ledger, Ms) ->
    #{helpers := Helpers} = Ledger,
    Back = case {Firm, Changing} of
               {false, _} -> [Current | Undo];
               {true, {all, _}} -> [];
               {true, _} -> [Current]
           end,
    OnLoads = await_on_loads(Ms),
    Left = bring_back(Back),
    #{left := Silent, kept := Kept} = Released = release(Ledger, Ms),
    [unload(Mod) || Mod <- Helpers],
    %% One that goes on may have the new state, and its code is the old one again. Where all have changed the code stays.
    Unfit = case Changing of {all, _} -> []; _ -> [short_kept(Pid) || Pid <- Kept] end,
    Released#{undone => not Firm andalso Left =:= [] andalso Silent =:= [] andalso OnLoads =:= [] andalso Unfit =:= [],
              left => [short({element(1, How), element(2, How)}) || How <- lists:sublist(Left, ?NAMED)] ++ Silent ++
                  [short({on_load, Pid}) || Pid <- OnLoads] ++ Unfit}.

short_kept(Pid) -> <<"{kept,", Pid/binary, "}">>.

%% The part of it that concerns processes: those whose state is no good are ended, all others go on. Nothing is undone by it.
release(#{above := Above} = Ledger, Ms) ->
    {Lost, Others} = lost(Ledger),
    Silent = relup_agent_crowd:resume(Above ++ Others, Ms),
    {Killed, Kept} = relup_agent_replace:run(Lost, Above, Ms),
    StillSilent = relup_agent_crowd:resume(Kept, Ms),
    #{killed => [short(Pid) || Pid <- lists:sublist(Killed, ?NAMED)], killed_count => length(Killed),
      kept => [short(Pid) || Pid <- lists:sublist(Kept, ?NAMED)], updated => updated(Kept, Ledger), undone => false,
      left => [short({suspended, Pid}) || Pid <- lists:sublist(Silent ++ StillSilent, ?NAMED)]}.

%% Tells all that may be suspended to go on, and waits for nobody, so that nothing of it can fail.
go_on(#{above := Above, suspended := Suspended, failed := Failed}) ->
    Nobody = spawn(fun() -> ok end),
    [Pid ! {system, {Nobody, make_ref()}, resume} || Pid <- Above ++ Suspended ++ Failed],
    #{undone => false}.

%% {processes whose state is not what their code takes it for, the other ones that may be suspended}. Once all change, their
%% hands note who has not. That can't be seen from outside: one that hibernates does so while it is suspended as well.
lost(#{changing := none, suspended := Suspended}) -> {[], Suspended};
lost(#{changing := {all, _}, suspended := Suspended, failed := Failed}) -> {Failed, Suspended -- Failed};
lost(#{changing := Pid, suspended := Suspended}) -> {[Pid], lists:delete(Pid, Suspended)}.

%% The update that has failed has changed all states but those that were kept.
updated(Kept, #{updated := Updated, changing := {all, _}, piece := {_, {update, Mod, _}}}) ->
    Updated#{Mod => [short(Pid) || Pid <- Kept]};
updated(_, #{updated := Updated}) -> Updated.

%% An on_load that runs yet, for a hop whose process was killed, would have its module replace what is brought back. It
%% runs in a process that the code server watches, up to Ms are waited for it. Returns those that run on.
await_on_loads(Ms) ->
    Watched = [{monitor(process, Pid), Pid} || Pid <- on_loads()],
    Left = lists:append([receive {'DOWN', Ref, process, _, _} -> until_seen(Pid), [] after Ms -> [Pid] end
                         || {Ref, Pid} <- Watched]),
    %% What the code server does about it is done when it answers.
    _ = code:get_path(),
    Left.

until_seen(Pid) -> lists:member(Pid, watched(whereis(code_server))) andalso until_seen(Pid).

%% From OTP 26 on the code server also watches whoever loads a module. An on_load runs in a process that it has begun.
on_loads() ->
    Server = whereis(code_server),
    [Pid || Pid <- watched(Server), is_child(Pid, Server)].

watched(Server) ->
    {monitors, Watched} = process_info(Server, monitors),
    [Pid || {process, Pid} <- Watched, is_pid(Pid)].

%% Before OTP 25 nobody can tell, and the code server watches nobody else.
is_child(Pid, Parent) ->
    try process_info(Pid, parent) of
        {parent, Found} -> Found =:= Parent;
        %% It has ended. What the code server does about it is waited for.
        undefined -> true
    catch
        error:badarg -> true
    end.

%% All that can be read is swapped at once; returns what could not be brought back. A piece of the hop that can't be
%% brought back as a whole, for a process runs what it has replaced or nothing holds that any more, stays, and with it
%% those before it: the node is then as that piece has left it, and no mixture of two releases.
bring_back(Pieces) ->
    {Free, Stuck} = lists:splitwith(fun(Piece) -> lists:all(fun can_go/1, Piece) end,
                                    [[{How, read(How)} || How <- Piece] || Piece <- Pieces]),
    All = lists:append(Free),
    Read = [Each || {_, {ok, _}} = Each <- All],
    Failed = case Read of
                 [] -> [];
                 _ -> swap(Read)
             end,
    [code:soft_purge(Mod) || {{_, Mod, _}, _} <- Read],
    [How || {How, _} <- Failed] ++ [How || {{remove, Mod} = How, remove} <- All, not unload(Mod)] ++
        [How || {How, Found} <- lists:append(Stuck), Found =/= unchanged].

can_go({_, lost}) -> false;
can_go({{reload, Mod, _}, {ok, _}}) -> code:soft_purge(Mod);
can_go(_) -> true.

read({reload, Mod, Path}) ->
    case relup_agent_target:read_beam(Mod, Path) of
        {ok, Beam} -> case relup_agent_target:unchanged(Mod, Beam) of true -> unchanged; false -> {ok, Beam} end;
        _ -> lost
    end;
read({remove, Mod}) -> case erlang:module_loaded(Mod) of true -> remove; false -> unchanged end;
read({lost, Mod, Md5}) -> case relup_agent_target:loaded_md5(Mod) of Md5 -> unchanged; _ -> lost end.

swap(Beams) ->
    Triples = [{Mod, Path, Code} || {{reload, Mod, Path}, {ok, #{code := Code}}} <- Beams],
    Swapped = case code:prepare_loading(Triples) of
                  {ok, Prepared} -> code:finish_loading(Prepared);
                  Error -> Error
              end,
    case Swapped of
        ok -> [];
        %% One with on_load can only be loaded alone.
        {error, _} -> [Each || {{reload, Mod, Path}, {ok, #{code := Code}}} = Each <- Beams,
                               code:load_binary(Mod, Path, Code) =/= {module, Mod}]
    end.

%% Removes a module unless a process still runs it: then it stays, rather than that process die.
unload(Mod) -> code:soft_purge(Mod) andalso code:delete(Mod) andalso code:soft_purge(Mod).

%% A hop that has succeeded: only helpers go. Old code stays until the next load of its module: purging it now would break
%% every fun made by it.
finish(#{helpers := Helpers}) -> [unload(Mod) || Mod <- Helpers].

now_us() -> erlang:monotonic_time(microsecond).
