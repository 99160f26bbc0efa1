%% @doc A client's connection. Its session ends with it, unless the client asked for one that lasts (see emqx_durable).
-module(emqx_connection).
-behaviour(gen_server).
-export([activate/1, info/1, start_link/1]).
-export([code_change/3, handle_call/3, handle_cast/2, handle_info/2, init/1, terminate/2]).

-define(CONNECT_TIMEOUT, 10000).

-record(connection, {socket :: gen_tcp:socket(),
                     seen :: integer(),                         % monotonic ms of the last bytes
                     patience = infinity :: timeout(),          % ms without a byte before the client counts as gone
                     buffer = <<>> :: binary(),
                     client_id :: binary() | undefined,         % undefined until CONNECT
                     will :: emqx_frame:message() | undefined,
                     subscriptions = #{} :: #{binary() => 0..1},
                     last_id = 0 :: 0..65535,
                     in_flight = #{} :: #{emqx_frame:packet_id() => []},
                     connected_at :: integer(),                 % ms since the epoch
                     received = 0 :: non_neg_integer()}).       % packets

start_link(Socket) -> gen_server:start_link(?MODULE, Socket, []).

%% @doc The process owns its socket now and may read.
-spec activate(pid()) -> ok.
activate(Pid) -> gen_server:cast(Pid, activate).

-spec info(pid()) -> #{client_id := binary() | undefined, subscriptions := #{binary() => 0..1}, in_flight := non_neg_integer(),
                       connected_at := integer(), received := non_neg_integer()}.
info(Pid) -> gen_server:call(Pid, info).

