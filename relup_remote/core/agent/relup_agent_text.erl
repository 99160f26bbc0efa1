%% Payload, shipped to hosts: words for reports. All text that leaves the VM is UTF-8 in binaries.
-module(relup_agent_text).

-export([text/2, short/1, count/3, process/1, problem/4, problem/5, warning/4, warning/5]).

text(Format, Args) -> unicode:characters_to_binary(io_lib:format(Format, Args)).

%% A term, cut where it gets long.
short(Term) -> text("~0tP", [Term, 30]).

count(1, One, _) -> ["1 ", One];
count(N, _, Many) -> [integer_to_list(N), $\s, Many].

%% Who a process is: #{pid, name, initial_call, application}.
process(Pid) ->
    Name = case process_info(Pid, registered_name) of
               {registered_name, Registered} -> atom_to_binary(Registered, utf8);
               _ -> <<>>
           end,
    App = case application:get_application(Pid) of
              {ok, Found} -> atom_to_binary(Found, utf8);
              undefined -> <<>>
          end,
    #{pid => text("~p", [Pid]), name => Name, initial_call => short(initial_call(Pid)), application => App}.

%% What proc_lib knows nothing of was spawned without it.
initial_call(Pid) ->
    case {proc_lib:translate_initial_call(Pid), process_info(Pid, initial_call)} of
        {{proc_lib, init_p, 5}, {initial_call, Call}} -> Call;
        {Call, _} -> Call
    end.

%% Something wrong with instruction N; 0: with the whole hop.
problem(N, Type, Format, Args) -> problem(N, Type, Format, Args, #{}).

problem(N, Type, Format, Args, Detail) ->
    #{n => N, err_type => Type, message => text(Format, Args), detail => Detail, severity => error}.

warning(N, Type, Format, Args) -> warning(N, Type, Format, Args, #{}).

warning(N, Type, Format, Args, Detail) -> (problem(N, Type, Format, Args, Detail))#{severity := warning}.
