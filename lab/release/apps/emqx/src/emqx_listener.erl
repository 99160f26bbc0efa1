%% @doc Accepts clients. Waiting is cut into short turns, so the process is never long in one version of this module.
-module(emqx_listener).
-behaviour(gen_server).
-export([start_link/1]).
-export([handle_call/3, handle_cast/2, handle_info/2, init/1]).

-define(TURN, 200).

-spec start_link({Address :: string(), inet:port_number()}) -> {ok, pid()} | {error, term()}.
start_link(Place) -> gen_server:start_link({local, ?MODULE}, ?MODULE, Place, []).

init({Address, Port}) ->
    {ok, Ip} = inet:parse_address(Address),
    Options = [binary, {ip, Ip}, {active, false}, {reuseaddr, true}, {backlog, 1024}, {nodelay, true},
               {send_timeout, 5000}, {send_timeout_close, true}],
    case gen_tcp:listen(Port, Options) of
        {ok, Socket} ->
            self() ! accept,
            {ok, Socket};
        {error, Reason} ->
            {stop, {cannot_listen, Address, Port, Reason}}
    end.

handle_info(accept, Listening) ->
    Accepted = gen_tcp:accept(Listening, ?TURN),
    self() ! accept,
    case Accepted of
        {ok, Socket} -> emqx_connection_sup:start_connection(Socket);
        {error, timeout} -> ok;
        {error, Reason} -> logger:warning("a client could not be accepted: ~p", [Reason])
    end,
    {noreply, Listening}.

handle_call(_Request, _From, Listening) -> {reply, ok, Listening}.

handle_cast(_Message, Listening) -> {noreply, Listening}.
