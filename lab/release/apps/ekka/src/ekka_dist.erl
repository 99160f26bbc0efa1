%% @doc The distribution protocol `-proto_dist ekka': one of OTP's own, which `-ekka_proto_dist' names. Where a node
%% listens and where it finds others is up to {@link ekka_epmd}.
-module(ekka_dist).
-export([accept/1, accept_connection/5, address/0, childspecs/0, close/1, getopts/2, listen/2, select/1, setopts/2, setup/5]).

%% Of OTP's protocols only those over TLS need processes of their own.
childspecs() ->
    Protocol = protocol(),
    {module, Protocol} = code:ensure_loaded(Protocol),
    case erlang:function_exported(Protocol, childspecs, 0) of
        true -> Protocol:childspecs();
        false -> {ok, []}
    end.

select(Node) -> (protocol()):select(Node).

address() -> (protocol()):address().

listen(Name, Host) -> (protocol()):listen(Name, Host).

accept(Listen) -> (protocol()):accept(Listen).

accept_connection(AcceptPid, Socket, MyNode, Allowed, SetupTime) ->
    (protocol()):accept_connection(AcceptPid, Socket, MyNode, Allowed, SetupTime).

setup(Node, Type, MyNode, NameDomain, SetupTime) -> (protocol()):setup(Node, Type, MyNode, NameDomain, SetupTime).

close(Socket) -> (protocol()):close(Socket).

setopts(Socket, Options) -> (protocol()):setopts(Socket, Options).

getopts(Socket, Options) -> (protocol()):getopts(Socket, Options).

protocol() ->
    case init:get_argument(ekka_proto_dist) of
        {ok, [["inet6_tcp"] | _]} -> inet6_tcp_dist;
        {ok, [["inet_tls"] | _]} -> inet_tls_dist;
        {ok, [["inet6_tls"] | _]} -> inet6_tls_dist;
        _ -> inet_tcp_dist
    end.
