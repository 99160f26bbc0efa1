# ruff: noqa: E501 (a table)
"""Every call that we make in a node's VM: one table, from which docs/calls.md is made; a test compares it with the code.

Costs were measured on a plain VM of OTP 25 with 3,000 modules and 100,000 processes, on two busy cores: orders of
magnitude, not promises.
"""

from typing import NamedTuple

from relup_remote.core.harmless import HARMLESS

STEADY = "0.2 ms"
EACH = "30 s"
NOTHING = "nothing: it reads tables of the VM"


class Calls(NamedTuple):
    """Calls of one kind: which (``module:function``), what for, and who makes them (``core`` or a part of the agent).

    ``cost``; what may ``block`` them; the ``limit``, and what comes ``after`` it.
    """

    names: str
    by: str
    purpose: str
    cost: str
    block: str
    limit: str
    after: str


GOES_ON = "the command fails with `call_timeout`; the call ends by itself, and changes nothing"
GOES_ON_OR_WITHOUT = f"{GOES_ON}. `inv status` and `inv verify` go on without it, with a warning"

CALLS: tuple[Calls, ...] = (
    Calls(
        "erlang:node erlang:whereis init:get_status application:loaded_applications erlang:system_info erlang:time_offset erlang:convert_time_unit",
        "command",
        "shows who answers, since when, and whether a hop or Mnesia is there",
        STEADY, NOTHING, EACH, GOES_ON,
    ),
    Calls(
        "emqx_release:version emqx:is_running emqx_stats:getstat mria_rlog:role mria_config:whoami",
        "command",
        "what the broker says of itself; if it has no such function, it is not asked further",
        STEADY, "what the broker does in them", EACH, GOES_ON_OR_WITHOUT,
    ),
    Calls(
        "emqx:running_nodes emqx:cluster_nodes",
        "command",
        "the nodes of the cluster",
        "1 ms", "a node of the cluster that does not answer", EACH, GOES_ON_OR_WITHOUT,
    ),
    Calls(
        "file:read_file_info",
        "command",
        "whether the VM may write the marker, or a backup's tables: a service may be forbidden to",
        STEADY, "the disk", EACH, GOES_ON,
    ),
    Calls(
        "rpc:call",
        "command",
        "versions of the other nodes, and the locks on their hosts",
        "1 ms and a round trip for each node", "the other node, or the way to it", "5 s for each node",
        "that node counts as one that can't be asked",
    ),
    Calls(
        "mnesia:table_info mnesia:system_info mnesia:dirty_select mnesia:dirty_write mnesia:dirty_delete mnesia:sync_log",
        "command",
        "the plugin's table of attempts, if there is one, and what a backup must hold",
        "1 ms, and a write to disk", "a disk that is slow", EACH, "the row is written by the next command",
    ),
    Calls(
        "erl_scan:string erl_parse:parse_exprs erlang:spawn erlang:registered gen_server:call erl_eval:exprs",
        "command",
        "starts the owner of all that we begin in the VM (relup_remote_owner_1 … 8): it starts first and ends last",
        "20 ms", NOTHING, EACH, "nothing was begun",
    ),
    Calls(
        "compile:noenv_file code:load_binary",
        "command",
        "the agent, as one module; a plan and an upgrade need all of it, a verify a quarter, a status none; it is compiled"
        " the first time, and kept on the host; a preparation has also compiled what a verify needs",
        "the first time 0.7 s of one scheduler (a verify: 0.2 s), then 2 ms", "the code server, while others load modules", "60 s",
        "the command fails; the owner takes out what was loaded",
    ),
    Calls(
        "erlang:monitor_node erlang:module_loaded erlang:check_old_code erlang:system_info code:purge code:delete"
        " gen_server:reply",
        "owner",
        "notices that the command is gone; then ends what was begun, and removes the agent",
        "1 to 3 s for a module: each process is asked whether it runs it", "processes that are in a long native function",
        "20 s for each thing but the modules", "it goes on with the next thing; what hangs is killed",
    ),
    Calls(
        "erlang:fun_info erl_eval:fun_data erl_eval:new_bindings erl_eval:expr erl_eval:exprs epp:set_encoding file:open"
        " file:read_file file:format_error filelib:file_size re:run io:parse_erl_exprs erlang:system_info erlang:monotonic_time"
        " erl_internal:arith_op",
        "value",
        "evaluates the hop's file, once; below is a list of what it may call",
        "20 ms and 3 MB for 3,000 instructions", "the file's own loops", "5 s and 128 MB",
        "`hop_too_costly`: the process that evaluates it is killed, nothing has changed",
    ),
    Calls(
        "beam_lib:chunks compile:noenv_forms epp:open epp:close epp:read_encoding epp:scan_erl_form erl_scan:string erl_parse:parse_form"
        " erl_lint:is_guard_test erl_internal:bif erl_internal:guard_bif erl_internal:list_op file:read_file file:read_file_info"
        " zlib:open zlib:inflateInit zlib:safeInflate zlib:close",
        "helper",
        "reads the catalogue's helpers that the hop uses, and compiles those that are sources, after it has removed what a"
        " compiler would compute at length",
        "500 ms and 20 MB for 1,000 lines", "macros that grow", "10 s and 256 MB for each",
        "`helper_not_compiled`: the process that compiles it is killed, nothing has changed",
    ),
    Calls(
        "beam_lib:chunks beam_lib:md5 beam_opcodes:opname file:read_file file:consult file:format_error"
        " filelib:wildcard erlang:get_module_info erlang:module_loaded application:get_key"
        " application:loaded_applications application_controller:get_master code:which filelib:is_regular",
        "target",
        "compares what runs with what the hop would load",
        "0.2 ms a module", "the disk; the code server, for `code:which`", "call_timeout, 30 s", GOES_ON,
    ),
    Calls(
        "application:loaded_applications application_controller:get_master erlang:phash2 erlang:monotonic_time"
        " erlang:check_old_code erlang:function_exported erlang:system_info proc_lib:translate_initial_call",
        "processes",
        "finds out what each process is, from outside: no process is asked",
        "200 ms for 100,000 processes", "a process in a long native function, which is looked at from another process",
        "10 s for a plan, step_timeout in a hop, for all of it", "`which_children_failed` names the process",
    ),
    Calls(
        "application_master:get_child gen_server:call gen:call sys:get_status",
        "processes",
        "the top process of an application, the children of a supervisor of stdlib's (never of what is only declared one),"
        " the handlers of an event manager, where a module can be one; 64 at a time, once in a hop, and again where links have changed; whether"
        " a supervisor that hibernates is suspended, unless it has more than 10,000 children",
        "75 ms for a supervisor of 100,000 children; 500 ms with all that is made of it", "a supervisor that is busy",
        "10 s for a plan, step_timeout in a hop, for all of them together (after a hop 2 s)",
        "`which_children_failed` and `get_modules_failed` name them; whoever asked is gone, so a late answer goes nowhere",
    ),
    Calls(
        "erlang:check_process_code",
        "processes",
        "which processes run old code of a module that has some",
        "0.9 s a module; none where it has no old code", "processes that are in a long native function",
        "two million questions", "the result says that this was not checked; a hop checks again before it loads",
    ),
    Calls(
        "beam_lib:md5 code:get_mode erlang:check_old_code file:read_file",
        "verify",
        "compares all modules with the tree, once and at low priority; looks for processes that stand still",
        "300 ms and 0.2 ms a module", "the disk", "120 s, or call_timeout where it is more", GOES_ON,
    ),
    Calls(
        "application:which_applications application:loaded_applications application_controller:get_master beam_lib:all_chunks beam_lib:build_module"
        " code:get_mode code:is_sticky code:load_binary code:prepare_loading erlang:check_old_code erlang:function_exported"
        " erlang:is_builtin erlang:module_loaded",
        "preflight",
        "goes through the hop; has the VM read each beam; asks a copy of the new emqx_release for its version",
        "3 ms a module that the hop loads; 1 to 3 s for the copy to go", "the application controller while an application starts",
        "10 s for the controller, 5 s for the copy, call_timeout for all", "the result says so; nothing has changed",
    ),
    Calls(
        "application:get_application proc_lib:translate_initial_call",
        "text",
        "which application a process of a report belongs to",
        "0.01 ms", NOTHING, "call_timeout, 30 s", GOES_ON,
    ),
    Calls(
        "application:ensure_all_started application:info application:load application:stop application:unload code:add_patha"
        " code:add_pathz code:del_path code:delete code:finish_loading code:get_path code:lib_dir code:load_binary"
        " code:prepare_loading code:purge code:replace_path code:soft_purge erlang:check_old_code erlang:module_loaded"
        " erlang:monotonic_time filelib:is_dir sys:replace_state",
        "hop",
        "the hop's instructions",
        "see bench/README.md", "what the hop itself calls, stops and starts", "step_timeout for each, hop_timeout for all",
        "see failures.md",
    ),
    Calls(
        "sys:get_state gen_server:send_request gen_server:wait_response",
        "replace",
        "whether a supervisor may restart a child whose state is lost, and has it do so",
        "1 ms", "a supervisor that is busy", "step_timeout for each", "see failures.md",
    ),
    Calls(
        "erlang:start_timer erlang:cancel_timer erlang:monotonic_time erlang:system_info",
        "crowd",
        "suspends, changes and resumes processes, by system messages",
        "20 ms for 1,000 processes", "processes that are busy", "5 s to stand still, step_timeout to change", "see failures.md",
    ),
    Calls(
        "code:finish_loading code:get_path code:load_binary code:prepare_loading code:soft_purge code:delete"
        " erlang:module_loaded erlang:monotonic_time",
        "undo",
        "undoes what a failed hop has done",
        "as the hop", "processes that run what was loaded", "step_timeout for each", "see failures.md",
    ),
    Calls(
        "application:which_applications erlang:monitor_node erlang:monotonic_time file:change_mode file:close file:open"
        " file:read_file file:rename file:sync file:truncate file:write init:restart logger:notice",
        "agent",
        "the hop's coordinator: its outcome as a file, a line in the node's log when it begins and ends, the restart asked for",
        "1 ms, and a write to disk", "the disk; the application controller", "5 s for the controller", "see failures.md",
    ),
    Calls(
        "mnesia:wait_for_tables mnesia:activate_checkpoint mnesia:backup_checkpoint mnesia:deactivate_checkpoint mnesia_tm:get_info mnesia:select mnesia:async_dirty mnesia:system_info mnesia_lib:semantics mnesia:table_info mnesia_backup:open_write mnesia_backup:write mnesia_backup:commit_write mnesia_backup:abort_write",
        "backup",
        "writes a backup of the tables",
        "as long as the tables take", "the disk", "see backup.md", "see backup.md",
    ),
)  # fmt: skip


