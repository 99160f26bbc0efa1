%% @doc Stands in for epmd (`-epmd_module'): a node's port is a base plus the digits that end its short name. The base
%% is 4370 unless the environment of `kernel' has `inet_dist_base_port'.
-module(ekka_epmd).
-export([listen_port_please/2, names/1, port_please/2, port_please/3, register_node/2, register_node/3, start_link/0]).

-define(BASE_PORT, 4370).
-define(OFFSETS, 60000).
%% The version of the distribution protocol that every node since OTP 23 speaks.
-define(DIST_VERSION, 6).

%% Nothing has to run.
start_link() -> ignore.

register_node(Name, Port) -> register_node(Name, Port, inet).

%% The creation tells the pids of one life of a node from those of the next; 0 to 3 are for old protocols.
register_node(_Name, _Port, _Family) -> {ok, 3 + rand:uniform(1 bsl 32 - 4)}.

listen_port_please(Name, _Host) -> {ok, port(Name)}.

port_please(Name, Host) -> port_please(Name, Host, infinity).

port_please(Name, _Host, _Timeout) -> {port, port(Name), ?DIST_VERSION}.

names(_Host) -> {error, address}.

port(Name) -> application:get_env(kernel, inet_dist_base_port, ?BASE_PORT) + offset(to_string(Name)).

offset(Name) ->
    case re:run(Name, "[0-9]+$", [{capture, first, list}]) of
        {match, [Digits]} -> list_to_integer(Digits) rem ?OFFSETS;
        nomatch -> 0
    end.

to_string(Name) when is_atom(Name) -> atom_to_list(Name);
to_string(Name) -> Name.
