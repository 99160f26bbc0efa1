%% Payload, shipped to hosts: system messages to very many processes at once, and changing the state of all of them while
%% they stand still for the shortest time.
%%
%% The processes are split over a few hands. Each monitors its share, one monitor a process for all that it is asked, whose
%% reference is the tag of every message, and keeps some of them asked and unanswered: with all of them asked at once the
%% run queue of a hundred thousand processes makes each of them cold in the cache, and the whole three times as slow.
-module(relup_agent_crowd).

-export([change/2, resume/2, allowed/2]).

-define(AHEAD, 64).
%% A hand for fewer processes is not worth it.
-define(SHARE, 250).
%% How long all may take to stand still (milliseconds), and how often that is tried: nobody is to wait long for one that is
%% busy.
-define(BRIEFLY, 5000).
-define(TRIES, 2).
%% What is added to a limit for each process that has to answer (microseconds): about ten times what one takes.
-define(EACH, 20).

%% Suspends all, swaps the module, changes the state of one process, and if that works of all others; each goes on as soon
%% as it has changed. What fails in the first would fail in all, and with none changed all can be taken back.
%%
%% #{mod, pids, sups, swap (fun), message (the change_code message), note (fun that tells the coordinator what is about to
%% happen), linked: the processes that the supervisors were linked to before they were asked for their children, or all where
%% no child that was born since has to change}; Ms, how long all answers to one message may take, more for a large crowd.
%% Returns {Changed, microseconds from the first suspension to the last that goes on, [{Pid, Why}] of those that failed,
%% which stand still yet but for supervisors}. Throws {suspend_failed | code_change_failed, Format, Args}: then nothing has
%% changed, and those suspended are the caller's to resume.
change(Update, Ms) -> change(Update, Ms, ?TRIES).