init(Socket) ->
    erlang:send_after(?CONNECT_TIMEOUT, self(), connect_timeout),
    {ok, #connection{socket = Socket, seen = now_ms(), connected_at = erlang:system_time(millisecond)}}.

handle_call(info, _From, #connection{client_id = Id, subscriptions = Subscriptions, in_flight = InFlight} = C) ->
    {reply, #{client_id => Id, subscriptions => Subscriptions, in_flight => map_size(InFlight),
              connected_at => C#connection.connected_at, received => C#connection.received}, C}.

handle_cast(activate, C) -> read(C).

handle_info({tcp, Socket, Data}, #connection{socket = Socket, buffer = Buffer} = C) ->
    packets(<<Buffer/binary, Data/binary>>, C#connection{seen = now_ms()});
handle_info({deliver, Message}, C) ->
    deliver(Message, C);
handle_info(connect_timeout, #connection{client_id = undefined} = C) ->
    {stop, {shutdown, connect_timeout}, C};
handle_info(connect_timeout, C) ->
    {noreply, C};
handle_info(check_alive, #connection{patience = infinity} = C) ->
    {noreply, C};
handle_info(check_alive, #connection{seen = Seen, patience = Patience} = C) ->
    case Seen + Patience - now_ms() of
        Left when Left > 0 ->
            erlang:send_after(Left, self(), check_alive),
            {noreply, C};
        _ ->
            {stop, {shutdown, keepalive_timeout}, C}
    end;
handle_info(taken_over, C) ->
    {stop, {shutdown, taken_over}, C};
handle_info({tcp_closed, _}, C) ->
    {stop, {shutdown, closed}, C};
handle_info({tcp_error, _, Reason}, C) ->
    {stop, {shutdown, Reason}, C}.

%% DISCONNECT is what clears the will.
terminate(_Reason, #connection{will = undefined}) -> ok;
terminate(_Reason, #connection{will = Will}) -> emqx_router:publish(Will).

%% The two last fields are new in 5.10.5-lab. When an older client connected is not known: it counts from now.
code_change({down, _ToVsn}, #connection{} = C, _Extra) ->
    {ok, list_to_tuple(lists:sublist(tuple_to_list(C), tuple_size(C) - 2))};
code_change(_FromVsn, #connection{} = C, _Extra) ->
    {ok, C};
code_change(_FromVsn, Old, _Extra) ->
    #connection{} = C = list_to_tuple(tuple_to_list(Old) ++ [erlang:system_time(millisecond), 0]),
    {ok, C}.

%% What the client sends

read(#connection{socket = Socket} = C) ->
    case inet:setopts(Socket, [{active, once}]) of
        ok -> {noreply, C};
        {error, Reason} -> {stop, {shutdown, Reason}, C}
    end.

packets(Buffer, C) ->
    case emqx_frame:parse(Buffer) of
        {ok, Packet, Rest} ->
            emqx_metrics:inc('packets.received'),
            case packet(Packet, C#connection{received = C#connection.received + 1}) of
                #connection{} = Next -> packets(Rest, Next);
                Stop -> Stop
            end;
        more -> read(C#connection{buffer = Buffer});
        {error, Reason} -> {stop, {shutdown, Reason}, C}
    end.

packet({connect, Connect}, #connection{client_id = undefined} = C) ->
    connect(Connect, C);
packet(unsupported_protocol, #connection{client_id = undefined} = C) ->
    refuse(1, unsupported_protocol, C);
packet(_, #connection{client_id = undefined} = C) ->
    {stop, {shutdown, not_connected}, C};
packet({publish, #{topic := Topic} = Message, Id}, C) ->
    case emqx_topic:is_name(Topic) of
        true ->
            emqx_metrics:inc('messages.received'),
            emqx_router:publish(Message),
            acknowledge(Id, C);
        false ->
            {stop, {shutdown, bad_topic}, C}
    end;
packet({puback, Id}, #connection{in_flight = InFlight} = C) ->
    C#connection{in_flight = maps:remove(Id, InFlight)};
packet({subscribe, Id, Wanted}, C) ->
    {Codes, Subscribed} = lists:mapfoldl(fun join/2, C, Wanted),
    ok = emqx_durable:subscribed(C#connection.client_id, Subscribed#connection.subscriptions),
    Retained = lists:append([emqx_durable:retained(Filter, QoS) || {{Filter, _}, QoS} <- lists:zip(Wanted, Codes), QoS < 128]),
    lists:foldl(fun push/2, send({suback, Id, Codes}, Subscribed), Retained);
packet({unsubscribe, Id, Filters}, C) ->
    Left = lists:foldl(fun unsubscribe/2, C, Filters),
    ok = emqx_durable:subscribed(C#connection.client_id, Left#connection.subscriptions),
    send({unsuback, Id}, Left);
packet(pingreq, C) ->
    send(pingresp, C);
packet(disconnect, C) ->
    {stop, normal, C#connection{will = undefined}};
packet(_, C) ->
    {stop, {shutdown, protocol_violation}, C}.

connect(#{client_id := <<>>, clean := false}, C) ->
    refuse(2, client_id_missing, C);
connect(#{client_id := Given, clean := Clean, keepalive := Seconds, will := Will}, C) ->
    ClientId = case Given of
                   <<>> -> iolist_to_binary(["auto-", integer_to_list(erlang:unique_integer([positive])), "@", atom_to_list(node())]);
                   _ -> Given
               end,
    emqx_clients:take_over(ClientId),
    self() ! check_alive,
    {Present, Lasting, Waiting} = emqx_durable:open(ClientId, Clean),
    Connected = send({connack, Present, 0}, C#connection{client_id = ClientId, will = Will, patience = patience(Seconds)}),
    Subscribed = lists:foldl(fun(Wanted, Next) -> element(2, join(Wanted, Next)) end, Connected, Lasting),
    lists:foldl(fun push/2, Subscribed, Waiting).

patience(0) -> infinity;
patience(Seconds) -> Seconds * 1500.

refuse(Code, Reason, C) -> {stop, {shutdown, Reason}, send({connack, Code}, C)}.

acknowledge(undefined, C) -> C;
acknowledge(Id, C) -> send({puback, Id}, C).

join({Filter, Wanted}, #connection{subscriptions = Subscriptions} = C) ->
    QoS = min(Wanted, 1),
    case {emqx_topic:is_filter(Filter), is_map_key(Filter, Subscriptions)} of
        {false, _} -> {128, C};
        {true, true} -> {QoS, C#connection{subscriptions = Subscriptions#{Filter := QoS}}};
        {true, false} ->
            ok = emqx_router:subscribe(Filter),
            {QoS, C#connection{subscriptions = Subscriptions#{Filter => QoS}}}
    end.

unsubscribe(Filter, #connection{subscriptions = Subscriptions} = C) ->
    _ = emqx_router:unsubscribe(Filter),
    C#connection{subscriptions = maps:remove(Filter, Subscriptions)}.

%% What the client gets

deliver(#{topic := Topic, qos := QoS} = Message, #connection{subscriptions = Subscriptions} = C) ->
    case [Granted || {Filter, Granted} <- maps:to_list(Subscriptions), emqx_topic:match(Topic, Filter)] of
        [] -> {noreply, C};
        Granted ->
            case push(Message#{qos := min(QoS, lists:max(Granted))}, C) of
                #connection{} = Next -> {noreply, Next};
                Stop -> Stop
            end
    end.

push(_, Stop) when not is_record(Stop, connection) ->
    Stop;
push(#{qos := 0} = Message, C) ->
    emqx_metrics:inc('messages.sent'),
    send({publish, Message, undefined}, C);
push(_, #connection{in_flight = InFlight} = C) when map_size(InFlight) =:= 65535 ->
    {stop, {shutdown, acknowledges_nothing}, C};
push(Message, #connection{in_flight = InFlight} = C) ->
    emqx_metrics:inc('messages.sent'),
    Id = free_id(C),
    send({publish, Message, Id}, C#connection{last_id = Id, in_flight = InFlight#{Id => []}}).

free_id(#connection{last_id = Last, in_flight = InFlight} = C) ->
    Id = Last rem 65535 + 1,
    case is_map_key(Id, InFlight) of
        true -> free_id(C#connection{last_id = Id});
        false -> Id
    end.

send(Packet, #connection{socket = Socket} = C) ->
    case gen_tcp:send(Socket, emqx_frame:serialize(Packet)) of
        ok -> C;
        {error, _} ->
            self() ! {tcp_closed, Socket},
            C
    end.

now_ms() -> erlang:monotonic_time(millisecond).
