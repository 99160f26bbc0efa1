"""Files of terms: .app and .rel of a release, the option file of TLS distribution."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relup_remote.core.erlang.consult import read_terms
from relup_remote.core.erlang.options import client_context
from relup_remote.core.release import missing_in

from .inputs import bounded, fuzz, garbled, made_of

PARTS = [
    *(
        "[",
        "]",
        "{",
        "}",
        "#{",
        "<<",
        ">>",
        "=>",
        ",",
        ".",
        ". ",
        " ",
        "\n",
        "%",
        '"',
        "'",
        "\\",
        "$",
        "$\\",
        "16#",
        "-",
        "1",
    ),
    *(
        "1.5",
        "1.0e999",
        "9" * 5000,
        "atom",
        "Variable",
        '"text"',
        "'quoted'",
        "\\x{110000}",
        "\\^",
        "fun",
        "\0",
        "é",
        "\ud800",
    ),
]
REL = '{release, {"emqx", "5.10.5"}, {erts, "15.2"}, [{kernel, "10.2"}, {\'stdlib\', "6.2", load}]}.'
APP = '{application, kernel, [{vsn, "10.2"}, {modules, [code, net_kernel]}, {env, [{a, #{b => <<"c">>}}]}]}.'
OPTIONS = '[{server, [{certfile, "/a"}, {keyfile, "/b"}]}, {client, [{cacertfile, "/c"}, {verify, verify_peer}]}].'
PLACES = ("rel", "app")

names = st.sampled_from(["kernel", "..", "a/b", "", "\0", "é", "x" * 300, "../../../../etc/passwd"])


@fuzz
@given(made_of(PARTS) | garbled(APP))
def test_texts(source: str) -> None:
    try:
        read_terms(source)
    except ValueError as error:
        assert str(error)


@pytest.mark.parametrize("part", ["[", "{", "#{", "<<", "[[],", "'", '"', '"a"', '""', "\\", "%", "% ", "1", "$", "a."])
def test_a_million_characters(part: str) -> None:
    with bounded(20.0):
        try:
            read_terms(part * (200_000 // len(part)))
        except ValueError as error:
            assert len(str(error)) < 200


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A tree that has what tells its version."""
    (tmp_path / "releases" / "5.10.5").mkdir(parents=True)
    (tmp_path / "releases" / "emqx_vars").write_text('REL_VSN="5.10.5"\n')
    (tmp_path / "releases" / "5.10.5" / "BUILD_INFO").write_text("")
    (tmp_path / "lib" / "kernel-10.2" / "ebin").mkdir(parents=True)
    return tmp_path


def look(root: Path, rel: str, app: str) -> None:
    """What the tree lacks is named, nothing in it changes, and nothing outside of it is looked at."""
    (root / "releases" / "5.10.5" / "emqx.rel").write_text(rel, errors="replace")
    (root / "lib" / "kernel-10.2" / "ebin" / "kernel.app").write_text(app, errors="replace")
    before = sorted(root.rglob("*"))
    missing = missing_in(str(root))
    assert missing
    assert all(".." not in path.split("/") for path in missing)
    assert sorted(root.rglob("*")) == before


@fuzz
@given(garbled(REL) | made_of(PARTS))
def test_rel_files(root: Path, rel: str) -> None:
    look(root, rel, APP)


@fuzz
@given(garbled(APP) | made_of(PARTS))
def test_app_files(root: Path, app: str) -> None:
    look(root, REL, app)


@fuzz
@given(st.lists(names, min_size=4, max_size=4))
def test_names(root: Path, found: list[str]) -> None:
    erts, app, version, module = found
    look(
        root,
        f'{{release, {{"emqx", "1"}}, {{erts, "{erts}"}}, [{{\'{app}\', "{version}"}}, {{kernel, "10.2"}}]}}.',
        f"{{application, kernel, [{{modules, ['{module}']}}]}}.",
    )


@fuzz
@given(
    garbled(OPTIONS)
    | made_of([*PARTS, "{client, ", "{server, ", "{certfile, ", "{password, ", "{verify, verify_peer}"])
)
def test_option_files(tmp_path: Path, source: str) -> None:
    path = tmp_path / "dist.conf"
    path.write_text(source, encoding="utf-8", errors="replace")
    with contextlib.suppress(OSError, ValueError):
        client_context(str(path))
