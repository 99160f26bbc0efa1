"""Inventories."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relup_remote.inventory import InventoryError, ansible, ansible_variables, load
from relup_remote.settings import SETTINGS
from relup_remote.usage import UsageError

from .inputs import bounded, damaged, fuzz, made_of

GOOD = """defaults: {user: emqx, key: ~/.ssh/id_ed25519, port: 22}
hosts:
  n1: {address: 10.0.0.1, root_dir: /opt/emqx, connect_timeout: 2.5}
  n2: {}
groups:
  cores: [n1, n2]
"""
PARTS = [
    *(
        "defaults:",
        "hosts:",
        "groups:",
        " ",
        "\n",
        "\n  ",
        "{",
        "}",
        "[",
        "]",
        ":",
        ": ",
        ",",
        "- ",
        "? ",
        "&a ",
        "*a",
        "<<: ",
    ),
    *(
        "!!int ",
        "!!float ",
        "!!binary ",
        "!!timestamp ",
        "!!python/name:os.system ",
        "!x ",
        "2001-99-99",
        "0x",
        "1e999",
        "n1",
        "'",
    ),
    *('"', "\\ud800", "\\0", "#", "|", ">", "%", "---", "...", "\t", "~nobody/x", "é", "\0", "null", "true", "1:99:99"),
]
VALUES = [
    "2001-99-99",
    "!!int x",
    "!!float x",
    "!!binary x",
    "9" * 400,
    ".inf",
    ".nan",
    "1e400",
    "-1",
    "[]",
    "{a: *x}",
    '"\\ud800"',
    "~",
]


def read(path: Path, content: bytes) -> None:
    """An inventory, or the error that says what is wrong with it."""
    path.write_bytes(content)
    try:
        inventory = load(path)
    except InventoryError as error:
        assert str(path) in str(error)
        assert len(str(error)) < 10_000
    else:
        assert inventory.select()


@fuzz
@given(damaged(GOOD.encode()) | made_of(PARTS).map(lambda text: text.encode(errors="replace")))
def test_files(tmp_path: Path, content: bytes) -> None:
    read(tmp_path / "hosts.yml", content)


@fuzz
@given(st.sampled_from([*SETTINGS, "<<", "no_such"]), st.sampled_from(VALUES) | st.text(max_size=5))
def test_settings(tmp_path: Path, name: str, value: str) -> None:
    read(tmp_path / "hosts.yml", f"hosts:\n  n1: {{{name}: {value}}}\n".encode(errors="replace"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["{{ x }}", "no"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
VARIABLES = [name for names, _meaning in ansible_variables.MEANINGS for name in names]
VARIABLES += [f"relup_{name}" for name in (*SETTINGS, "no_such")]


@fuzz
@given(st.dictionaries(st.sampled_from([*VARIABLES, "ansible_password"]), JSON))
def test_variables_of_ansible(tmp_path: Path, variables: dict[str, Any]) -> None:
    document = {"_meta": {"hostvars": {"n1": variables}}, "all": {"children": ["ungrouped"], "hosts": ["n2", "n1"]}}
    found = ansible.inventory(tmp_path / "hosts", document)
    assert [host.name for host in found.select(["n2"])] == ["n2"]
    try:
        found.select(["n1"])
    except InventoryError as error:
        assert error.where.startswith("hosts.n1")
        assert len(str(error)) < 10_000
    except UsageError as error:
        assert "ansible_connection" in variables, error


@pytest.mark.parametrize(
    "text",
    [
        "[" * 50_000,
        "hosts: " + "{a: " * 5000,
        "hosts: &a {<<: *a}",
        "hosts: &a [*a]",
        "hosts: {n1: &a {key: *a}}",
        f"hosts: {{n1: {{port: {'9' * 10_000}}}}}",
        f"hosts: {{n1: {{port: 0x{'9' * 10_000}}}}}",
        f"hosts: {{0x{'9' * 10_000}: {{}}}}",
        f"hosts: {{n1: {{connect_timeout: {'9' * 400}}}}}",
        f"hosts: {{n1: {{key: {'[' * 300}{']' * 300}}}}}",
    ],
    ids=lambda text: text[:30],
)
def test_what_goes_on_and_on(tmp_path: Path, text: str) -> None:
    with bounded(), pytest.raises(InventoryError):
        path = tmp_path / "hosts.yml"
        path.write_text(text)
        load(path)


def test_a_few_lines_that_stand_for_billions(tmp_path: Path) -> None:
    bomb = "&b0 [x]"
    for level in range(1, 13):
        bomb = f"&b{level} [{bomb}, {', '.join([f'*b{level - 1}'] * 9)}]"
    with bounded(memory=64 << 20):
        for text in (
            bomb,
            f"hosts: {bomb}",
            f"hosts: {{n1: {{port: {bomb}}}}}",
            f"hosts: {{n1: {{}}}}\ngroups: {{g: {bomb}}}",
        ):
            read(tmp_path / "hosts.yml", text.encode())
