"""Payload, shipped to hosts (Python 3.6 and up, standard library only): does what a test's request says."""

import getpass
import hashlib
import json
import os
import sys
import time


def main():
    stdin = sys.stdin.buffer
    request = json.loads(stdin.readline().decode("utf-8"))
    say("hello", pid=os.getpid(), parent=os.getppid(), user=getpass.getuser())
    return ACTS[request["act"]](request, stdin)


def say(kind, **facts):
    sys.stdout.write(json.dumps(dict(event=kind, **facts)) + "\n")
    sys.stdout.flush()


def echo(request, _stdin):
    loaded = sys.modules["relup_remote.core.main"]
    facts = {
        "request": request,
        "home": os.path.expanduser("~"),
        "uid": os.getuid(),
        "groups": os.getgroups(),
        "cwd": os.getcwd(),
        "compiled": (loaded.__spec__.cached or loaded.__loader__.get_filename(loaded.__name__)).endswith(".pyc"),
        "source": "def echo" in loaded.__loader__.get_source(loaded.__name__),
        "argv": sys.argv,
    }
    say("result", outcome="ok", error=None, facts=facts)
    return 0


def want(request, stdin):
    say("step", step="stage", status="start")
    say("want", file=request.get("file", "tarball"), offset=request["offset"], bytes=request["bytes"])
    digest, left = hashlib.sha256(), request["bytes"]
    while left:
        part = stdin.read(min(left, 1 << 20))
        digest.update(part)
        left -= len(part)
        say("progress", step="stage", done=request["bytes"] - left, total=request["bytes"], unit="bytes")
    say("result", outcome="staged", error=None, facts={"sha256": digest.hexdigest()})
    return 0


def refuse_midway(request, stdin):
    say("want", file="tarball", offset=0, bytes=request["bytes"])
    stdin.read(1 << 20)
    say("result", outcome="failed", error={"err_type": "disk_full"}, facts={})
    return 1


def die(_request, _stdin):
    sys.stderr.write("noise\n" * 100000 + "the last words\n")
    sys.stderr.flush()
    return 7


def babble(_request, _stdin):
    sys.stdout.write("not an event\n")
    sys.stdout.flush()
    return 0


def stop(request, stdin):
    say("step", step="apply", status="start")
    stdin.read()
    return 0


def tick(request, _stdin):
    for _ in range(request["ticks"]):
        time.sleep(request["pause"])
        say("tick")
    say("result", outcome="ok", error=None, facts={})
    return 0


def owned(request, stdin):
    say("step", step="plan", status="start")
    if getpass.getuser() == request["owner"]:
        return echo(request, stdin)
    error = {"err_type": "wrong_user", "detail": {"owner": request["owner"]}}
    say("result", outcome="refused", error=error, facts={})
    return 3


ACTS = {act.__name__: act for act in (echo, want, refuse_midway, die, babble, stop, tick, owned)}
