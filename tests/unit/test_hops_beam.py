"""Beam files: what is read of them, compared with what Erlang says, and whatever else may stand in such a file."""

import dataclasses
import gzip
import pickle
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relup_remote.hops.beam import Beam, BeamError, is_named, read_beam
from tests.points import examples

from .beams import chunks_of, compiled, joined, named, numbers, with_chunk
from .core.vm import OTPS, SYSTEM
from .erlang_says import erl, facts, lib_dir, plain

SCRIPT = "beam_facts.script"

LOADED = """-module(loaded).
-on_load(init/0).
-behaviour(gen_event).
-behavior(application).
-behaviour('größe').
-export([call/1, 'größe'/0]).
init() -> ok.
call(X) -> (fun(Y) -> lists:reverse([X, Y | 'größe'()]) end)("a literal").
'größe'() -> loaded:call(gb_trees:empty()).
"""
LONG = "-module(long).\n-on_load(start/0).\n-export([f/1]).\n"
PLAIN = "-module(plain).\n-export([f/0]).\nf() -> 149.\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with beam files of our own: of `LOADED`, of `PLAIN`, and of one with `on_load` and 3,000 atoms more."""
    folder = tmp_path_factory.mktemp("beams")
    compiled(LOADED, folder)
    compiled(PLAIN, folder)
    atoms = ", ".join(f"atom_{number}" for number in range(3000))
    compiled(f"{LONG}f(X) -> [X | [{atoms}]].\nstart() -> f(1), ok.\n", folder)
    return folder


@pytest.mark.share(1)
@pytest.mark.parametrize("otp", OTPS)
def test_all_of_otp_is_read_as_erlang_reads_it(otp: str, tmp_path: Path) -> None:
    installed = OTPS[otp]()
    paths = sorted(lib_dir(installed).glob("*/ebin/*.beam"))
    said = facts(installed, SCRIPT, paths, tmp_path)
    assert len(said) == len(paths) > 150
    for path in paths:
        assert fields(read_beam(path.read_bytes())) == tuple(map(plain, said[path])), path
    assert {plain(found[5]) for found in said.values()} == {True, False}


def fields(beam: Beam) -> tuple[Any, ...]:
    """What Erlang says of a module too."""
    return dataclasses.astuple(beam)[:-1]


def test_what_a_source_says_is_found(folder: Path, tmp_path: Path) -> None:
    paths = sorted(folder.glob("*.beam"))
    said = facts(SYSTEM, SCRIPT, paths, tmp_path)
    found = {path.stem: read_beam(path.read_bytes()) for path in paths}
    assert {path.stem: fields(found[path.stem]) for path in paths} == {
        path.stem: tuple(map(plain, said[path])) for path in paths
    }
    loaded = found["loaded"]
    assert loaded.behaviours == [b"application", b"gen_event", "größe".encode()]
    assert ("größe".encode(), 0) in loaded.exports
    assert loaded.calls == [b"erlang", b"gb_trees", b"lists"]
    assert {name: beam.on_load for name, beam in found.items()} == {"loaded": True, "long": True, "plain": False}


def test_a_stripped_and_compressed_beam_is_the_same_code(folder: Path, tmp_path: Path) -> None:
    whole = folder / "loaded.beam"
    stripped = tmp_path / "loaded.beam"
    stripped.write_bytes(whole.read_bytes())
    erl(SYSTEM, f'{{ok, _}} = beam_lib:strip_files(["{stripped}"])')
    assert stripped.read_bytes()[:2] == b"\x1f\x8b"
    found = read_beam(stripped.read_bytes())
    assert found == dataclasses.replace(read_beam(whole.read_bytes()), behaviours=[])
    assert fields(found) == tuple(map(plain, facts(SYSTEM, SCRIPT, [stripped], tmp_path)[stripped]))


CHUNKS = [b"AtU8", b"Code", b"StrT", b"ImpT", b"ExpT", b"FunT", b"LitT", b"Attr", b"Meta"]
SMALL = named("small", ("f", "g"))


def long_atoms(*atoms: bytes) -> bytes:
    """The table of atoms as OTP 28 writes it: each length a compact number of four or eleven bits."""
    parts = [
        (bytes([len(atom) << 4]) if len(atom) < 16 else bytes([len(atom) >> 8 << 5 | 8, len(atom) & 255])) + atom
        for atom in atoms
    ]
    return numbers(-len(atoms)) + b"".join(parts)


@pytest.mark.parametrize("name", ["x" * 15, "x" * 16, "x" * 255, "ж" * 255, "𝄞" * 255])
def test_long_names_as_otp_28_has_them(name: str) -> None:
    beam = read_beam(with_chunk(SMALL, b"AtU8", long_atoms(b"small", name.encode(), b"g")))
    assert beam.exports == sorted([(name.encode(), 0), (b"g", 0)])


