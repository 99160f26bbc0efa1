"""What the lab's wrapper has in common with a real one, feature by feature. Each can be left out, to show its use.

A release has all of them. `releases/without` of a tree, one name a line, takes some away from what runs from that tree.
"""

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path

WITHOUT = Path("releases", "without")
"""The file that names what a tree lacks, below its root."""


class Feature(StrEnum):
    """A feature, by the name that it has in the file."""

    NO_RESTART = "no_restart"
    """The wrapper has no command `restart`: a node is stopped, then started."""
    CHECK_CONFIG = "check_config"
    """The wrapper has the command `check_config`, which reads the node's configuration with the tree's own code."""
    RESTRICTED_SHELL = "restricted_shell"
    """Who attaches a shell to the node can't halt it."""
    NAMED_TOOLS = "named_tools"
    """nodetool and `remote_console` are VMs with the node's name among their words, for as long as they run."""
    RUNNER_USER = "runner_user"
    """The wrapper runs as the user that `emqx_vars` names, or not at all."""


class Vars(StrEnum):
    """Which folders a release's `emqx_vars` names to its wrapper, by how the release was built."""

    RELATIVE = "relative"
    """Those of the tree that the wrapper runs from: only a base has any."""
    BASE = "base"
    """Those of the base, whichever tree the wrapper runs from."""
    PACKAGE = "package"
    """Those of an installed package: /etc/emqx and its like."""


def folders(kind: Vars) -> dict[str, str]:
    """The variables of `emqx_vars` that say where a node's files are, as a build of this kind has them."""
    if kind is Vars.PACKAGE:
        return {
            "RUNNER_BIN_DIR": "/usr/bin",
            "EMQX_ETC_DIR": "/etc/emqx",
            "EMQX_LOG_DIR": "/var/log/emqx",
            "EMQX_PLUGINS_DIR": "/var/lib/emqx/plugins",
            "RUNNER_USER": "emqx",
        }
    at = "$RUNNER_ROOT_DIR" if kind is Vars.RELATIVE else "$BASE_RUNNER_ROOT_DIR"
    return {
        "RUNNER_BIN_DIR": "$RUNNER_ROOT_DIR/bin",
        "EMQX_ETC_DIR": f"{at}/etc",
        "EMQX_LOG_DIR": f"{at}/log",
        "EMQX_PLUGINS_DIR": f"{at}/plugins",
        "RUNNER_USER": "",
    }


def emqx_vars(version: str, erts: str, named: Mapping[str, str], elixir: bool = False) -> str:
    """A release's `emqx_vars`, with the folders ``named`` (as from `folders`)."""
    return f"""\
## Do not replace this file at an upgrade: set what changes anew at its end.
REL_VSN="{version}"
ERTS_VSN="{erts}"
RUNNER_BIN_DIR="{named["RUNNER_BIN_DIR"]}"
RUNNER_LIB_DIR="$RUNNER_ROOT_DIR/lib"
IS_ELIXIR="${{IS_ELIXIR:-{"yes" if elixir else "no"}}}"
EMQX_LOG_DIR="${{EMQX_LOG_DIR:-{named["EMQX_LOG_DIR"]}}}"
EMQX_ETC_DIR="{named["EMQX_ETC_DIR"]}"
EMQX_PLUGINS_DIR="{named["EMQX_PLUGINS_DIR"]}"
RUNNER_USER="{named["RUNNER_USER"]}"
IS_ENTERPRISE="no"
EMQX_DEFAULT_ERLANG_COOKIE='emqxsecretcookie'
REL_NAME="emqx"
export EMQX_DESCRIPTION='EMQX lab'

## updated vars here
"""


def with_folders(text: str, named: Mapping[str, str]) -> str:
    """The text of an `emqx_vars` as a build that names these folders would have it."""
    release, erts = (re.search(rf'^{name}="(.+)"$', text, re.MULTILINE) for name in ("REL_VSN", "ERTS_VSN"))
    assert release, "no REL_VSN"
    assert erts, "no ERTS_VSN"
    return emqx_vars(release[1], erts[1], named, elixir="IS_ELIXIR:-yes" in text)


def leave_out(tree: Path, features: Iterable[Feature]) -> None:
    """Take features of the wrapper away from a tree; all others it has."""
    (tree / WITHOUT).write_text("".join(f"{feature}\n" for feature in features))
