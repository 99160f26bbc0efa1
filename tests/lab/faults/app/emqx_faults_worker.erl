%% A process that may fail when it is asked to stand still, or to change its state.
-module(emqx_faults_worker).
-export([start_link/1, ask/1, name/1]).
-export([init/2, system_continue/3, system_terminate/4, system_code_change/4]).

start_link(N) -> proc_lib:start_link(?MODULE, init, [self(), N]).

%% The version of its code that its state is of.
ask(N) ->
    Ref = monitor(process, name(N)),
    name(N) ! {ask, self(), Ref},
    receive
        {Ref, Version} -> demonitor(Ref, [flush]), Version;
        {'DOWN', Ref, _, _, Reason} -> exit(Reason)
    end.

name(N) -> list_to_atom("emqx_faults_" ++ integer_to_list(N)).

init(Parent, N) ->
    register(name(N), self()),
    proc_lib:init_ack({ok, self()}),
    loop(Parent, ?VERSION).

loop(Parent, Version) ->
    receive
        {ask, Pid, Ref} ->
            Pid ! {Ref, Version},
            loop(Parent, Version);
        {system, From, Request} ->
            Request =:= suspend andalso emqx_faults_point:strike(suspend),
            sys:handle_system_msg(Request, From, Parent, ?MODULE, [], Version)
    end.

system_continue(Parent, _Debug, Version) -> loop(Parent, Version).

system_terminate(Reason, _Parent, _Debug, _Version) -> exit(Reason).

system_code_change(_Version, ?MODULE, _From, _Extra) ->
    emqx_faults_point:strike(change),
    {ok, ?VERSION}.