def test_of_two_chunks_with_one_name_the_later_counts() -> None:
    other = dict(chunks_of(named("other", ("f", "g"))))[b"AtU8"]
    assert read_beam(joined([*chunks_of(SMALL), (b"AtU8", other)])).module == b"other"


def test_what_follows_the_container_is_passed_over() -> None:
    assert read_beam(SMALL + b"rest") == read_beam(SMALL)


DAMAGED = {
    "nothing": (b"", "is not a beam file"),
    "text": (b"-module(m).\n", "is not a beam file"),
    "another container": (b"FOR1\0\0\0\x04AIFF", "is not a beam file"),
    "no gzip": (b"\x1f\x8b garbage", "it can't be inflated"),
    "gzip cut short": (gzip.compress(SMALL)[:-9], "it can't be inflated to its end"),
    "gzip of text": (gzip.compress(b"text"), "is not a beam file"),
    "gzip bomb": (gzip.compress(bytes(33 << 20)), "is too large"),
    "cut short": (SMALL[:-1], "is cut short"),
    "chunk too long": (SMALL[:16] + b"\xff\xff\xff\xff" + SMALL[20:], "is cut short within a chunk"),
    "no atoms": (with_chunk(SMALL, b"AtU8", None), "has no chunk AtU8"),
    "no code": (with_chunk(SMALL, b"Code", None), "has no chunk Code"),
    "no strings": (with_chunk(SMALL, b"StrT", None), "has no chunk StrT"),
    "no imports": (with_chunk(SMALL, b"ImpT", None), "has no chunk ImpT"),
    "no exports": (with_chunk(SMALL, b"ExpT", None), "has no chunk ExpT"),
    "empty code": (with_chunk(SMALL, b"Code", b""), "is cut short within a chunk"),
    "code of another format": (with_chunk(SMALL, b"Code", numbers(16, 1, 176, 2, 1)), "unknown format"),
    "header longer than the code": (with_chunk(SMALL, b"Code", numbers(17, 0, 176, 2, 1)), "unknown format"),
    "empty table of atoms": (with_chunk(SMALL, b"AtU8", b""), "is cut short within a chunk"),
    "no atom": (with_chunk(SMALL, b"AtU8", numbers(0)), "its atoms are cut short"),
    "atoms missing": (with_chunk(SMALL, b"AtU8", numbers(1 << 30) + b"\x05small"), "its atoms are cut short"),
    "atom cut short": (with_chunk(SMALL, b"AtU8", numbers(1) + b"\x06small"), "its atoms are cut short"),
    "long atoms missing": (with_chunk(SMALL, b"AtU8", numbers(-(1 << 31))), "its atoms are cut short"),
    "long atom cut short": (with_chunk(SMALL, b"AtU8", numbers(-1) + b"\x08"), "its atoms are cut short"),
    "length beyond eleven bits": (
        with_chunk(SMALL, b"AtU8", numbers(-1) + b"\x18\x10\x00"),
        "an atom that is too long",
    ),
    "atom of 256 characters": (with_chunk(SMALL, b"AtU8", long_atoms(b"x" * 256)), "an atom that is too long"),
    "atom that is not UTF-8": (with_chunk(SMALL, b"AtU8", numbers(1) + b"\x01\xff"), "an atom that is not UTF-8"),
    "exports missing": (with_chunk(SMALL, b"ExpT", numbers(2, 2, 0, 1)), "is cut short within a chunk"),
    "exports beyond all memory": (with_chunk(SMALL, b"ExpT", numbers(-1)), "is cut short within a chunk"),
    "export without a name": (with_chunk(SMALL, b"ExpT", numbers(1, 0, 0, 1)), "an atom that it does not have"),
    "export with a name too many": (with_chunk(SMALL, b"ExpT", numbers(1, 4, 0, 1)), "an atom that it does not have"),
    "import without a module": (with_chunk(SMALL, b"ImpT", numbers(1, 0, 1, 0)), "an atom that it does not have"),
    "import without a function": (with_chunk(SMALL, b"ImpT", numbers(1, 1, 9, 0)), "an atom that it does not have"),
    "import of 256 arguments": (with_chunk(SMALL, b"ImpT", numbers(1, 1, 2, 256)), "too many arguments"),
    "funs cut short": (with_chunk(SMALL, b"FunT", numbers(1, 1, 0, 1, 0, 0)), "its funs are cut short"),
    "funs missing": (with_chunk(SMALL, b"FunT", numbers(2, 1, 0, 1, 0, 0, 0)), "its funs are cut short"),
    "literals that are not deflated": (with_chunk(SMALL, b"LitT", numbers(9) + b"garbage"), "can't be inflated"),
    "literals cut short": (with_chunk(SMALL, b"LitT", numbers(9) + zlib.compress(bytes(9))[:-1]), "to its end"),
    "literals shorter than told": (with_chunk(SMALL, b"LitT", numbers(10) + zlib.compress(bytes(9))), "another size"),
    "literals longer than told": (with_chunk(SMALL, b"LitT", numbers(8) + zlib.compress(bytes(9))), "is too large"),
    "attributes that are no term": (with_chunk(SMALL, b"Attr", b"\x83\x6c"), "its attributes are not a term"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_what_is_wrong_is_named(kind: str) -> None:
    content, reason = DAMAGED[kind]
    with pytest.raises(BeamError) as caught:
        read_beam(content)
    assert reason in caught.value.reason


@pytest.mark.parametrize(
    "attributes", [b"\x83a\x05", b"\x83j", b"\x83k\0\x01a", b"\x83l\0\0\0\x01h\x02w\x09behaviourj\x6a"]
)
def test_attributes_without_behaviours(attributes: bytes) -> None:
    assert read_beam(with_chunk(SMALL, b"Attr", attributes)).behaviours == []


def test_a_beam_cut_short_anywhere_is_no_beam(folder: Path) -> None:
    whole = (folder / "loaded.beam").read_bytes()
    for length in range(len(whole)):
        with pytest.raises(BeamError):
            read_beam(whole[:length])


@settings(max_examples=examples(1000), deadline=None)
@given(st.dictionaries(st.sampled_from(CHUNKS), st.binary(max_size=40)))
def test_any_chunks_are_read_or_refused(replaced: dict[bytes, bytes]) -> None:
    content = SMALL
    for name, data in replaced.items():
        content = with_chunk(content, name, data)
    read_or_refused(content)


@settings(max_examples=examples(1000), deadline=None)
@given(st.data())
def test_any_damage_is_read_or_refused(folder: Path, data: st.DataObject) -> None:
    content = bytearray((folder / "loaded.beam").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(content)))
        content[start : start + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    read_or_refused(bytes(content))


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused(content: bytes) -> None:
    with pytest.raises(BeamError):
        read_beam(content)


def read_or_refused(content: bytes) -> None:
    """Reads a beam file: all of it is there and of the right kind, or it is refused with a clause."""
    try:
        beam = read_beam(content)
    except BeamError as error:
        assert error.reason.startswith(("is ", "has "))
        return
    assert len(beam.md5) == 16
    assert all(0 <= arity <= 255 for _, arity in beam.exports)
    assert beam.module not in beam.calls
    for name in (beam.module, *beam.calls, *beam.behaviours, *(function for function, _ in beam.exports)):
        name.decode()


READ_IN_SMALL_MEMORY = """
import pickle, resource, sys
from relup_remote.hops.beam import BeamError, read_beam
from tests.points import examples

contents = pickle.load(sys.stdin.buffer)
resource.setrlimit(resource.RLIMIT_AS, (400 << 20, 400 << 20))
for content in contents:
    try:
        read_beam(content)
    except BeamError:
        print("refused")
"""


def test_numbers_that_lie_cost_no_memory() -> None:
    contents = [content for content, _ in DAMAGED.values()]
    contents.append(with_chunk(SMALL, b"LitT", numbers(-1) + zlib.compress(bytes(64 << 20))))
    command = [sys.executable, "-c", READ_IN_SMALL_MEMORY]
    done = subprocess.run(command, input=pickle.dumps(contents), capture_output=True, check=True)
    assert done.stdout.split() == [b"refused"] * len(contents)


SUPERVISOR = """-module(demo_sup).
-behaviour(supervisor).
-export([init/1]).
init([]) -> {ok, {#{}, [#{id => a, start => {demo_worker_of_a_long_name, start_link, []}}, {b, {short, f, []}}]}}.
"""


def test_what_a_supervisor_names(tmp_path: Path) -> None:
    names = read_beam(compiled(SUPERVISOR, tmp_path).read_bytes()).names
    wanted = ("demo_worker_of_a_long_name", "short", "demo_worker", "hort", "demo_sup")
    assert [is_named(name, names) for name in wanted] == [True, True, False, False, True]


def test_names_in_the_compact_form_of_newer_versions() -> None:
    long = "n" * 20
    assert is_named("short", b"\x10a\x50short\x08\x14" + long.encode())
    assert is_named(long, b"\x08\x14" + long.encode())
    assert not is_named("short", b"\x60ashort")


def test_what_starts_nothing_names_nothing(tmp_path: Path) -> None:
    beam = compiled("-module(plain).\n-export([f/0]).\nf() -> {start_link, demo_worker}.\n", tmp_path)
    assert read_beam(beam.read_bytes()).names == b""