change(#{swap := Swap, message := Message, note := Note, pids := Found} = Update, Ms, Tries) ->
    case suspend(Update, allowed(min(Ms, ?BRIEFLY), length(Found))) of
        {ok, Start, Above, Hands, Pids} ->
            Long = allowed(Ms, length(Pids)),
            Swap(),
            Ready = change_first(Pids, Message, Note, Ms),
            Changed = length([changed || {_, changed} <- Ready]),
            hold(Hands, Note, Ready),
            Changed =:= 0 orelse Note({changing, {all, Hands}}),
            {Others, Failed} = ask(Hands, Message, resume, Ready, Long),
            Note(gone_on),
            _ = ask(Above, resume, none, [], Ms),
            Window = now_us() - Start,
            leave(Above ++ Hands),
            {Changed + Others, Window, Failed};
        {busy, Start, Pids, _} when Tries > 1 ->
            %% Nobody stands still for long because one is busy, maybe with its own supervisor: that is served now.
            _ = resume(Pids, min(Ms, ?BRIEFLY)),
            Note({spent, suspended, now_us() - Start}),
            Note(resumed),
            change(Update, Ms, Tries - 1);
        {busy, _, _, {Pid, Why}} -> throw({suspend_failed, "~p could not be suspended: ~0tp.", [Pid, Why]})
    end.

%% The milliseconds in which so many processes must have answered.
allowed(Ms, Count) -> Ms + Count * ?EACH div 1000.

%% {ok, Start, hands of the supervisors, hands of the processes, processes} | {busy, Start, all that may be suspended,
%% {Pid, Why}}.
suspend(#{mod := Mod, sups := Sups, pids := Pids, linked := Linked, note := Note}, Ms) ->
    Above = gather(Sups),
    Known = gather(Pids),
    Note({suspending, Sups, Pids}),
    Start = now_us(),
    %% A child that started after the look would keep an old state: its supervisor stands still as well.
    case ask(Above, suspend, none, [], Ms) of
        {_, []} ->
            tell(Known, suspend, none, [], Ms),
            Late = late_children(Sups, Mod, Linked),
            Note({suspending, [], Late}),
            New = gather(Late),
            tell(New, suspend, none, [], Ms),
            case answers(Known ++ New) of
                {_, []} -> {ok, Start, Above, Known ++ New, Pids ++ Late};
                {_, Failed} -> busy(Start, Above ++ Known ++ New, Sups ++ Pids ++ Late, Failed)
            end;
        {_, Failed} -> busy(Start, Above ++ Known, Sups ++ Pids, Failed)
    end.

busy(Start, Hands, Pids, Failed) ->
    leave(Hands),
    {busy, Start, Pids, lists:last(Failed)}.

%% Children that a suspended supervisor can't tell of: it has been linked to them since it was asked, and they were born as
%% Mod's.
late_children(_, _, all) -> [];
late_children(Sups, Mod, Linked) ->
    Now = lists:usort([Pid || Sup <- Sups, Pid <- relup_agent_processes:linked(Sup)]),
    [Pid || Pid <- ordsets:subtract(Now, ordsets:from_list(Linked)), relup_agent_processes:callback_module(Pid) =:= Mod].

%% [{Pid, changed | dead}] of those that need no change any more: the first that is alive, and the dead before it.
change_first([], _, _, _) -> [];
change_first([Pid | Rest], Message, Note, Ms) ->
    Note({changing, Pid}),
    Hand = gather([Pid]),
    Answer = ask(Hand, Message, resume, [], Ms),
    leave(Hand),
    case Answer of
        {1, []} -> [{Pid, changed}];
        {0, []} -> [{Pid, dead} | change_first(Rest, Message, Note, Ms)];
        {0, [{Pid, Why}]} ->
            %% One that does not answer is in the middle of it yet.
            Why =:= timeout orelse Note({changing, none}),
            throw({code_change_failed, "~p: ~0tP", [Pid, Why, 20]})
    end.

%% Lets all go on; [Pid] of those that stand still all the same. One that is too busy to answer, and was too busy to be
%% suspended, has both messages waiting for it.
resume(Pids, Ms) ->
    Hands = gather(Pids),
    {_, Silent} = ask(Hands, resume, none, [], allowed(Ms, length(Pids))),
    leave(Hands),
    [Pid || {Pid, _} <- Silent, relup_agent_processes:is_suspended(Pid)].

%% ------------------------------------------------------------------------------------------------- hands

%% The hands for the processes, which they watch from here on; nothing is sent to them yet. Hands end with their maker, but
%% for one thing: once they are held, states that begin to change are all changed, whatever becomes of the maker, and each
%% hand notes whose it could not change, or was not told to.
gather([]) -> [];
gather(Pids) ->
    Maker = self(),
    Count = max(1, min(2 * erlang:system_info(schedulers_online), length(Pids) div ?SHARE)),
    Hands = [spawn_opt(fun() -> hand(Maker, Share) end, [link, {message_queue_data, off_heap}])
             || Share <- shares(Pids, Count)],
    [receive {Hand, ready} -> Hand end || Hand <- Hands].

hold(Hands, Note, But) ->
    [Hand ! {self(), {hold, Note, But}} || Hand <- Hands],
    [receive {Hand, held} -> ok end || Hand <- Hands],
    ok.

shares(Pids, 1) -> [Pids];
shares(Pids, Count) ->
    {Share, Rest} = lists:split(length(Pids) div Count, Pids),
    [Share | shares(Rest, Count - 1)].

%% Told before they are unlinked: a hand that is neither would stay for good if its maker is killed in between.
leave(Hands) ->
    [begin Hand ! {self(), leave}, unlink(Hand) end || Hand <- Hands],
    ok.

%% A system message to all but some ([{Pid, _}]), and Then to each that has said ok, unless it is none:
%% {how many said ok, [{Pid, Why}] of the others}. The dead are in neither. Reasons may be as large as states are: that of
%% the last is one, most others are only `alike`.
ask(Hands, Message, Then, But, Ms) ->
    tell(Hands, Message, Then, But, Ms),
    answers(Hands).

tell(Hands, Message, Then, But, Ms) -> [Hand ! {self(), {Message, Then, But, Ms}} || Hand <- Hands].

answers(Hands) ->
    lists:foldl(fun(Hand, {Done, Failed}) ->
                        receive {Hand, {More, Others}} -> {Done + More, Others ++ Failed} end
                end, {0, []}, Hands).

hand(Maker, Pids) ->
    Members = [{monitor(process, Pid), Pid} || Pid <- Pids],
    Maker ! {self(), ready},
    obey(Maker, Members, #{}, fun(_) -> ok end).

%% Dead is kept as long as the members are: that one is down is told once, maybe while another thing is asked. Told is given
%% the members that are left with a state that was to change.
obey(Maker, Members, Dead, Told) ->
    receive
        {Maker, {hold, Note, But}} ->
            process_flag(trap_exit, true),
            Maker ! {self(), held},
            obey(Maker, Members, Dead, fun(Left) -> Note({failed, [Pid || Pid <- Left, not lists:keymember(Pid, 1, But)]}) end);
        {Maker, {Message, Then, But, Ms}} ->
            Asked = case But of
                        [] -> Members;
                        _ -> [Member || {_, Pid} = Member <- Members, not lists:keymember(Pid, 1, But)]
                    end,
            {Done, Failed, Gone} = send(Asked, {Message, Then}, Dead, Ms),
            Told([Pid || {Pid, _} <- Failed]),
            Maker ! {self(), {length(Done), Failed}},
            obey(Maker, Done, Gone, fun(_) -> ok end);
        {Maker, leave} -> ok;
        {'EXIT', Maker, _} -> Told([Pid || {Ref, Pid} <- Members, not is_map_key(Ref, Dead)])
    end.

%% {members that said ok, in their order, [{Pid, Why}] of the others, Dead}
send(Members, {Message, Then}, Dead, Ms) ->
    Timer = erlang:start_timer(Ms, self(), late),
    {Done, Failed, Gone} = flow(Members, {Message, Then, Timer}, #{}, Dead, [], []),
    erlang:cancel_timer(Timer),
    receive {timeout, Timer, late} -> ok after 0 -> ok end,
    {lists:reverse(Done), Failed, Gone}.

%% Asked: #{Ref => Member}, or #{Ref => done} for one that was told to go on and has yet to.
flow([{Ref, Pid} = Member | Rest], {Message, _, _} = Order, Asked, Dead, Done, Failed) when map_size(Asked) < ?AHEAD ->
    case is_map_key(Ref, Dead) of
        true -> flow(Rest, Order, Asked, Dead, Done, Failed);
        false ->
            Pid ! {system, {self(), Ref}, Message},
            flow(Rest, Order, Asked#{Ref => Member}, Dead, Done, Failed)
    end;
flow([], _, Asked, Dead, Done, Failed) when map_size(Asked) =:= 0 -> {Done, Failed, Dead};
flow(Members, {_, Then, Timer} = Order, Asked, Dead, Done, Failed) ->
    receive
        {Ref, Answer} when is_map_key(Ref, Asked) ->
            case maps:take(Ref, Asked) of
                {done, Left} -> flow(Members, Order, Left, Dead, Done, Failed);
                {Member, Left} when Answer =:= ok, Then =:= none -> flow(Members, Order, Left, Dead, [Member | Done], Failed);
                {{_, Pid} = Member, Left} when Answer =:= ok ->
                    Pid ! {system, {self(), Ref}, Then},
                    flow(Members, Order, Left#{Ref => done}, Dead, [Member | Done], Failed);
                {{_, Pid}, Left} when Failed =:= [] -> flow(Members, Order, Left, Dead, Done, [{Pid, Answer}]);
                {{_, Pid}, Left} -> flow(Members, Order, Left, Dead, Done, [{Pid, alike} | Failed])
            end;
        {'DOWN', Ref, process, _, _} ->
            flow(Members, Order, maps:remove(Ref, Asked), Dead#{Ref => dead}, Done, Failed);
        {timeout, Timer, late} ->
            Silent = [Pid || {_, Pid} <- maps:values(Asked)] ++ [Pid || {Ref, Pid} <- Members, not is_map_key(Ref, Dead)],
            {Done, [{Pid, timeout} || Pid <- Silent] ++ Failed, Dead}
    end.

now_us() -> erlang:monotonic_time(microsecond).
