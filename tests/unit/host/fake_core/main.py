"""Payload, shipped to hosts (Python 3.6 and up, standard library only): does what a test's request says."""

import getpass
import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, BinaryIO, Dict  # noqa: UP035

Request = Dict[str, Any]  # noqa: UP006


def main() -> int:
    stdin = sys.stdin.buffer
    request = json.loads(stdin.readline().decode("utf-8"))
    say("hello", pid=os.getpid(), core=os.getppid(), parent=parent_of(os.getppid()), python="3", user=getpass.getuser())
    act = ACTS[request["act"]]
    return act(request, stdin)


def parent_of(pid: int) -> int:
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("PPid:")]
    return int(line.split()[1])


def say(kind: str, **facts: Any) -> None:
    sys.stdout.write(json.dumps(dict(event=kind, **facts)) + "\n")
    sys.stdout.flush()


def end(outcome: str, error: Any = None, **facts: Any) -> None:
    if error is not None:
        error = {"message": "So it is.", "hint": "None.", "stage": None, "detail": {}, **error}
    nothing: Any = {"node": None, "from": None, "target": None, "running": None, "seconds": 0.0}
    say("result", outcome=outcome, error=error, facts=facts, steps=[], problems=[], warnings=[], **nothing)


def echo(request: Request, _stdin: BinaryIO) -> int:
    loaded: Any = sys.modules[__name__]
    facts = {
        "request": request,
        "home": str(Path.home()),
        "python": sys.version,
        "uid": os.getuid(),
        "groups": os.getgroups(),
        "compiled": loaded.__file__.endswith(".pyc"),
        "source": "def echo" in loaded.__loader__.get_source(__name__),
        "argv": sys.argv,
        "ignored": [number for number in (14, 15, 17) if signal.getsignal(number) is signal.SIG_IGN],
    }
    end("ok", **facts)
    return 0


def want(request: Request, stdin: BinaryIO) -> int:
    say("step", step="stage", status="start")
    say("want", file=request.get("file", "tarball"), offset=request["offset"], bytes=request["bytes"])
    digest, left = hashlib.sha256(), request["bytes"]
    while left:
        part = stdin.read(min(left, 1 << 20))
        digest.update(part)
        left -= len(part)
        say("progress", step="stage", done=request["bytes"] - left, total=request["bytes"], unit="bytes")
    from .late import WORDS

    end("staged", sha256=digest.hexdigest(), late=WORDS)
    return 0


def refuse_midway(request: Request, stdin: BinaryIO) -> int:
    say("want", file="tarball", offset=0, bytes=request["bytes"])
    stdin.read(1 << 20)
    end("failed", {"err_type": "disk_full"})
    return 1


def sip(request: Request, stdin: BinaryIO) -> int:
    say("step", step="stage", status="start")
    say("want", file="tarball", offset=0, bytes=request["bytes"])
    while stdin.read(1):
        time.sleep(0.05)
        say("alive")
    return 0


def die(_request: Request, _stdin: BinaryIO) -> int:
    sys.stderr.write("noise\n" * 100000 + "the last words\n")
    sys.stderr.flush()
    return 7


def babble(_request: Request, _stdin: BinaryIO) -> int:
    sys.stdout.write("not an event\n")
    sys.stdout.flush()
    return 0


def stop(_request: Request, stdin: BinaryIO) -> int:
    say("step", step="apply", status="start")
    stdin.read()
    return 0


def tick(request: Request, _stdin: BinaryIO) -> int:
    for _ in range(request["ticks"]):
        time.sleep(request["pause"])
        say(request["kind"], message="still here")
    end("ok")
    return 0


def owned(request: Request, stdin: BinaryIO) -> int:
    if getpass.getuser() == request["owner"]:
        return echo(request, stdin)
    say("alive")
    end("refused", {"err_type": "wrong_user", "detail": {"owner": request["owner"]}})
    return 3


def hidden(request: Request, stdin: BinaryIO) -> int:
    """A node that each user of `asks` can't see or does not own, and takes for that of another."""
    owner = request["asks"].get(getpass.getuser())
    if owner is None:
        return echo(request, stdin)
    end("refused", {"err_type": "wrong_user", "message": "It can't be seen.", "detail": {"owner": owner}})
    return 3


ACTS = {act.__name__: act for act in (echo, want, refuse_midway, sip, die, babble, stop, tick, owned, hidden)}
