-module(emqx_connection_sup).
-behaviour(supervisor).
-export([count/0, start_connection/1, start_link/0]).
-export([init/1]).

start_link() -> supervisor:start_link({local, ?MODULE}, ?MODULE, []).

%% @doc Serve an accepted socket, which the caller owns until it is handed over.
-spec start_connection(gen_tcp:socket()) -> ok.
start_connection(Socket) ->
    {ok, Pid} = supervisor:start_child(?MODULE, [Socket]),
    case gen_tcp:controlling_process(Socket, Pid) of
        ok -> emqx_connection:activate(Pid);
        {error, _} -> supervisor:terminate_child(?MODULE, Pid)
    end.

-spec count() -> non_neg_integer().
count() -> proplists:get_value(active, supervisor:count_children(?MODULE)).

init([]) ->
    Connection = #{id => emqx_connection, start => {emqx_connection, start_link, []}, restart => temporary},
    {ok, {#{strategy => simple_one_for_one}, [Connection]}}.