def page() -> str:
    """docs/calls.md, without its first line."""
    lines = [
        "# What we call in a VM",
        "",
        "A command asks a running node everything over one connection. Each call runs in a process of its own in the VM.",
        "The last column says what happens when the limit is over. A hop writes two lines to the node's log (`logger:notice`,",
        "when it begins and ends). **No other call writes to the log.** A look leaves no atom, module, process, port, table or",
        "name behind after the first of its kind, because what enters a VM has one of a few names.",
        "",
        "Costs were measured with 3,000 modules and 100,000 processes on two busy cores; they are orders of magnitude.",
        "Functions of data (`lists`, `maps`, …) are left out.",
        "",
        "| who | calls | what for | costs | what may block it | limit | after that |",
        "|---|---|---|---|---|---|---|",
    ]
    for each in CALLS:
        names = ", ".join(f"`{name}`" for name in each.names.split())
        cells = (each.by, names, each.purpose, each.cost, each.block, each.limit, each.after)
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "## What a hop's file may call",
        "",
        "A hop's file is an Erlang script. It is evaluated once, when it is planned, in a process of its own that may take 5 s",
        "and 128 MB; the hop then runs exactly that value. Functions that the file calls must be known to be harmless. Others are refused",
        "by name (`hop_call_not_allowed`). `--allow-calls os:getenv/1,…` of `plan` and `upgrade` allows them, which is",
        "recorded. Instructions, callbacks and helpers may call anything: they are what the hop does. The same holds for a fun",
        "of the file that is a part of the value and is called later.",
        "",
        "Values are measured before they are given to a function, so that no function takes long or much memory at once:",
        "numbers of up to 4,096 bits, terms of up to a million parts, binaries of up to 4 MB, a text of up to 1 MB with 50,000",
        "words. More is `hop_too_costly`. The head of a fun may not name a variable twice.",
        "",
        "| module | functions |",
        "|---|---|",
    ]
    lines += [
        f"| `{module}` | {', '.join(f'`{name}`' for name in names.split())} |" for module, names in HARMLESS.items()
    ]
    return "\n".join(lines) + "\n"
