"""What two releases differ in."""

from collections.abc import Callable
from pathlib import Path

import pytest

from relup_remote.core.protocol import Failure
from relup_remote.hops.compare import Difference, by_app, read_both, read_release

from .hop_defects import app, both, files, module, text
from .hop_releases import Beams, Edit, difference, write


@pytest.fixture(scope="module")
def found(beams: Beams, tmp_path_factory: pytest.TempPathFactory) -> Difference:
    """What the two releases differ in as they are."""
    return difference(tmp_path_factory.mktemp("releases"), beams)


def test_a_release_says_what_it_is(found: Difference) -> None:
    old, new = found.old, found.new
    assert (old.version, old.otp, old.otp_major, old.erts, old.is_fork) == ("1.0", "25.2", "25", "13.1", False)
    assert (new.version, new.build_info["os"], new.build_info["arch"]) == ("1.1", "debian12", "x86_64")
    assert sorted(old.apps) == ["demo", "emqx", "extra", "kernel", "stdlib"]
    demo, extra = old.apps["demo"], new.apps["extra"]
    assert (demo.version, demo.start, demo.environment, demo.runs) == ("1", ("demo", []), [("level", 1)], True)
    assert (extra.folder, extra.version, extra.applications) == ("extra-2", "2", ("kernel", "demo"))


def test_a_module_says_what_it_is(found: Difference) -> None:
    worker, api = found.new.modules["demo_worker"], found.new.modules["demo_api"]
    assert (worker.app, worker.folder, worker.behaviours) == ("demo", "demo-1", ("gen_server",))
    assert {("code_change", 3), ("more", 0), ("module_info", 1)} <= set(worker.exports)
    assert ("demo_lib", "coming", 0) in api.imports
    assert (worker.on_load, worker.loads_nif) == (False, False)
    assert found.new.exported.of("demo_api") == {("get", 0), ("module_info", 0), ("module_info", 1)}
    assert found.new.exported.of("nobody") == frozenset()


def test_modules_are_compared_by_their_code(found: Difference) -> None:
    assert list(found.changed) == ["demo_api", "demo_lib", "demo_worker", "emqx_release", "extra"]
    assert (list(found.added), list(found.removed)) == (["extra_coming"], ["extra_past"])
    assert found.is_unchanged("demo_same")
    assert not found.is_unchanged("demo_lib")
    assert by_app(found.changed.values()) == {
        "demo": ["demo_api", "demo_lib", "demo_worker"],
        "emqx": ["emqx_release"],
        "extra": ["extra"],
    }


def test_functions_that_come_and_go_and_who_calls_them(found: Difference) -> None:
    assert found.gained["demo_lib"] == {("coming", 0)}
    assert found.lost["demo_lib"] == {("past", 0)}
    assert ("f", 0) in found.gained["extra_coming"]
    assert ("f", 0) in found.lost["extra_past"]
    assert found.new_calls == {("demo_api", "demo_lib"): [("coming", 0)], ("extra", "extra_coming"): [("f", 0)]}
    assert found.lost_calls == {("demo_api", "demo_lib"): [("past", 0)]}


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (text("lib/demo-1/ebin/demo.app", "kernel, stdlib", "kernel, ssl"), (("ssl",), ("stdlib",), False, True)),
        (text("lib/demo-1/ebin/demo.app", "{level, 1}", "{level, 2}"), ((), (), True, True)),
        (text("lib/demo-1/ebin/demo.app", "demo_sup", "demo_top"), ((), (), False, True)),
        (lambda beams: Edit(), ((), (), False, False)),
    ],
)
def test_what_an_application_has_otherwise(
    edit: Callable[[Beams], Edit], said: tuple[object, ...], beams: Beams, tmp_path: Path
) -> None:
    demo = difference(tmp_path, beams, new=edit(beams)).kept_apps["demo"]
    assert (demo.needs_more, demo.needs_no_more, demo.is_configured_otherwise, demo.is_other) == said


def test_applications_that_come_and_go(beams: Beams, tmp_path: Path) -> None:
    found = difference(tmp_path, beams, app("past", "1.0")(beams), app("coming")(beams))
    assert (list(found.added_apps), list(found.removed_apps)) == (["coming"], ["past"])
    assert "past" not in found.kept_apps


def test_what_can_not_be_read_is_told_apart(beams: Beams, tmp_path: Path) -> None:
    broken = both(files(demo_lib=b"FOR1"), text("lib/extra-2/ebin/extra.app", "application", "app"))
    found = difference(tmp_path, beams, new=broken(beams))
    assert found.new.broken_modules == {"demo_lib": "is not a beam file"}
    assert found.new.broken_apps == {"extra": "describes no application"}
    assert found.new.has_module("demo_lib")
    assert "demo_lib" not in {**found.changed, **found.removed}
    assert "extra" not in found.removed_apps


def test_native_code_and_on_load_are_seen(beams: Beams, tmp_path: Path) -> None:
    found = difference(tmp_path, beams, new=both(module("demo_native", "other"), module("demo_same", "other"))(beams))
    assert found.new.modules["demo_native"].loads_nif
    assert found.new.modules["demo_same"].on_load


def test_both_are_read_at_once(beams: Beams, tmp_path: Path, found: Difference) -> None:
    old, new = read_both(*(write(tmp_path, name, beams.files(name)) for name in ("old", "new")))
    assert (old.modules, new.modules) == (found.old.modules, found.new.modules)
    assert (old.apps, new.apps) == (found.old.apps, found.new.apps)


@pytest.mark.parametrize("name", ["old", "new"])
def test_a_release_that_can_not_be_read_is_named(name: str, beams: Beams, tmp_path: Path) -> None:
    tarballs = {each: write(tmp_path, each, beams.files(each)) for each in ("old", "new")}
    tarballs[name].write_bytes(b"no tarball")
    with pytest.raises(Failure) as caught:
        read_both(tarballs["old"], tarballs["new"])
    assert (caught.value.err_type, str(tarballs[name]) in caught.value.message) == ("bad_tarball", True)


def test_a_tarball_that_is_no_release_is_named(tmp_path: Path) -> None:
    with pytest.raises(Failure) as caught:
        read_release(write(tmp_path, "a", {"lib/a": b""}))
    assert (caught.value.err_type, "a.tar.gz" in caught.value.message) == ("cannot_read_emqx_vars", True)
