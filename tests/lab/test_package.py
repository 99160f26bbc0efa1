"""An upgrade with the package of the vendor's plugin as the catalogue: its helpers are beam files."""

import shutil
import tarfile
from pathlib import Path

from lab.cluster import Lab
from lab.layout import PROJECT
from tests.lab.cluster import FIRST, NOTHING, SECOND, Tool, foreign
from tests.unit.erlc import compile_all


def package(folder: Path) -> Path:
    """The project's hops and helpers as a package, with no source in it."""
    name = "emqx_relup-1.0.0"
    plugin = folder / name / name
    (plugin / "priv").mkdir(parents=True)
    hops = shutil.copytree(PROJECT / "priv" / "relup", plugin / "priv" / "relup")
    sources = list(hops.glob("*.erl"))
    assert sources
    compile_all(sources)
    (plugin / "ebin").mkdir()
    for source in sources:
        beam = source.with_suffix(".beam")
        beam.rename(plugin / "ebin" / beam.name)
        source.unlink()
    (folder / name / "release.json").write_text("{}")
    path = folder / f"{name}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder / name, name)
    return path


def test_a_node_goes_through_the_hops_of_a_package(lab: Lab, relup: Tool, spare: str, tmp_path: Path) -> None:
    packed = str(package(tmp_path / "package"))
    pid = lab.node_pid(spare)
    for version in (FIRST, SECOND):
        words = ("--tarball", str(lab.tarball(version)), "--catalogue", packed, "--yes", "--host", spare)
        ran = relup.run("upgrade", *words)
        assert ran.status == 0, ran.stdout
        assert lab.eval(spare, "emqx_release:version()") == f'"{version}"'
        assert foreign(lab, spare) == NOTHING
    assert lab.node_pid(spare) == pid
    assert relup.run("verify", "--host", spare).status == 0
