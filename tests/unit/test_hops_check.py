"""Checking a hop without a node: a right one is clean, and every defect is named, at its line, and nothing else."""

from pathlib import Path

import pytest

from relup_remote.hops.check import Finding, check_text

from .hop_defects import DEFECTS
from .hop_releases import HELPER, HOP, Beams, difference


@pytest.fixture(scope="module")
def beams(tmp_path_factory: pytest.TempPathFactory) -> Beams:
    """The compiled modules."""
    return Beams(tmp_path_factory.mktemp("beams"))


@pytest.fixture(scope="module")
def right(beams: Beams, tmp_path_factory: pytest.TempPathFactory) -> list[Finding]:
    """What is found of the hop that is right."""
    return check_text("a.relup", HOP, difference(tmp_path_factory.mktemp("releases"), beams), [HELPER])


def test_a_hop_that_is_right(right: list[Finding]) -> None:
    assert [(found.severity, found.err_type, found.line, found.n) for found in right] == [
        ("note", "used_after_restart", 9, 5)
    ]


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_named_at_its_line(name: str, beams: Beams, right: list[Finding], tmp_path: Path) -> None:
    defect = DEFECTS[name]
    changed = difference(tmp_path, beams, defect.old(beams), defect.new(beams))
    found = check_text("a.relup", defect.text(HOP), changed, defect.helpers)
    assert [(each.err_type, each.line) for each in found if each.severity == "error"] == (
        [(defect.err_type, defect.line(HOP))] if defect.severity == "error" else []
    )
    assert (defect.severity, defect.err_type, defect.line(HOP)) in [
        (each.severity, each.err_type, each.line) for each in found
    ]
