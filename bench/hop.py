"""A hop of 200 load_modules and one update in a live node, and the time of a call, each against the plain way.

The plain way is run in the same VM just before: modules one by one; the processes of the update suspended, changed and
resumed one after the other; a call through the node's wrapper.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from tabulate import tabulate

from lab.cluster import Lab
from lab.layout import PROJECT, Ports
from relup_remote.core import running_node
from relup_remote.core.erlang.link import WrapperLink, connect

TARGET = "5.10.9-lab"
HOP_SECONDS, CALL_SECONDS = 1.0, 0.002
PORT_OFFSET = 2500

# What is loaded anew is what runs already: its cost is that of any load.
PLAIN_LOADS = """
Rules = [M || {{M, _}} <- code:all_loaded(), lists:prefix("emqx_rules_", atom_to_list(M))],
{{Us, _}} = timer:tc(fun() -> [begin code:soft_purge(M), F = code:which(M), {{ok, B}} = file:read_file(F),
    {{module, M}} = code:load_binary(M, F, B) end || M <- Rules] end),
[code:soft_purge(M) || M <- Rules],
{{length(Rules), Us}}
"""
PLAIN_UPDATE = """
Pids = [P || {{_, P, _, _}} <- supervisor:which_children(emqx_pool_sup), is_pid(P)],
{{Us, _}} = timer:tc(fun() ->
    [sys:suspend(P) || P <- Pids],
    [sys:change_code(P, emqx_pool_worker_none, "0", []) || P <- Pids],
    [sys:resume(P) || P <- Pids] end),
{{length(Pids), Us}}
"""


def main(arguments: Sequence[str]) -> int:
    """Prints the tables; 0 if the hop takes under a second of the VM's time and a call under 2 ms."""
    parser = argparse.ArgumentParser(prog="bench hop", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--workers", type=int, default=1000, help="processes of the update (default 1000)")
    parser.add_argument("--calls", type=int, default=2000, help="calls to time (default 2000)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="bench-hop-") as folder:
        lab = Lab(folder, nodes=1, ports=Ports().shifted(PORT_OFFSET))
        try:
            lab.up()
            lab.eval("n1", f"emqx_pool:start_workers({options.workers})")
            calls = time_calls(lab, options.calls)
            loads, load_us = pair(lab.eval("n1", one_line(PLAIN_LOADS)))
            workers, update_us = pair(lab.eval("n1", one_line(PLAIN_UPDATE)))
            hop = upgrade(lab)
        finally:
            lab.down()
    update = next(each for each in hop["instructions"] if each["text"].startswith("{update"))
    swapped = sum(each["seconds"] for each in hop["instructions"] if each["text"].startswith("{load_module"))
    rows = [
        [f"{loads} modules", load_us / 1e6, swapped, swapped / (load_us / 1e6)],
        [
            f"suspension of {workers} processes",
            update_us / 1e6,
            hop["suspended_ms"] / 1e3,
            hop["suspended_ms"] * 1e3 / update_us,
        ],
        ["a call", calls["wrapper"], calls["distribution"], calls["distribution"] / calls["wrapper"]],
    ]
    print(tabulate(rows, headers=["", "plain way, s", "ours, s", "ratio"], floatfmt=(".0f", ".4f", ".4f", ".4f")))
    print(f"the hop, first instruction to marker: {hop['seconds']:.3f} s; {update['does']}")
    met = hop["seconds"] < HOP_SECONDS and calls["distribution"] < CALL_SECONDS
    print(
        f"target, {HOP_SECONDS:g} s for the hop and {CALL_SECONDS * 1e3:g} ms for a call: {'met' if met else 'MISSED'}"
    )
    return int(not met)


def time_calls(lab: Lab, count: int) -> dict[str, float]:
    """Seconds of a call, by link, once connected."""
    node = running_node.find(str(lab.root("n1")), None)
    assert node is not None
    link = connect(node.peer)
    started = time.perf_counter()
    for _ in range(count):
        link.call("erlang", "node", [])
    direct = (time.perf_counter() - started) / count
    link.close()
    wrapper = WrapperLink(node.peer.wrapper)
    started = time.perf_counter()
    wrapper.call("erlang", "node", [])
    return {"distribution": direct, "wrapper": time.perf_counter() - started}


def upgrade(lab: Lab) -> dict[str, Any]:
    """The hop's report of a whole upgrade of the lab's only node."""
    words = [
        "upgrade",
        "--inventory",
        str(lab.inventory_path),
        "--tarball",
        str(lab.tarball(TARGET)),
        "--yes",
        "--json",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "relup_remote", *words], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(done.stdout + done.stderr)
    return dict(json.loads(done.stdout)["hosts"][0]["facts"]["hop"])


def one_line(expression: str) -> str:
    return " ".join(expression.format().split())


def pair(printed: str) -> tuple[int, int]:
    """``{Count, Microseconds}`` as numbers."""
    count, microseconds = printed.strip("{} \n").split(",")
    return int(count), int(microseconds)
