%% @doc Makes the seeds one Mnesia cluster, whatever the order they start in, and keeps them connected.
%%
%% A new node has its schema in memory. It joins any seed whose schema is on disc and then puts its own there. Where
%% there is none, the first of the seeds founds the cluster; the others wait for it. Two schemas that were founded apart
%% could never be merged.
-module(emqx_cluster).
-behaviour(gen_server).
-export([joined_at/0, start_link/1]).
-export([handle_call/3, handle_cast/2, handle_info/2, init/1]).

-define(JOINING, 300).
-define(JOINED, 5000).
-define(TIMEOUT, 5000).

-define(TABLE, emqx_cluster_member).

-record(?TABLE, {node :: node(), joined_at :: integer()}).

start_link(Seeds) -> gen_server:start_link({local, ?MODULE}, ?MODULE, lists:usort([node() | Seeds]), []).

%% @doc When each member joined the cluster, in ms since the epoch; empty before this node has joined.
-spec joined_at() -> #{node() => integer()}.
joined_at() ->
    Members = case ets:whereis(?TABLE) of
                  undefined -> [];
                  _ -> ets:tab2list(?TABLE)
              end,
    maps:from_list([{Node, At} || #?TABLE{node = Node, joined_at = At} <- Members]).

init(Seeds) ->
    ok = net_kernel:monitor_nodes(true),
    self() ! join,
    {ok, Seeds}.

handle_info(join, Seeds) ->
    Others = [Node || Node <- Seeds, Node =/= node(), net_kernel:connect_node(Node) =:= true],
    Joined = join(Others, Seeds),
    erlang:send_after(case Joined of true -> ?JOINED; false -> ?JOINING end, self(), join),
    {noreply, Seeds};
handle_info({nodeup, Node}, Seeds) ->
    _ = lists:member(Node, Seeds) andalso on_disc(node()) andalso connect([Node]),
    {noreply, Seeds};
handle_info({nodedown, _}, Seeds) ->
    {noreply, Seeds}.

handle_call(_Request, _From, Seeds) -> {reply, ok, Seeds}.

handle_cast(_Message, Seeds) -> {noreply, Seeds}.

%% Whether this node is in a cluster that is on disc; a step that failed is taken again at the next turn.
join(Others, Seeds) ->
    case {on_disc(node()), [Node || Node <- Others, on_disc(Node)]} of
        {true, Founded} -> connect(Founded) andalso keep_members();
        {false, [Founder | _]} -> merge(Founder) andalso to_disc() andalso keep_members();
        {false, []} -> node() =:= hd(Seeds) andalso to_disc() andalso keep_members()
    end.

on_disc(Node) -> on(Node, mnesia, system_info, [use_dir]) =:= true.

connect(Nodes) ->
    case Nodes -- mnesia:system_info(running_db_nodes) of
        [] -> true;
        Apart -> is_done(mnesia:change_config(extra_db_nodes, Apart))
    end.

merge(Founder) ->
    lists:member(Founder, mnesia:system_info(running_db_nodes)) orelse
        begin
            %% A member that lost its data would be refused as the one it was.
            _ = lists:member(node(), on(Founder, mnesia, system_info, [db_nodes]))
                andalso on(Founder, mnesia, del_table_copy, [schema, node()]),
            %% Two schemas merge only if both know of the same storage.
            emqx_durable:register_storage() andalso is_done(mnesia:change_config(extra_db_nodes, [Founder]))
        end.

to_disc() -> on_disc(node()) orelse is_done(mnesia:change_table_copy_type(schema, node(), disc_copies)).

keep_members() ->
    is_done(emqx_table:have(?TABLE, disc_copies, record_info(fields, ?TABLE), []))
        andalso mnesia:wait_for_tables([?TABLE], ?TIMEOUT) =:= ok andalso note_member() andalso emqx_durable:have_tables().

note_member() ->
    mnesia:dirty_read(?TABLE, node()) =/= [] orelse
        mnesia:dirty_write(#?TABLE{node = node(), joined_at = erlang:system_time(millisecond)}) =:= ok.

is_done(ok) -> true;
is_done({ok, [_ | _]}) -> true;
is_done({atomic, ok}) -> true;
is_done(_) -> false.

on(Node, Mod, Fun, Args) ->
    try erpc:call(Node, Mod, Fun, Args, ?TIMEOUT) catch _:_ -> [] end.
