"""A tree that is deployed ahead: when it counts as prepared, and when it may be removed."""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from relup_remote.core import archive, commands, recovery  # noqa: F401 (not to be read first by another user)
from relup_remote.core.context import Context
from relup_remote.core.deadline import TimeIsUp
from relup_remote.core.erlang.link import Link
from relup_remote.core.protocol import ERRORS, Failure
from relup_remote.core.site import PARTIAL, STAMP, NodeView, Site
from relup_remote.core.steps import apply, cleanup, extract
from relup_remote.core.steps.extract import is_prepared, lacks, note_used, unused_trees

from .others import as_root, by_nobody

TARGET, DIGEST = "5.10.5", "d" * 64
FILES = {
    f"releases/{TARGET}/BUILD_INFO": 'erlang: "25.2"\n',
    f"releases/{TARGET}/emqx.rel": f'{{release, {{"emqx", "{TARGET}"}}, {{erts, "1"}}, []}}.\n',
    f"releases/{TARGET}/start.boot": "boot",
    "releases/emqx_vars": f'REL_VSN="{TARGET}"\n',
    "bin/emqx": "#!/bin/sh\n",
    "erts-1/bin/beam.smp": "vm",
    "lib/a-1/ebin/a.beam": "beam",
}


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """A request for the target, on a host whose node is down."""
    tarball = {"name": "emqx.tar.gz", "bytes": 1, "sha256": DIGEST, "release": {"version": TARGET}}
    site = Site(str(tmp_path), str(tmp_path / "data"), None, None)
    return Context({"run": "r", "tarball": tarball}, site, lambda _event: None, io.BytesIO())


@pytest.fixture
def tree(context: Context) -> Path:
    """The tree, as `extract` leaves it."""
    root = Path(context.tree)
    for name, content in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    extract._stamp(str(root), DIGEST, TARGET, used=False, settings=[])
    return root


def test_a_tree_that_is_as_it_was_unpacked_is_prepared(context: Context, tree: Path) -> None:
    assert lacks(str(tree)) == []
    assert is_prepared(context)
    # What comes to be there by its use is not looked at.
    (tree / "log").mkdir()
    (tree / "log" / "emqx.log").write_text("started")
    assert is_prepared(context)


