"""Where the data folder of a stopped node is, by its own settings."""

from pathlib import Path

import pytest

from relup_remote.core.protocol import Failure
from relup_remote.core.release import data_dir_of, etc_of
from relup_remote.core.settings import setting

PATH = "node.data_dir"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("node.data_dir = data", "data"),
        ('node {\n name = "a@b"\n data_dir = "/var/lib/emqx" # here\n}\n', "/var/lib/emqx"),
        ("node { name = x, data_dir = my data }", "my data"),
        ("node : { data_dir : d }", "d"),
        ('"node"."data_dir" = """q"""', "q"),
        ('node {\n data_dir = "a"\n}\nnode.data_dir = b', "b"),
        ('log { file { path = "x=1{" } }\nnode {\n process_limit = 1\n data_dir: "/d"}', "/d"),
        ("include \"a.conf\"\nnode.data_dir = d", "d"),
        ('node {\n include "a.conf"\n data_dir = d\n}', "d"),
        ('other { include "a.conf" }\nnode.include = 1', None),
        ("{ node { data_dir = d } }", "d"),
        ("\ufeffnode.data_dir = d", "d"),
        ("other { node.data_dir = z }\n", None),
        ("x = [{data_dir = 1}]\nnode {\n cookie = \"}\"\n}\n", None),
        ("# node.data_dir = d\n// node.data_dir = e\n", None),
        ("", None),
    ],
)  # fmt: skip
def test_a_setting(text: str, value: str | None) -> None:
    assert setting(text, PATH) == value


@pytest.mark.parametrize(
    "text",
    [
        *("node.data_dir = ${DATA}", "node = ${base} { name = n }", 'include "a.conf"', "node.data_dir = [a]"),
        *('node.data_dir = d\ninclude "a.conf"', "node.data_dir = d\nnode.data_dir = ${?DATA}"),
        *('node { include required(file("/a.conf")) }', 'node.data_dir = d\ninclude file("/etc/a.b.conf")'),
    ],
)
def test_what_can_not_be_told_from_the_file_alone(text: str) -> None:
    with pytest.raises(ValueError, match=r"node\.data_dir"):
        setting(text, PATH)


def layout(root: Path, etc: str, conf: str | None) -> str:
    """A root whose settings are in the folder `etc`."""
    (root / "releases").mkdir(parents=True)
    (root / "releases" / "emqx_vars").write_text(f'EMQX_ETC_DIR="{etc}"\n')
    folder = Path(etc.replace("$RUNNER_ROOT_DIR", str(root)))
    folder.mkdir()
    if conf is not None:
        (folder / "emqx.conf").write_text(conf)
    return str(root)


def test_the_data_folder_of_a_stopped_node(tmp_path: Path) -> None:
    etc = tmp_path / "etc"
    assert data_dir_of(layout(tmp_path / "a", "$RUNNER_ROOT_DIR/etc", None)) == str(tmp_path / "a" / "data")
    assert data_dir_of(layout(tmp_path / "b", "$RUNNER_ROOT_DIR/etc", "node.data_dir = d")) == str(tmp_path / "b" / "d")
    assert data_dir_of(layout(tmp_path / "c", str(etc), 'node { data_dir = "/var/lib/emqx" }')) == "/var/lib/emqx"


@pytest.mark.parametrize("conf", [None, "", "node.data_dir = ${DATA}"])
def test_a_data_folder_is_not_guessed_where_a_package_has_it(tmp_path: Path, conf: str | None) -> None:
    base = layout(tmp_path / "emqx", str(tmp_path / "etc"), conf)
    with pytest.raises(Failure) as caught:
        data_dir_of(base)
    assert (caught.value.err_type, caught.value.detail["path"]) == ("data_dir_unknown", str(tmp_path / "etc/emqx.conf"))


@pytest.mark.parametrize(
    ("line", "folder"),
    [
        ("export EMQX_ETC_DIR=/etc/emqx", "/etc/emqx"),
        ('EMQX_ETC_DIR="${EMQX_ETC_DIR:-/etc/emqx}"', "/etc/emqx"),
        ('HERE=/srv\nEMQX_ETC_DIR="$HERE/etc"', "/srv/etc"),
        ("EMQX_ETC_DIR=conf", "BASE/conf"),
        ("RUNNER_USER=emqx", "BASE/etc"),
    ],
)
def test_the_settings_are_where_the_wrappers_shell_finds_them(line: str, folder: str, tmp_path: Path) -> None:
    (tmp_path / "releases").mkdir()
    (tmp_path / "releases" / "emqx_vars").write_text(f"{line}\n")
    assert etc_of(str(tmp_path)) == folder.replace("BASE", str(tmp_path))


@pytest.mark.parametrize("line", ['EMQX_ETC_DIR="$(dirname "$0")/etc"', "if true; then\nEMQX_ETC_DIR=/etc/emqx\nfi"])
def test_where_the_settings_are_is_not_guessed(line: str, tmp_path: Path) -> None:
    (tmp_path / "releases").mkdir()
    (tmp_path / "releases" / "emqx_vars").write_text(f"{line}\n")
    with pytest.raises(Failure, match="does not tell where the node's settings are") as caught:
        etc_of(str(tmp_path))
    assert caught.value.err_type == "boot_unclear"
