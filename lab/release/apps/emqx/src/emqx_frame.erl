%% @doc The control packets of MQTT 3.1.1 (section 3 of the standard): those a client sends are parsed, those a server
%% sends are serialized. QoS 2 is not spoken.
-module(emqx_frame).
-export([parse/1, serialize/1]).
-export_type([incoming/0, outgoing/0, message/0, packet_id/0]).

-define(MAX_SIZE, 1048576).

-type packet_id() :: 1..65535.
-type qos() :: 0 | 1.
-type message() :: #{topic := binary(), payload := binary(), qos := qos(), retain => boolean()}.
-type connect() :: #{client_id := binary(), clean := boolean(), keepalive := non_neg_integer(),
                     will := message() | undefined}.
-type incoming() :: {connect, connect()}
                  | unsupported_protocol
                  | {publish, message(), packet_id() | undefined}
                  | {puback, packet_id()}
                  | {subscribe, packet_id(), [{Filter :: binary(), 0..2}, ...]}
                  | {unsubscribe, packet_id(), [binary(), ...]}
                  | pingreq
                  | disconnect.
-type outgoing() :: {connack, 0..5}
                  | {connack, SessionPresent :: boolean(), 0}
                  | {publish, message(), packet_id() | undefined}
                  | {puback, packet_id()}
                  | {suback, packet_id(), [qos() | 128]}
                  | {unsuback, packet_id()}
                  | pingresp.

%% @doc The first packet of the bytes, and the bytes after it; `more' if it is not whole yet.
-spec parse(binary()) -> {ok, incoming(), Rest :: binary()} | more | {error, malformed | too_large}.
parse(<<Type:4, Flags:4, Sized/binary>>) ->
    case size_of_body(Sized, 0, 0) of
        {Size, _} when Size > ?MAX_SIZE -> {error, too_large};
        {Size, Bytes} when Size > byte_size(Bytes) -> more;
        {Size, Bytes} ->
            <<Body:Size/binary, Rest/binary>> = Bytes,
            try {ok, packet(Type, Flags, Body), Rest}
            catch error:_ -> {error, malformed}
            end;
        Other -> Other
    end;
parse(<<>>) -> more.

size_of_body(_, 4, _) -> {error, malformed};
size_of_body(<<1:1, Digit:7, Rest/binary>>, Place, Size) -> size_of_body(Rest, Place + 1, Size + (Digit bsl (7 * Place)));
size_of_body(<<0:1, Digit:7, Rest/binary>>, Place, Size) -> {Size + (Digit bsl (7 * Place)), Rest};
size_of_body(<<>>, _, _) -> more.

packet(1, 0, <<4:16, "MQTT", 4, User:1, Password:1, _Retain:1, WillQoS:2, Will:1, Clean:1, 0:1, Keepalive:16, Rest/binary>>) ->
    {ClientId, AfterId} = text(Rest),
    {Message, AfterWill} = will(Will, WillQoS, AfterId),
    <<>> = skip(Password, skip(User, AfterWill)),
    {connect, #{client_id => ClientId, clean => Clean =:= 1, keepalive => Keepalive, will => Message}};
packet(1, 0, _) ->
    unsupported_protocol;
packet(3, Flags, Body) ->
    <<_Dup:1, QoS:2, Retain:1>> = <<Flags:4>>,
    {Topic, Rest} = text(Body),
    {Id, Payload} = publish_id(QoS, Rest),
    {publish, #{topic => Topic, payload => Payload, qos => QoS, retain => Retain =:= 1}, Id};
packet(4, 0, <<Id:16>>) when Id > 0 ->
    {puback, Id};
packet(8, 2, <<Id:16, Filters/binary>>) when Id > 0, Filters =/= <<>> ->
    {subscribe, Id, subscriptions(Filters)};
packet(10, 2, <<Id:16, Filters/binary>>) when Id > 0, Filters =/= <<>> ->
    {unsubscribe, Id, texts(Filters)};
packet(12, 0, <<>>) ->
    pingreq;
packet(14, 0, <<>>) ->
    disconnect.

will(0, 0, Rest) -> {undefined, Rest};
will(1, QoS, Rest) when QoS < 2 ->
    {Topic, AfterTopic} = text(Rest),
    {Payload, AfterPayload} = text(AfterTopic),
    {#{topic => Topic, payload => Payload, qos => QoS}, AfterPayload}.

publish_id(0, Payload) -> {undefined, Payload};
publish_id(1, <<Id:16, Payload/binary>>) when Id > 0 -> {Id, Payload}.

subscriptions(<<>>) -> [];
subscriptions(Bytes) ->
    {Filter, <<QoS, Rest/binary>>} = text(Bytes),
    true = QoS =< 2,
    [{Filter, QoS} | subscriptions(Rest)].

texts(<<>>) -> [];
texts(Bytes) ->
    {Text, Rest} = text(Bytes),
    [Text | texts(Rest)].

text(<<Size:16, Text:Size/binary, Rest/binary>>) -> {Text, Rest}.

skip(0, Bytes) -> Bytes;
skip(1, Bytes) -> element(2, text(Bytes)).

-spec serialize(outgoing()) -> iodata().
serialize({connack, Code}) -> frame(2, 0, <<0, Code>>);
serialize({connack, true, 0}) -> frame(2, 0, <<1, 0>>);
serialize({connack, false, 0}) -> serialize({connack, 0});
serialize({publish, #{topic := Topic, payload := Payload, qos := QoS} = Message, Id}) ->
    PacketId = case QoS of
                   0 -> <<>>;
                   1 -> <<Id:16>>
               end,
    Retain = case Message of
                 #{retain := true} -> 1;
                 _ -> 0
             end,
    frame(3, QoS bsl 1 bor Retain, [<<(byte_size(Topic)):16>>, Topic, PacketId, Payload]);
serialize({puback, Id}) -> frame(4, 0, <<Id:16>>);
serialize({suback, Id, Codes}) -> frame(9, 0, [<<Id:16>> | Codes]);
serialize({unsuback, Id}) -> frame(11, 0, <<Id:16>>);
serialize(pingresp) -> frame(13, 0, <<>>).

frame(Type, Flags, Body) -> [<<Type:4, Flags:4>>, size_bytes(iolist_size(Body)), Body].

size_bytes(Size) when Size < 128 -> [Size];
size_bytes(Size) -> [128 bor (Size band 127) | size_bytes(Size bsr 7)].
