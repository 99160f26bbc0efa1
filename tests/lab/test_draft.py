"""Drafted hops, their questions answered and nothing else changed, upgrade nodes that clients are busy on."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lab.clients import Traffic
from lab.cluster import Lab
from tests.lab.answers import KEEP, Change, answered
from tests.lab.cluster import NOTHING, Tool, foreign, put_back, running_lab

HOSTS = ("n1", "n2")

NOW = "erlang:system_time(millisecond)"
METRICS = {"Does the state of emqx_metrics change": Change("[]", f"#{{since => {NOW}}}")}
CONNECTION = {"Does the state of emqx_connection change": KEEP}
DASHBOARD = {"May emqx_dashboard stop for a moment?": KEEP}
NO_CALLBACK = {"Must anything be called once all code is new?": KEEP}


@dataclass(frozen=True)
class Pair:
    """A hop to be drafted: with which callbacks, and what its author answers, in the hop and in its helper.

    ``holds`` is an expression that is true on a node once it is upgraded.
    """

    source: str
    target: str
    answers: dict[str, Change]
    holds: str
    callbacks: tuple[str, ...] = ()
    helper: dict[str, Change] = field(default_factory=dict)

    @property
    def file(self) -> str:
        return f"{self.source}-to-{self.target}.relup"


FIRST = Pair(
    "5.10.4-lab",
    "5.10.5-lab",
    {**METRICS, **CONNECTION, **DASHBOARD, **NO_CALLBACK},
    "is_integer(emqx_metrics:since())",
)
SECOND = Pair(
    "5.10.5-lab",
    "5.10.6-lab",
    {
        "Does the state of emqx_metrics change": KEEP,
        "What does ensure_metrics get after the version?": Change("undefined", "['packets.received']"),
    },
    'ets:member(emqx_ctl, "metrics")',
    callbacks=("add_commands", "ensure_metrics/2"),
    helper={
        "What has to be done here?": Change(
            "-> ok.",
            "-> lists:foreach(fun({Word, Handler}) -> ok = emqx_ctl:register_command(Word, Handler) end,"
            " emqx_commands:all()).",
        )
    },
)
BOTH = Pair("5.10.4-lab", "5.10.6-lab", FIRST.answers, "is_integer(emqx_stats:getstat('uptime.seconds'))")
APPLICATIONS = Pair(
    "5.10.4-lab",
    "5.10.8-lab",
    {**FIRST.answers, "Was anything in the environment of emqx_alarms set at run time?": KEEP},
    "emqx_alarms:ready() =:= ok",
)
MANY = Pair(
    "5.10.4-lab",
    "5.10.9-lab",
    {"Does the state of emqx_pool_worker change": Change("[]", f"#{{started_at => {NOW}}}")},
    # They had run one job each.
    "[1, 1, 1] =:= [emqx_pool_worker:jobs(Worker) || Worker <- emqx_pool:workers()]",
)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with running_lab(tmp_path_factory.mktemp("lab"), len(HOSTS)) as made:
        yield made


@pytest.fixture(scope="module")
def relup(lab: Lab) -> Tool:
    return Tool(lab.inventory_path)


@pytest.fixture
def fresh(lab: Lab) -> None:
    """The nodes are put back before, if a test was there already."""
    for host in HOSTS:
        if (lab.root(host) / "relup").exists():
            put_back(lab, host)


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize(
    "pairs", [(FIRST, SECOND), (BOTH,), (APPLICATIONS,), (MANY,)], ids=lambda pairs: " ".join(p.file for p in pairs)
)
def test_an_answered_draft_upgrades_busy_nodes(lab: Lab, relup: Tool, tmp_path: Path, pairs: tuple[Pair, ...]) -> None:
    for pair in pairs:
        draft(lab, relup, tmp_path, pair)
    for host in HOSTS:
        lab.eval(host, "emqx_pool:start_workers(3), emqx_pool:run(fun() -> ok end)")
    processes = {host: lab.node_pid(host) for host in HOSTS}
    with Traffic({host: lab.mqtt_port(host) for host in HOSTS}, clients=20) as traffic:
        for pair in pairs:
            upgrade(lab, relup, tmp_path, pair)
        evidence = traffic.stop()
    assert evidence.held, str(evidence)
    assert {host: lab.node_pid(host) for host in HOSTS} == processes


def draft(lab: Lab, relup: Tool, catalogue: Path, pair: Pair) -> None:
    """Draft the hop, answer what it asks, and have it checked."""
    tarballs = ("--from", str(lab.tarball(pair.source)), "--to", str(lab.tarball(pair.target)))
    file = catalogue / pair.file
    callbacks = [word for name in pair.callbacks for word in ("--callback", name)]
    made = relup.run("hop.draft", *tarballs, "-o", str(file), *callbacks)
    assert made.status == 0, made.stdout + made.stderr
    assert made.document["findings"] == []
    assert made.document["questions"] == len(pair.answers) + len(pair.helper)
    file.write_text(answered(file.read_text(), pair.answers))
    if pair.helper:
        helper = catalogue / made.document["helper"]["file"]
        helper.write_text(answered(helper.read_text(), pair.helper))
    checked = relup.run("hop.check", str(file), *tarballs, "--strict")
    assert checked.status == 0, checked.stdout


def upgrade(lab: Lab, relup: Tool, catalogue: Path, pair: Pair) -> None:
    """Plan and upgrade with the hop; what the nodes run then is all of the target."""
    words = ("--tarball", str(lab.tarball(pair.target)), "--catalogue", str(catalogue))
    plan = relup.run("plan", *words)
    assert plan.status == 0, plan.stdout + plan.stderr
    for row in plan.document["hosts"]:
        assert (row["outcome"], row["problems"], row["warnings"]) == ("ready", [], [])
    ran = relup.run("upgrade", *words, "--yes")
    assert ran.status == 0, ran.stdout + ran.stderr
    assert relup.run("verify", "--target", pair.target).status == 0
    for host in HOSTS:
        assert lab.eval(host, "emqx_release:version()") == f'"{pair.target}"'
        assert lab.eval(host, pair.holds) == "true"
        assert foreign(lab, host) == NOTHING
