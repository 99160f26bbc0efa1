%% Payload, shipped to hosts: the process in a VM that owns whatever a core begins there, and takes it back.
%%
%% It is evaluated by erl_eval, so that it is there before any module of ours and no code of ours runs when ours is purged.
%% Bound are Names (registered names, of which it takes the first that is free), Suffixes and Prefix (its modules are
%% <Prefix>_<number of the name><Suffix>), Node (the core's, or none), Lease (milliseconds that it waits for a sign of a
%% core that has no connection of its own; infinity for one that has) and Limit (milliseconds for one thing to take back).
%%
%% It answers calls of gen_server's: number (with the versions of Erlang/OTP and the emulator); {own, Key, M, F, A} (that is
%% called when the core is gone); {settle, Key} (that is called now); {outlast, Name} (the modules stay until the process of
%% that name has ended); leave. `{calling, Pid}` and `{called, Pid}` are signs of life.
Claim = fun Claim([], _) -> none;
            Claim([Name | Names], N) ->
                try register(Name, self()) of true -> N catch error:badarg -> Claim(Names, N + 1) end
        end,
Number = Claim(Names, 1),
Modules = [list_to_atom(lists:concat([Prefix, '_', Number, Suffix])) || Number =/= none, Suffix <- Suffixes],
Unload = fun() -> [begin code:purge(M), code:delete(M), code:purge(M) end
                   || M <- Modules, erlang:module_loaded(M) orelse erlang:check_old_code(M)] end,
Settle = fun({_, M, F, A}) ->
             {Pid, Ref} = spawn_monitor(fun() -> catch apply(M, F, A) end),
             receive {'DOWN', Ref, _, _, _} -> ok after Limit -> exit(Pid, kill) end
         end,
Ended = fun({Name, Pid}) when is_pid(Pid) ->
                Ref = monitor(process, Pid),
                receive {'DOWN', Ref, _, _, _} -> Name end;
            ({Name, undefined}) -> Name
        end,
TakeBack = fun(Owned, Outlast) ->
               [Settle(Each) || Each <- Owned],
               [Ended({Name, whereis(Name)}) || Name <- Outlast],
               Unload()
           end,
Loop = fun Loop(Owned, Outlast, Calls) ->
           Wait = case Calls of [] -> Lease; _ -> infinity end,
           receive
               {'$gen_call', From, number} ->
                   gen_server:reply(From, {Number, [erlang:system_info(Each) || Each <- [otp_release, version]]}),
                   case Number of none -> ok; _ -> Loop(Owned, Outlast, Calls) end;
               {'$gen_call', From, {own, Key, M, F, A}} ->
                   gen_server:reply(From, ok),
                   Loop([{Key, M, F, A} | lists:keydelete(Key, 1, Owned)], Outlast, Calls);
               {'$gen_call', From, {settle, Key}} ->
                   [Settle(Each) || {K, _, _, _} = Each <- Owned, K =:= Key],
                   gen_server:reply(From, ok),
                   Loop(lists:keydelete(Key, 1, Owned), Outlast, Calls);
               {'$gen_call', From, {outlast, Name}} ->
                   gen_server:reply(From, ok),
                   Loop(Owned, [Name | Outlast], Calls);
               {'$gen_call', From, leave} ->
                   Runs = [Name || Name <- Outlast, whereis(Name) =/= undefined],
                   case Runs of
                       [] -> TakeBack(Owned, []), gen_server:reply(From, ok);
                       _ -> gen_server:reply(From, busy), TakeBack(Owned, Runs)
                   end;
               {nodedown, Node} -> TakeBack(Owned, Outlast);
               {calling, Pid} -> Loop(Owned, Outlast, [{monitor(process, Pid), Pid} | Calls]);
               {called, Pid} ->
                   {Gone, Left} = lists:partition(fun({_, P}) -> P =:= Pid end, Calls),
                   [demonitor(Ref, [flush]) || {Ref, _} <- Gone],
                   Loop(Owned, Outlast, Left);
               {'DOWN', Ref, process, _, _} -> Loop(Owned, Outlast, lists:keydelete(Ref, 1, Calls));
               _ -> Loop(Owned, Outlast, Calls)
           after Wait -> TakeBack(Owned, Outlast)
           end
       end,
case Node of none -> ok; _ -> erlang:monitor_node(Node, true) end,
Loop([], [], []).
