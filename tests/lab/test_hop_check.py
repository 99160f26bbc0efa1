"""The catalogue's own hops, checked against the lab's releases: nothing is wrong with them."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from lab import build
from relup_remote.hops import catalogue
from relup_remote.hops.check import check
from relup_remote.hops.compare import Difference, Release, read_release

CATALOGUE = catalogue.load(Path(__file__).parents[2] / "priv" / "relup")

NOTES = {
    # Restarted in place, so that what follows can use them.
    "5.10.4-lab-to-5.10.5-lab.relup": {"used_after_restart": 1},
    "5.10.4-lab-to-5.10.6-lab.relup": {"used_after_restart": 1},
    "5.10.4-lab-to-5.10.8-lab.relup": {"used_after_restart": 3},
    "5.10.4-lab-to-5.10.9-lab.relup": {},
    "5.10.5-lab-to-5.10.6-lab.relup": {},
}


@pytest.fixture(scope="module")
def releases() -> Mapping[str, Release]:
    """The lab's releases, by version."""
    return {version: read_release(tarball) for version, tarball in build.build_all().items()}


@pytest.mark.parametrize("hop", CATALOGUE.hops, ids=lambda hop: hop.file)
def test_the_catalogues_hops_are_clean(hop: catalogue.Hop, releases: Mapping[str, Release]) -> None:
    found = check(hop, Difference(releases[hop.from_vsn], releases[hop.target]), CATALOGUE.helpers)
    assert [finding for finding in found if finding.severity != "note"] == []
    told = [finding.err_type for finding in found]
    assert {err_type: told.count(err_type) for err_type in told} == NOTES[hop.file]
