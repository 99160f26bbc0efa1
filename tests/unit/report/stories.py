"""Runs to report on, told to a real ledger: what happened, without hosts on which it happened."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from relup_remote.core.protocol import Failure
from relup_remote.rollout import rows
from relup_remote.rollout.ledger import Ledger, Record, open_run
from relup_remote.rollout.plan import Gates, Member, Plan
from relup_remote.rollout.waves import sizes, split

BEGIN = 1_795_536_000_000
RUN = "2026-11-24T16-00-00-s70y"
OLD, NEW = "5.10.4", "5.10.5"
STEPS = {"stage": 620, "checksum": 210, "patches": 3, "extract": 870, "apply": 540, "verify": 120, "cleanup": 0}
"""What each step takes, in milliseconds."""

INSTRUCTIONS = (
    ("{load_module,emqx_release}", "loaded, in one swap with 1 other", 0.011, 0.42),
    ("{load_module,emqx_broker}", "loaded, in one swap with 1 other", 0.011, 0.42),
    ("{update,emqx_channel,{advanced,[]}}", "4021 processes, suspended for 31.6 ms", 0.094, 31.6),
    ("{restart_application,emqx_retainer}", "restarted, 3 of 9 modules replaced, 0 removed", 0.215, None),
    ("on_complete", "called emqx_post_upgrade:on_complete/1", 0.004, None),
)


class Story:
    """A run in the making: a ledger, and a clock that only the story moves."""

    def __init__(self, folder: Path, hosts: Sequence[str], waves: str = "1,100%", seed: int = 7, **plan: Any) -> None:
        self.folder = folder
        self.now = BEGIN
        self.rows: dict[str, rows.Row] = {}
        self._random = random.Random(seed)
        self.counts = {host: 4000 + self._random.randrange(900) for host in hosts}
        members = tuple(self._member(number, host) for number, host in enumerate(hosts, 1))
        parts = [tuple(wave) for wave in split(hosts, sizes(waves))]
        self.plan = Plan(**{**self._plan(members, parts), **plan})
        self._ledger = Ledger.create(self.plan.to_json(), folder)

    def _member(self, number: int, host: str) -> Member:
        role = "replicant" if number <= 2 else "core"
        address, node = f"10.0.0.{number}", f"emqx@10.0.0.{number}"
        return Member(host, address, node, role, OLD, connections=self.counts[host], bytes=71_000_000)

    def _plan(self, members: tuple[Member, ...], waves: list[tuple[str, ...]]) -> dict[str, Any]:
        return {
            "run": RUN,
            "command": "upgrade",
            "operator": "alice@desk",
            "started_at": BEGIN,
            "version": "0.1.0",
            "inventory": "inventory/hosts.yml",
            "selection": ("n*",),
            "target": NEW,
            "tarball": {
                "path": "/r/emqx.tar.gz",
                "name": "emqx-5.10.5.tar.gz",
                "bytes": 71_000_000,
                "sha256": "a1" * 32,
            },
            "hops": ({"file": "5.10.4-to-5.10.5.relup", "from": OLD, "target": NEW, "sha256": "b2" * 32},),
            "helpers": ({"file": "emqx_post_upgrade_5_10_5.erl", "sha256": "c3" * 32},),
            "hosts": members,
            "waves": tuple(waves),
            "nodes": tuple(str(member.node) for member in members),
            "gates": Gates(),
            "options": {"hop_timeout": 900},
        }

    def record(self) -> Record:
        """The run as its ledger tells it; nothing more is told."""
        self._ledger.close()
        return open_run(self.plan.run, self.folder)

    def passes(self, ms: int) -> None:
        """Time passes."""
        self.now += ms

    def tell(self, event: str, **facts: Any) -> None:
        """Something happens."""
        self._ledger({"event": event, "at": self.now, **facts})

    def begins(self, status: str = "begin", asked_ms: int = 900) -> None:
        """A controller looks at all hosts, asks the operator, and takes the run up."""
        plan = self.plan
        about = {"command": plan.command, "operator": plan.operator, "target": plan.target}
        self.tell("run", status=status, run=plan.run, plan=plan.to_json(), **about)
        self.tell("phase", phase="survey", hosts=[member.host for member in plan.hosts])
        for member in plan.hosts:
            self.tell("host", host=member.host, phase="survey", status="start")
        for member in plan.hosts:
            self.passes(30)
            found = row(member.host, "ready", steps=(), connections=member.connections)
            self.tell("host", host=member.host, phase="survey", status="end", row=found)
            self.tell("connections", host=member.host, count=member.connections)
        self.passes(asked_ms)
        self.tell("phase", phase="lock", hosts=[member.host for member in plan.hosts])

    def prepared(self) -> None:
        """All hosts are prepared at once."""
        hosts = [member.host for member in self.plan.hosts]
        self.tell("phase", phase="prepare", hosts=hosts)
        for host in hosts:
            self.tell("host", host=host, phase="prepare", status="start")
            self.tell("step", host=host, step="stage", status="start")
        for host in hosts:
            self.passes(140)
            self.tell("step", host=host, step="stage", status="ok", seconds=0.62, detail={})
            self.tell("host", host=host, phase="prepare", status="end", row=row(host, "prepared", steps=("stage",)))

    def applied(self, *hosts: str, fails: str = "", **row_parts: Any) -> None:
        """Hosts are upgraded, all at once, up to a step that ``fails``; ``row_parts`` replace what rows would say."""
        for host in hosts:
            self.tell("host", host=host, phase="apply", status="start")
        for step, ms in STEPS.items():
            for host in hosts:
                self.tell("step", host=host, step=step, status="start")
            self.passes(ms + self._random.randrange(20))
            for host in hosts:
                status = "skipped" if step == "cleanup" else "failed" if fails == step else "ok"
                self.tell("step", host=host, step=step, status=status, seconds=ms / 1000, detail={})
            if step == fails:
                break
        for host in hosts:
            took = sum(STEPS.values()) / 1000 + self._random.random()
            made = {**row(host, "upgraded", seconds=round(took, 3), hop=self.hop()), **row_parts}
            self.tell("host", host=host, phase="apply", status="end", row=made)
            self.rows[host] = made

    def hop(self) -> dict[str, Any]:
        """A hop's report."""
        jitter = 0.8 + 0.4 * self._random.random()
        entries = [
            {"n": n, "text": text, "does": does, "status": "done", "seconds": seconds * jitter}
            | ({} if window is None else {"window_ms": window * jitter})
            for n, (text, does, seconds, window) in enumerate(INSTRUCTIONS, 1)
        ]
        return {
            "file": "5.10.4-to-5.10.5.relup",
            "from": OLD,
            "target": NEW,
            "sha256": "c3" * 32,
            "seconds": round(0.33 * jitter, 4),
            "suspended_ms": round(31.6 * jitter, 3),
            "swap_ms": round(0.42 * jitter, 3),
            "instructions": entries,
        }

    def gate(
        self, wave: int, gate: str, status: str = "open", message: str = "verified", ms: int = 300, **facts: Any
    ) -> None:
        """A gate is tried."""
        self.tell("gate", wave=wave, gate=gate, status="start")
        self.passes(ms)
        self.tell("gate", wave=wave, gate=gate, status=status, seconds=ms / 1000, message=message, detail={}, **facts)

    def gates(self, wave: int) -> None:
        """All gates after a wave open; connections are counted."""
        self.gate(wave, "verify")
        self.gate(wave, "cluster", message=f"all {len(self.plan.nodes)} nodes are seen", ms=90)
        for host in self.plan.waves[wave - 1]:
            self.tell("connections", host=host, count=self.counts[host] + self._random.randrange(40))
        self.gate(wave, "connections", message="4321 of 4310 connections are left, 90 % are required", ms=80)
        self.gate(wave, "postcheck", message="post-checks passed", ms=1400)

    def wave(self, number: int, *, ends: bool = True) -> None:
        """A wave goes through, with its gates."""
        hosts = self.plan.waves[number - 1]
        self.begins_wave(number)
        for start in range(0, len(hosts), self.plan.parallel):
            self.applied(*hosts[start : start + self.plan.parallel])
        self.gates(number)
        if ends:
            self.ends_wave(number)

    def begins_wave(self, number: int) -> None:
        """A wave begins."""
        about = {"waves": len(self.plan.waves), "hosts": list(self.plan.waves[number - 1])}
        self.tell("wave", wave=number, status="start", **about)

    def ends_wave(self, number: int, status: str = "done") -> None:
        """A wave ends."""
        about = {"waves": len(self.plan.waves), "hosts": list(self.plan.waves[number - 1])}
        self.tell("wave", wave=number, status=status, **about)

    def ends(self, outcome: str = "done", err_type: str | None = None, reason: str = "", command: str = "") -> None:
        """The run ends."""
        self.tell("end", outcome=outcome, err_type=err_type, reason=reason, next=command, detail={})


