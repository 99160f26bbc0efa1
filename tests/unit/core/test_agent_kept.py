"""The compiled agent on the host: a VM compiles it once, and what may have been written by somebody else never runs."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from relup_remote.core.agent import CODE, Agent
from relup_remote.core.erlang.distribution import Connection
from relup_remote.core.erlang.link import DistributionLink
from relup_remote.core.kept import cache_folder, key

from .others import NOBODY, as_root
from .planting import KINDS, plant
from .vm import OTPS, Vm, evaluate, running_vm


class Counting(DistributionLink):
    """A link that counts what is compiled."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self.compiled = 0

    def call(self, module: str, function: str, args: list[Any], timeout: float = 30.0) -> Any:
        self.compiled += (module, function) == ("compile", "noenv_file")
        return super().call(module, function, args, timeout)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    folder = tmp_path / "cache"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def look(vm: Vm, tmp_path: Path, cache: Path) -> Callable[[], int]:
    """Looks at the VM as a core does; how many modules were compiled for it."""
    return lambda: looked(vm, tmp_path, cache)


def looked(vm: Vm, work: Path, cache: Path) -> int:
    with vm.connected() as connection:
        link = Counting(connection)
        agent = Agent(link, str(work), str(cache))
        assert agent.verify(None, [], 30.0)["suspended_count"] == 0
        agent.unload()
        return link.compiled