def rewritten(tree: Path) -> None:
    """As many bytes as before, and the time of a change put back."""
    beam = tree / "lib/a-1/ebin/a.beam"
    before = beam.stat()
    with beam.open("r+b") as file:
        file.write(b"maeb")
    os.utime(beam, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced(tree: Path) -> None:
    beam = tree / "lib/a-1/ebin/a.beam"
    other = beam.with_name("b")
    other.write_text("maeb")
    other.replace(beam)


def make(path: Path, content: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


CHANGES: dict[str, Callable[[Path], Any]] = {
    "a file was rewritten": rewritten,
    "a file was replaced": replaced,
    "a mode was changed": lambda tree: (tree / "bin/emqx").chmod(0o777),
    "a file is gone": lambda tree: (tree / "lib/a-1/ebin/a.beam").unlink(),
    "a file came in": lambda tree: (tree / "lib/a-1/ebin/b.beam").write_text(""),
    "a link came in": lambda tree: (tree / "lib/a-1/ebin/b.beam").symlink_to("/etc/passwd"),
    "a marker came in": lambda tree: make(tree / "relup/current", "5.10.6"),
    "the stamp is gone": lambda tree: (tree / STAMP).unlink(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_tree_that_was_changed_since_is_not(context: Context, tree: Path, change: str) -> None:
    CHANGES[change](tree)
    assert not is_prepared(context)


WHY = {
    "a file was rewritten": "changed since: lib/a-1/ebin/a.beam",
    "a file was replaced": "changed since: lib/a-1/ebin/a.beam",
    "a mode was changed": "changed since: bin/emqx",
    "a file is gone": "it is not as it was unpacked: ",
    "a file came in": "it is not as it was unpacked: 8 files, not 7; changed since: lib/a-1/ebin/b.beam.",
    "a link came in": "changed since: lib/a-1/ebin/b.beam",
    "a marker came in": "changed since: relup/current",
    "the stamp is gone": "it was not unpacked by relup_remote",
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_changed_is_said_where_it_is_unpacked_again(context: Context, tree: Path, change: str) -> None:
    packed = Path(context.staged)
    packed.parent.mkdir(parents=True)
    with tarfile.open(packed, "w:gz") as made:
        for name in FILES:
            made.add(tree / name, name)
    context.tarball["sha256"] = hashlib.sha256(packed.read_bytes()).hexdigest()
    (Path(context.site.base) / "releases").mkdir()
    (Path(context.site.base) / "releases/emqx_vars").write_text(FILES["releases/emqx_vars"])
    extract._stamp(str(tree), context.tarball["sha256"], TARGET, used=False, settings=[])
    while probe_ctime(tree) <= (tree / STAMP).stat().st_ctime_ns:
        pass
    CHANGES[change](tree)
    assert extract._deploy(context)[0] == "ok"
    [warning] = context.result.warnings
    assert (warning["err_type"], warning["stage"]) == ("tree_replaced", "extract")
    assert warning["message"].startswith(f"{tree} was there, but {WHY[change]}")
    usual = ERRORS["tree_replaced"].hint
    assert warning["hint"] == (extract._NOT_OURS if change == "the stamp is gone" else usual)
    assert is_prepared(context)
    # Nothing is said where nothing was changed, or nothing was there.
    context.result.warnings.clear()
    assert extract._deploy(context)[0] == "unchanged"
    extract.discard(str(tree))
    extract._deploy(context)
    assert context.result.warnings == []


def test_of_many_files_that_were_changed_a_few_are_named(context: Context, tree: Path) -> None:
    while probe_ctime(tree) <= (tree / STAMP).stat().st_ctime_ns:
        pass
    for name in FILES:
        (tree / name).chmod(0o600)
    said = extract._changed(context)
    assert said == (f"changed since: {', '.join(sorted(FILES)[:3])} and 4 more", None)


def test_nobody_has_changed_a_tree_of_another_tarball(context: Context, tree: Path) -> None:
    context.tarball["sha256"] = "e" * 64
    why, hint = extract._changed(context)
    assert (why, "who changed" in str(hint)) == ("it is of another tarball", False)
    assert hint
    (tree / STAMP).unlink()
    why, hint = extract._changed(context)
    assert (why, "who changed" in str(hint)) == ("it was not unpacked by relup_remote", False)
    assert hint


@pytest.mark.parametrize("met", [TimeIsUp(), Failure("disk_full")])
def test_a_host_is_prepared_whatever_becomes_of_what_is_compiled_ahead(
    context: Context, tree: Path, monkeypatch: pytest.MonkeyPatch, met: BaseException
) -> None:
    """All that comes before is left out here: it is the same as of an upgrade."""

    class Ahead:
        def prepare_looks(self) -> None:
            raise met

    assert tree.is_dir()
    monkeypatch.setattr(Context, "agent", Ahead())
    monkeypatch.setattr(Context, "view", NodeView(Link()))
    monkeypatch.setattr(NodeView, "version", lambda _view: "5.10.4")
    monkeypatch.setattr(commands, "changing", lambda _context: nullcontext())
    for module, name in ((recovery, "finish_rows"), (commands, "_refuse"), (commands, "_steps")):
        monkeypatch.setattr(module, name, lambda *_words, **_more: None)
    for module, name in ((recovery, "refuse_during_hop"), (recovery, "note_unfinished")):
        monkeypatch.setattr(module, name, lambda _context: None)
    monkeypatch.setattr(apply, "check", lambda _context: None)
    commands._prepare(context)
    assert context.result.outcome == "prepared"


def probe_ctime(tree: Path) -> int:
    """The time that a change to a file would have now: the clock of a file system is a coarse one."""
    probe = tree.parent / "probe"
    probe.write_text("")
    return probe.stat().st_ctime_ns


@as_root
def test_a_tree_that_can_not_be_looked_into_is_not(context: Context, tree: Path) -> None:
    """Nor is it replaced: what is wrong has a name, and a place."""
    base, closed = Path(context.site.base), tree / "lib/a-1"
    closed.chmod(0)
    told = {"paths": [f"./{closed.relative_to(base)}"]}

    def look() -> None:
        context.site = Site(".", "data", None, None)
        assert not is_prepared(context)
        for act in (extract._deploy, lambda _: cleanup._things([context.tree])):
            with pytest.raises(Failure) as caught:
                act(context)
            assert (caught.value.err_type, caught.value.detail) == ("cannot_read_file", told)

    base.chmod(0o755)
    by_nobody(base, look)
    assert tree.is_dir()


def test_a_tree_of_another_tarball_is_not(context: Context, tree: Path) -> None:
    context.tarball["sha256"] = "e" * 64
    assert tree.is_dir()
    assert not is_prepared(context)


def test_nothing_is_prepared_where_the_tarball_can_not_be_read(context: Context, tree: Path) -> None:
    context.tarball["release"] = {"error": {"err_type": "bad_tarball", "message": "cut short"}}
    assert tree.is_dir()
    assert not is_prepared(context)


# What may be removed


def test_a_prepared_tree_may_be_removed_until_a_hop_uses_it(context: Context, tree: Path) -> None:
    assert unused_trees(context) == [str(tree)]
    note_used(str(tree))
    assert unused_trees(context) == []
    # It is still the tree that it was.
    assert is_prepared(context)


def test_a_tree_that_the_next_start_boots_is_used_whatever_its_stamp_says(context: Context, tree: Path) -> None:
    (tree.parent / "current").write_text(TARGET)
    assert unused_trees(context) == []


def test_so_is_one_of_the_version_that_runs(context: Context, tree: Path) -> None:
    context.result.running = TARGET
    assert tree.is_dir()
    assert unused_trees(context) == []


@pytest.mark.parametrize("stamp", ["", "{}", "[]", json.dumps({"version": TARGET}), json.dumps({"used": False})])
def test_a_tree_of_which_it_is_not_known_stays(context: Context, tree: Path, stamp: str) -> None:
    (tree / STAMP).write_text(stamp)
    assert unused_trees(context) == []


def test_the_end_of_a_run_leaves_what_is_prepared_for_another(context: Context, tree: Path) -> None:
    mine = ["emqx.tar.gz", "emqx.tar.gz.part", "emqx.tar.gz.sha256"]
    for name in (*mine, "emqx-5.10.6.tar.gz", "emqx-5.10.6.tar.gz.sha256"):
        make(Path(context.site.staging, name))
    partial = tree.parent / f"{PARTIAL}5.10.6-0"
    partial.mkdir()
    context.request["options"] = {"clean_anyway": True}
    _, told = cleanup.run(context)
    assert told["removed"] == [*(str(Path(context.site.staging, name)) for name in mine), str(partial)]
    assert tree.is_dir()
    # By itself a cleanup removes all that is not used.
    del context.request["tarball"]
    _, told = cleanup.run(context)
    others = ["emqx-5.10.6.tar.gz", "emqx-5.10.6.tar.gz.sha256"]
    assert told["removed"] == [*(str(Path(context.site.staging, name)) for name in others), str(tree)]
    assert not tree.exists()


def test_what_is_no_tree_of_ours_stays(context: Context, tree: Path) -> None:
    os.mkfifo(tree.parent / "pipe")
    other = tree.parent / "other"
    other.mkdir()
    os.mkfifo(other / STAMP)
    assert unused_trees(context) == [str(tree)]