def row(host: str, outcome: str, seconds: float = 0.7, steps: Sequence[str] = tuple(STEPS), **facts: Any) -> rows.Row:
    """A host's row."""
    taken = [{"step": step, "status": "ok", "seconds": STEPS[step] / 1000, "detail": {}} for step in steps]
    versions = {"from": OLD, "target": NEW, "running": NEW, "node": f"emqx@{host}"}
    return {
        **rows.skipped(host, ""),
        "outcome": outcome,
        "seconds": seconds,
        "steps": taken,
        **versions,
        "facts": facts,
    }


def failure(err_type: str, message: str | None = None, stage: str = "apply", **detail: Any) -> dict[str, Any]:
    """An error of a host's row."""
    return Failure(err_type, message, detail=detail, stage=stage).to_json()


SIX = ("n5", "n6", "n1", "n2", "n3", "n4")


def smooth(folder: Path, hosts: Sequence[str] = SIX, waves: str = "1,25%,100%", **plan: Any) -> Record:
    """All goes well."""
    story = Story(folder, hosts, waves, **plan)
    story.begins()
    story.passes(400)
    story.prepared()
    for number in range(1, len(story.plan.waves) + 1):
        story.wave(number)
    story.tell("phase", phase="cleanup", hosts=list(hosts))
    for host in hosts:
        story.tell("host", host=host, phase="cleanup", status="start")
        story.tell("step", host=host, step="cleanup", status="start")
        story.passes(25)
        story.tell("step", host=host, step="cleanup", status="ok", seconds=0.025, detail={})
        story.tell("host", host=host, phase="cleanup", status="end", row=story.rows[host])
    story.passes(10)
    story.ends()
    return story.record()


