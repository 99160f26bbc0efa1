"""`--watch`: a look that is taken again and again, until all hosts are well and stay so."""

import sys
from collections.abc import Callable
from datetime import datetime

from relup_remote.commands import options
from relup_remote.commands.invocation import Invocation
from relup_remote.rollout.rows import Row, exit_status
from relup_remote.rollout.stop import Stop
from relup_remote.summary.text import clean, seconds
from relup_remote.usage import UsageError
from relup_remote.watching import Patience, until_stable


def patience(watch: bool, stable: str, timeout: str) -> Patience | None:
    """What the options ask for; None for a single look. Raises `UsageError` (``bad_option``)."""
    if not watch:
        for name, value in (("stable", stable), ("timeout", timeout)):
            if value:
                raise UsageError("bad_option", f"--{name} needs --watch")
        return None
    return Patience(
        options.duration("stable", stable, int(Patience.stable)),
        options.duration("timeout", timeout, int(Patience.timeout)),
    )


def show_looks(call: Invocation, look: Callable[[], list[Row]], asked: Patience | None, *, quiet: bool) -> None:
    """Look once and show it, or as long as ``asked``: changes as they come, and the last look in the end.

    ``call`` is to be a quiet one if it watches, for each look would tell the same again. Ctrl-C ends it.
    """
    if asked is None:
        call.show(look())
        return

    def tell(line: str) -> None:
        if not quiet:
            print(f"{datetime.now():%H:%M:%S} {clean(line)}", file=sys.stderr, flush=True)

    call.allow(asked.timeout)
    with Stop(deadline=call.deadline) as stop:
        seen = until_stable(look, stop.wait, tell, asked)
    how_often = "once" if seen.looks == 1 else f"{seen.looks} times"
    if seen.stable:
        ending = f"all hosts passed for {seconds(asked.stable)}"
    elif stop:
        ending = "interrupted"
    else:
        ending = f"not stable within {seconds(asked.timeout)}"
    ending += f" (checked {how_often} in {seconds(seen.seconds)})"
    tell(ending)
    watched = {"stable": seen.stable, "looks": seen.looks, "seconds": round(seen.seconds, 3)}
    # Hosts that were good at the last look, but not for long enough, are not what was asked for.
    status = None if seen.stable else exit_status(seen.rows) or 1
    call.show(seen.rows, more={"watch": watched}, after="" if seen.stable else ending, status=status)
