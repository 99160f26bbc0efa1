"""What the core does of a hop, in a process of its own, whose memory is the core's: it imports nothing but the payload.

Reads an order as JSON from standard input: how to reach the VM (`node`, `cookie`, `port`), a folder for the agent
(`work`), and the fields of the agent's `request`. Writes as JSON what became of it.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

from relup_remote.core.agent import Agent, outcome_of
from relup_remote.core.erlang import term
from relup_remote.core.erlang.distribution import Address, Connection
from relup_remote.core.erlang.link import DistributionLink
from relup_remote.core.erlang.term import Atom
from relup_remote.core.harmless import allowed, as_term

CALLS = 500
SECONDS = 600.0


def main() -> None:
    """Runs the hop: preflight, start, and waiting for its outcome."""
    order = json.load(sys.stdin)
    address = Address("127.0.0.1", order["port"])
    link = DistributionLink(Connection(order["node"], order["cookie"], address))
    agent = Agent(link, order["work"])
    outcome = _hop(agent, {**order["request"], "run": b"bench", "core": agent.core})
    sent = link.call("bench_meter", "sent_to", [agent.core])
    agent.unload()
    call_ms = _call_ms(link)
    link.close()
    json.dump({"outcome": outcome, "sent_bytes": sent, "peak_kb": peak_kb(), "call_ms": call_ms}, sys.stdout)


def _hop(agent: Agent, fields: dict[str, Any]) -> dict[str, Any]:
    file = {"hop": fields.pop("hop"), "calls": as_term(allowed("")), "value": None}
    value = agent.evaluate({Atom(name): item for name, item in file.items()}, SECONDS)["term"]
    request = {Atom(name): item for name, item in {**fields, "value": value}.items()}
    problems = agent.preflight(request, SECONDS)["problems"]
    if problems:
        raise problems[0]
    agent.start(request)
    # Whoever is late finds the hop gone from the VM, and its outcome in the file.
    outcome = agent.wait(lambda _event: None, lambda: SECONDS) or outcome_of(
        term.decode(Path(fields["outcome"]).read_bytes())
    )
    if outcome["result"] != "success":
        raise RuntimeError(f"the hop failed: {outcome}")
    return outcome


def _call_ms(link: DistributionLink) -> float:
    started = time.perf_counter()
    for _ in range(CALLS):
        link.call("erlang", "node", [])
    return (time.perf_counter() - started) * 1e3 / CALLS


def peak_kb(process: int | str = "self") -> int:
    """The most memory that a process has had resident since it began, or since its peak was reset."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


if __name__ == "__main__":
    main()