def stopped(folder: Path) -> Record:
    """A gate after the first wave closes; taken up again, a hop fails on the third host."""
    options = {"force": True, "on_failure": "restart", "kill_lingering": True, "backup_age": 0}
    story = Story(folder, SIX, "1,50%,100%", options=options, parallel=2)
    resume = f"inv upgrade --resume {RUN}"
    story.begins()
    story.prepared()
    story.begins_wave(1)
    warning = failure("not_covered", "The hop leaves out 1 module of the target: emqx_logger.", modules=["emqx_logger"])
    story.applied("n5", warnings=[warning])
    story.gate(1, "verify")
    closed = "n5: does not see emqx@10.0.0.4"
    story.gate(1, "cluster", "closed", closed, ms=60_000)
    story.ends_wave(1, "stopped")
    story.ends("stopped", "gate_closed", f"The gate cluster after wave 1 is closed: {closed}", resume)
    story.passes(5_000_000)
    story.begins("resume")
    story.begins_wave(1)
    story.gates(1)
    story.ends_wave(1)
    story.begins_wave(2)
    error = failure(
        "code_change_failed",
        "Instruction 3: 1 of 4021 processes of emqx_channel, the first <0.2211.0>: {badmatch,undefined}; they were"
        " killed. What was done before it was not undone.",
        n=3,
    )
    error["detail"]["stage"] = "changes"
    hop = story.hop()
    hop["instructions"][2]["status"] = "failed"
    hop["instructions"] = [
        *hop["instructions"][:3],
        *({**each, "status": "planned"} for each in hop["instructions"][3:]),
    ]
    story.applied("n6")
    story.applied(
        "n1", fails="apply", outcome="failed", running=OLD, error=error, facts={"hop": hop}, warnings=[warning]
    )
    story.ends_wave(2, "stopped")
    story.tell("interrupt", count=1)
    story.ends("stopped", "too_many_failures", "n1 failed; --max-failures allows none", resume)
    return story.record()


def killed(folder: Path) -> Record:
    """The controller is killed while the second host is at its hop."""
    story = Story(folder, SIX[:3])
    story.begins()
    story.prepared()
    story.wave(1)
    story.begins_wave(2)
    story.tell("host", host="n6", phase="apply", status="start")
    story.tell("step", host="n6", step="extract", status="start")
    story.passes(870)
    story.tell("step", host="n6", step="extract", status="ok", seconds=0.87, detail={})
    story.tell("step", host="n6", step="apply", status="start")
    story.passes(200)
    story.tell("progress", host="n6", step="apply", done=2, total=5, unit="instructions")
    return story.record()


def blank(folder: Path) -> Record:
    """The controller is killed before anything was done."""
    return Story(folder, SIX[:2]).record()


def many(folder: Path) -> Record:
    """64 hosts."""
    return smooth(folder, [f"node-{number:02}.dc1.example.net" for number in range(1, 65)], "1,10%,100%", parallel=8)


EVIL = "<script>alert(1)</script>\"'&\u202egnp.exe\x1b[31m\x07\u0000|`*_[x](http://evil.example/)@all"
"""What a host may say that wants to be more than text."""


def hostile(folder: Path) -> Record:
    """Hosts that say what they like."""
    story = Story(folder, ("n1", "n2"), operator=EVIL)
    story.begins()
    story.begins_wave(1)
    hop = {
        "file": EVIL,
        "from": EVIL,
        "target": EVIL,
        "suspended_ms": "many",
        "swap_ms": -1,
        "instructions": [
            {"n": "one", "text": EVIL, "does": EVIL, "status": EVIL, "seconds": "NaN", "window_ms": True},
            "no",
        ],
    }
    error = {**failure("call_failed", EVIL), "detail": {EVIL: [EVIL, {EVIL: EVIL}]}}
    odd: dict[str, Any] = {"node": EVIL, "outcome": "failed", "error": {**error, "hint": EVIL, "stage": EVIL}}
    steps = [{"step": EVIL, "status": EVIL}]
    odd |= {"problems": [], "warnings": [{"message": EVIL}, {EVIL: EVIL}], "steps": steps, "running": EVIL}
    story.tell("step", host="n1", step=EVIL, status=EVIL, seconds="long", detail=EVIL)
    story.applied("n1", **odd, facts={"hop": hop, "recovered": [{"message": EVIL}]})
    story.gate(1, "cluster", "closed", EVIL)
    story.ends_wave(1, "stopped")
    story.ends("stopped", "gate_closed", EVIL, EVIL)
    return story.record()
