"""Up to sixty-four hosts that share a few nodes: every command comes to its end, with a row for each, within bounds."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.rollout import MEGABYTES, THREADS, inv
from lab.cluster import Lab
from relup_remote.ways import IDLE
from tests.lab.cluster import BASE, FIRST, Ran, running_lab
from tests.lab.rollout.state import results, successes
from tests.points import Points, Tally, is_slice

HOSTS, SOME, NODES = 64, 9, 3
"""All hosts, and how many there are where the points of the tests are a slice."""


@pytest.fixture(scope="module")
def lab(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Three nodes behind all of the hosts."""
    hosts = SOME if is_slice(pytestconfig) else HOSTS
    with running_lab(tmp_path_factory.mktemp("many"), NODES, hosts=hosts) as made:
        yield made


def outcomes(lab: Lab, folder: Path, *words: str) -> dict[str, int]:
    """How often each outcome came of a command; it has a row for each host, and keeps within bounds."""
    done = inv(lab, folder, *words)
    ran = Ran(done.status, done.stdout, done.stderr)
    rows = ran.document["hosts"]
    assert ran.status == 0, [row["error"] for row in rows if row["error"]]
    assert [row["host"] for row in rows] == lab.hosts
    assert done.threads <= THREADS
    assert done.memory <= MEGABYTES
    found = [row["outcome"] for row in rows]
    return {outcome: found.count(outcome) for outcome in set(found)}


def entries(lab: Lab, host: str) -> int:
    """How often somebody has logged in to a host, and how often something was started there."""
    log = (lab.host(host).ssh_dir / "sshd.log").read_text()
    return log.count("Accepted publickey") + log.count("Starting session")


def test_looking(lab: Lab, tmp_path: Path) -> None:
    hosts = len(lab.hosts)
    assert outcomes(lab, tmp_path, "hosts") == {"ok": hosts}
    assert outcomes(lab, tmp_path, "verify") == {"verified": hosts}


def test_staging_and_a_rollout(lab: Lab, tmp_path: Path, points: Points) -> None:
    hosts = len(lab.hosts)
    tarball = ("--tarball", str(lab.tarball(FIRST)))
    assert outcomes(lab, tmp_path, "stage", *tarball) == {"staged": NODES, "unchanged": hosts - NODES}
    before = {host: entries(lab, host) for host in lab.hosts}
    waves = ("--waves", "1,25%,100%", "--parallel", "8", "--gates", "verify,cluster")
    assert outcomes(lab, tmp_path, "upgrade", *tarball, *waves, "--yes", "--no-backup") == {
        "upgraded": NODES,
        "nothing to do": hosts - NODES,
    }
    # One login and one core a host. Of more hosts those that wait for their turn are left meanwhile.
    seen = {entries(lab, host) - before[host] for host in lab.hosts}
    assert seen == {2} if hosts <= IDLE else min(seen) >= 2
    for host in lab.hosts[:NODES]:
        assert (results(lab, host).count("success"), successes(lab, host)) == (1, [(BASE, FIRST)])
    points.named("hosts of one rollout").tally.add(Tally("", of=HOSTS, done=hosts, good=hosts))
