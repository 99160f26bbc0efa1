"""A process that lives in old code of a module, as one that has waited there since before the last load."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.cluster import Lab
from lab.release import sources

NAME = "lab_lingering"

# The module as the node has it, with a function to wait in; its process belongs to the application `emqx`.
_LINGER = """
{{ok, {module}, Code}} = compile:file("{source}", [binary, deterministic]),
code:purge({module}),
{{module, {module}}} = code:load_binary({module}, code:which({module}), Code),
{{group_leader, Leader}} = process_info(whereis(emqx_sup), group_leader),
Pid = spawn({module}, lab_linger, []),
group_leader(Leader, Pid),
register({name}, Pid),
ok
"""
_RELOAD = "true = code:soft_purge({module}), {{module, _}} = code:load_file({module}), erlang:check_old_code({module})"
_END = """
case whereis({name}) of
    undefined -> gone;
    Pid ->
        Ref = monitor(process, Pid),
        Pid ! stop,
        receive {{'DOWN', Ref, process, Pid, _}} -> ended end
end
"""


def enter(lab: Lab, host: str, module: str, release: str, folder: Path) -> None:
    """Has a process wait in the current code of ``module``, one of the application emqx in ``release``.

    The code is the release's but for the function waited in; its source goes to ``folder``.
    """
    app = next(app for app in sources.apps(release) if app.name == "emqx")
    head = f"-module({module}).\n"
    text = app.modules[module].replace(head, f"{head}-export([lab_linger/0]).\n", 1)
    source = folder / f"{module}.erl"
    source.write_text(f"{text}\nlab_linger() -> receive stop -> ok end.\n")
    assert lab.eval(host, _LINGER.format(module=module, source=source, name=NAME)) == "ok"


def reload(lab: Lab, host: str, module: str) -> None:
    """Loads ``module`` as the node would find it; what was current is old then."""
    assert lab.eval(host, _RELOAD.format(module=module)) == "true"


def end(lab: Lab, host: str) -> str:
    """Ends the process, and says ``ended``, or ``gone`` if it was not there any more."""
    return lab.eval(host, _END.format(name=NAME))


@contextmanager
def lingering(lab: Lab, host: str, module: str, release: str, folder: Path) -> Iterator[None]:
    """A process in old code of ``module``, whose current code is what the node had before."""
    enter(lab, host, module, release, folder)
    reload(lab, host, module)
    try:
        yield
    finally:
        end(lab, host)
        lab.eval(host, f"code:purge({module})")