@pytest.fixture(scope="module")
def compiled(vm: Vm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a core keeps that had it compiled."""
    work, cache = (tmp_path_factory.mktemp(name) for name in ("work", "compiled"))
    cache.chmod(0o700)
    assert looked(vm, work, cache) == 1
    (found,) = cache.iterdir()
    return found


@pytest.fixture
def kept(compiled: Path, cache: Path) -> Path:
    """The same in this test's folder."""
    return Path(shutil.copy2(compiled, cache))


def test_it_is_compiled_once(look: Callable[[], int], cache: Path) -> None:
    assert [look() for _ in range(3)] == [1, 0, 0]
    (found,) = cache.iterdir()
    assert found.stat().st_mode & 0o777 == 0o600


def test_what_a_verification_needs_is_compiled_ahead_and_not_loaded(
    vm: Vm, tmp_path: Path, cache: Path, look: Callable[[], int]
) -> None:
    for compiles in (1, 0):
        with vm.connected() as connection:
            link = Counting(connection)
            agent = Agent(link, str(tmp_path), str(cache))
            agent.prepare_looks()
            loaded = 'code:is_loaded(list_to_atom("relup_agent_1_looks")).'
            assert evaluate(connection, loaded) == "false"
            agent.unload()
            assert link.compiled == compiles
    assert look() == 0


def test_where_nothing_can_be_kept_nothing_is_compiled_ahead(vm: Vm, tmp_path: Path) -> None:
    with vm.connected() as connection:
        link = Counting(connection)
        agent = Agent(link, str(tmp_path), None)
        agent.prepare_looks()
        agent.unload()
        assert link.compiled == 0


def test_what_is_kept_is_run_wherever_it_lies(look: Callable[[], int], kept: Path) -> None:
    """So it is what was done to it, in the tests below, that has it compiled anew."""
    assert look() == 0


def end(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def of_another_key(path: Path) -> None:
    """Whole, as a core has kept it, but for another source."""
    other = key(b"another", [])
    code = path.read_bytes()[32:]
    CODE.keep(str(path.parent), other, code)
    (path.parent / f"agent-{other.hex()}.beam").rename(path)


def no_code(path: Path) -> None:
    """Whole, under its key, and no VM can load it."""
    CODE.keep(str(path.parent), bytes.fromhex(path.stem.removeprefix("agent-")), b"FOR1 but no beam")


DAMAGE: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "cut short": end,
    "one bit": flip,
    "another key's": of_another_key,
    "no code": no_code,
    "others may write": lambda path: path.chmod(0o622),
    "others may read": lambda path: path.chmod(0o604),
    "its group may write": lambda path: path.chmod(0o620),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_not_whole_or_not_ours_alone_is_compiled_anew(look: Callable[[], int], kept: Path, damage: str) -> None:
    DAMAGE[damage](kept)
    assert [look(), look()] == [1, 0]
    assert list(kept.parent.iterdir()) == [kept]
    assert kept.stat().st_mode & 0o777 == 0o600


@as_root
@pytest.mark.parametrize("kind", ["copy", *KINDS])
def test_what_another_user_has_put_in_its_place_is_not_run(look: Callable[[], int], kept: Path, kind: str) -> None:
    content = kept.read_bytes()
    kept.unlink()
    if kind == "copy":
        kept.write_bytes(content)
        kept.chmod(0o600)
        os.chown(kept, NOBODY, NOBODY)
    else:
        plant(kind, kept, NOBODY)
    # A folder is in the way of a new file: that costs time, and nothing else.
    assert [look(), look()] == [1, int(kind == "folder")]
    assert list(kept.parent.iterdir()) == [kept]


def test_a_link_to_what_was_kept_is_not_followed(look: Callable[[], int], kept: Path, tmp_path: Path) -> None:
    kept.symlink_to(kept.rename(tmp_path / "elsewhere"))
    assert [look(), look()] == [1, 0]
    assert not kept.is_symlink()


def test_only_a_folder_of_ours_alone_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / ".cache" / "relup_remote"
    assert cache_folder() is None
    folder.mkdir(parents=True, mode=0o755)
    assert cache_folder() is None
    CODE.keep(str(folder), key(b"", []), b"code")
    assert list(folder.iterdir()) == []
    folder.chmod(0o700)
    assert cache_folder() == str(folder)
    tmp_path.chmod(0o777)
    assert cache_folder() is None
    tmp_path.chmod(0o700)
    folder.rmdir()
    folder.symlink_to("/tmp")
    assert cache_folder() is None


def test_few_are_kept(cache: Path) -> None:
    keys = [key(b"source", [str(number)]) for number in range(CODE.at_most + 3)]
    for number, each in enumerate(keys):
        CODE.keep(str(cache), each, b"code")
        os.utime(cache / f"agent-{each.hex()}.beam", (number, number))
    # What a core has left that died in writing is as old as any.
    unfinished = cache / f"agent-{keys[0].hex()}.beam.1.tmp"
    unfinished.write_bytes(b"half")
    os.utime(unfinished, (1, 1))
    CODE.keep(str(cache), keys[-1], b"code")
    assert [CODE.find(str(cache), each) for each in keys] == [None] * 3 + [b"code"] * CODE.at_most
    assert len(list(cache.iterdir())) == CODE.at_most


def test_code_is_of_one_source_name_and_vm() -> None:
    known = [key(b"source", ["module", "25", "13.1"])]
    known += [key(b"sourcf", ["module", "25", "13.1"]), key(b"source", ["module_2", "25", "13.1"])]
    known += [key(b"source", ["module", "26", "13.1"]), key(b"source", ["module", "25", "13.2"])]
    assert len(set(known)) == 5


@pytest.fixture
def other_vm(epmd: int, tmp_path: Path) -> Iterator[Vm]:
    with running_vm(epmd, tmp_path, otp=OTPS["bare"]()) as found:
        yield found


def test_each_version_of_otp_has_its_own(vm: Vm, other_vm: Vm, tmp_path: Path) -> None:
    versions = []
    for each in (vm, other_vm):
        with each.connected() as connection:
            told = evaluate(connection, "[list_to_binary(erlang:system_info(V)) || V <- [otp_release, version]].")
            agent = Agent(DistributionLink(connection), str(tmp_path))
            assert agent.owner.versions == [version.decode() for version in told]
            versions.append(agent.owner.versions)
            agent.unload()
    assert versions[0][0] != versions[1][0]
