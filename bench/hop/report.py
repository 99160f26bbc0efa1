"""What the contests came to: tables, and the targets that were missed."""

import statistics
from collections.abc import Sequence

from tabulate import tabulate

from .contest import OURS, PLAIN, Contest

HOP_SECONDS, CALL_MS = 1.0, 2.0
MORE_BYTES = 2000
"""What the VM may send more to the core for the most processes than for the fewest."""


def noticed(contests: Sequence[Contest]) -> str:
    """The table of what clients could notice."""
    rows = [
        [
            contest.name,
            *(min(run.ms for run in runs) for runs in contest.runs.values()),
            *(statistics.median(run.ms for run in runs) for runs in contest.runs.values()),
            contest.ratio(lambda run: run.ms),
            *(statistics.median(run.longest_ms for run in runs) for runs in contest.runs.values()),
            contest.ratio(lambda run: run.longest_ms),
        ]
        for contest in contests
    ]
    headers = ["", "plain\nbest ms", "ours\nbest ms", "plain\nmedian ms", "ours\nmedian ms", "\nratio"]
    waited = ["plain, longest\ncall ms", "ours, longest\ncall ms", "\nratio"]
    return tabulate(rows, headers=[*headers, *waited], floatfmt=".2f")


def taken(contests: Sequence[Contest]) -> str:
    """The table of memory, and of what the core was sent."""
    rows = [
        [
            contest.name,
            contest.memory[PLAIN].before,
            *(contest.memory[way].peak for way in contest.runs),
            *(contest.memory[way].resident for way in contest.runs),
            max(run.report["peak_kb"] for run in contest.runs[OURS]) / 1e3,
            _sent(contest) / 1e3,
        ]
        for contest in contests
    ]
    headers = ["MB", "VM\nbefore", "plain\nat most", "ours\nat most", "plain\nresident", "ours\nresident"]
    return tabulate(rows, headers=[*headers, "core\nresident", "VM to\ncore, kB"], floatfmt=".1f")


def summary(modules: Contest) -> str:
    """The line about a whole hop and a call."""
    return f"the hop of {modules.name}: {_hop_seconds(modules):.2f} s; a call: {_call_ms(modules):.2f} ms"


def misses(modules: Contest, updates: Sequence[Contest]) -> list[str]:
    """The targets that were not met."""
    found = [
        f"{contest.name}: more than {contest.target:g} of the plain way"
        for contest in (modules, *updates)
        if contest.ratio(lambda run: run.ms) > contest.target
    ]
    if max(map(_sent, updates)) - min(map(_sent, updates)) > MORE_BYTES:
        found.append("what the core is sent grows with the processes")
    if _hop_seconds(modules) > HOP_SECONDS:
        found.append(f"the hop of {modules.name} takes more than {HOP_SECONDS:g} s")
    if _call_ms(modules) > CALL_MS:
        found.append(f"a call takes more than {CALL_MS:g} ms")
    return found


def _sent(contest: Contest) -> int:
    return max(int(run.report["sent_bytes"]) for run in contest.runs[OURS])


def _hop_seconds(contest: Contest) -> float:
    """From the first instruction to the marker, at best."""
    return min(float(run.report["outcome"]["seconds"]) for run in contest.runs[OURS])


def _call_ms(contest: Contest) -> float:
    """From the core to the VM and back, at best."""
    return min(float(run.report["call_ms"]) for run in contest.runs[OURS])
