%% Where the release of the fault matrix fails: what of it a hop runs comes by here, and one place is armed at a time.
%%
%% A place is {Name, Nth}: the fault strikes at the Nth time that anything comes by. Faults:
%%
%%     exception          an error is raised
%%     {timeout, Ms}      nothing happens for so long
%%     death              the process that comes by dies
%%     death_of_server    a process that the one that comes by calls dies instead of answering
%%     kill               the hop's own process is killed
%%     exit               the application's supervisor is killed, and with it the application
%%     shutdown           the process that comes by exits in good order
%%     {cut, File}        the file loses its second half
%%     {folder, Path}     a folder is in the place of a file
%%     {freeze, Server, Ms}          that server of the VM's does not answer for so long
%%     {kill_at, Server, Request}    the hop's process is killed while it waits for that server to do such a request
-module(emqx_faults_point).
-export([arm/2, disarm/0, look/0, put_back/3, strike/1, worker/1]).

arm(Place, Fault) -> persistent_term:put(?MODULE, {Place, Fault, atomics:new(1, [])}).

disarm() -> persistent_term:erase(?MODULE).

strike(Name) ->
    case persistent_term:get(?MODULE, none) of
        {{Name, Nth}, Fault, Passed} -> atomics:add_get(Passed, 1, 1) =/= Nth orelse act(Fault);
        _ -> ok
    end,
    ok.

act(exception) -> error(struck);
act({timeout, Ms}) -> timer:sleep(Ms);
act(death) -> exit(self(), kill);
act(death_of_server) -> gen_server:call(spawn(fun() -> receive _ -> exit(struck) end end), anything);
act(kill) -> end_process(hop());
act(exit) ->
    end_process(whereis(emqx_faults_sup)),
    until(fun() -> not lists:keymember(emqx_faults, 1, application:which_applications()) end);
act(shutdown) -> exit(shutdown);
act({cut, File}) ->
    {ok, Whole} = file:read_file(File),
    ok = file:write_file(File, binary:part(Whole, 0, byte_size(Whole) div 2));
act({folder, Path}) -> ok = filelib:ensure_path(Path);
act({freeze, Server, Ms}) -> frozen(Server, fun() -> timer:sleep(Ms) end);
act({kill_at, Server, Request}) ->
    Hop = hop(),
    Self = self(),
    Before = spawn(fun() ->
        Real = whereis(Server),
        take_name(Server, self()),
        Self ! {self(), there},
        pass_on(Real, fun
            ({'$gen_call', {From, _}, Asked}) when From =:= Hop, element(1, Asked) =:= Request ->
                end_process(Hop),
                self() ! done;
            (_) -> ok
        end),
        take_name(Server, Real),
        pass_on(Real, fun(_) -> ok end)
    end),
    receive {Before, there} -> ok end.

take_name(Name, Pid) ->
    true = unregister(Name),
    true = register(Name, Pid).

%% Passes on all that comes, each after a look at it, until `done` comes or nothing any more.
pass_on(Real, Look) ->
    receive
        done -> ok;
        Message ->
            Look(Message),
            Real ! Message,
            pass_on(Real, Look)
    after 5000 -> ok
    end.

%% Server stands still until Fun is done; the caller of this goes on at once.
frozen(Server, Fun) ->
    Self = self(),
    Pid = whereis(Server),
    Freezer = spawn(fun() ->
        true = erlang:suspend_process(Pid),
        Self ! {self(), frozen},
        Fun(),
        erlang:resume_process(Pid)
    end),
    receive {Freezer, frozen} -> ok end.

%% The process that runs the hop: the one that its coordinator has started and watches.
hop() ->
    Coordinator = whereis(relup_remote_agent),
    {monitors, Watched} = process_info(Coordinator, monitors),
    [Hop] = [Pid || {process, Pid} <- Watched, {parent, Coordinator} =:= process_info(Pid, parent)],
    Hop.

end_process(Pid) ->
    Ref = monitor(process, Pid),
    exit(Pid, kill),
    receive {'DOWN', Ref, process, Pid, _} -> ok end.

until(Condition) ->
    Condition() orelse begin timer:sleep(5), until(Condition) end.

%% The name of a worker; here, for this module is there when the application is not.
worker(N) -> list_to_atom("emqx_faults_" ++ integer_to_list(N)).

%% What the matrix looks at.
look() ->
    #{md5s => [{Mod, Mod:module_info(md5)} || {Mod, _} <- code:all_loaded(), Mod =/= ?MODULE],
      suspended => [Pid || Pid <- processes(), stands_still(process_info(Pid, current_function))],
      workers => [pid_to_list(Pid) || N <- lists:seq(1, 4), Pid <- [whereis(worker(N))], is_pid(Pid)],
      supervisors => [pid_to_list(Pid) || {_, Pid, supervisor, _} <- below(whereis(emqx_faults_sup)), is_pid(Pid)],
      hop => whereis(relup_remote_agent) =/= undefined,
      version => emqx_release:version()}.

below(undefined) -> [];
below(Sup) -> supervisor:which_children(Sup).

stands_still({current_function, {sys, Loop, _}}) -> Loop =:= suspend_loop orelse Loop =:= suspend_loop_hib;
stands_still(_) -> false.

%% The code that was there first, once no hop is under way: the application from Ebin and started anew, Others
%% ({Module, File}) where they differ, Added gone.
put_back(Ebin, Others, Added) ->
    until(fun() -> whereis(relup_remote_agent) =:= undefined end),
    stop(),
    [remove(Mod) || Mod <- Added],
    [load(Mod, File) || {Mod, File} <- Others],
    case code:lib_dir(emqx_faults) of
        {error, bad_name} -> code:add_pathz(Ebin);
        _ -> code:replace_path(emqx_faults, Ebin)
    end,
    {ok, _} = application:ensure_all_started(emqx_faults),
    ok.

stop() ->
    case application:stop(emqx_faults) of
        ok -> ok;
        {error, {not_started, _}} ->
            %% It may be on its way yet.
            Starting = proplists:get_value(starting, application:info()),
            case lists:keymember(emqx_faults, 1, Starting) of
                true -> timer:sleep(20), stop();
                false -> ok
            end
    end,
    _ = application:unload(emqx_faults).

remove(Mod) ->
    true = code:soft_purge(Mod),
    code:delete(Mod) andalso code:soft_purge(Mod).

load(Mod, File) ->
    {ok, {Mod, Md5}} = beam_lib:md5(File),
    (erlang:module_loaded(Mod) andalso Mod:module_info(md5) =:= Md5) orelse
        begin
            true = code:soft_purge(Mod),
            {module, Mod} = code:load_abs(filename:rootname(File)),
            true = code:soft_purge(Mod)
        end.
