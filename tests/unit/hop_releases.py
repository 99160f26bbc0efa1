"""Two small releases for hops to lead between, and a hop that is right. The modules are compiled once a session."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from relup_remote.hops.catalogue import Helper
from relup_remote.hops.compare import Difference, read_release

from .core.archive.tarballs import entry, tarball
from .erlc import compile_all

HOP = """\
%% A hop that is right.
#{from_version => "1.0",
  target_version => "1.1",
  code_changes => [
      {load_module, demo_lib},
      {load_module, demo_api},
      {update, demo_worker, {advanced, []}},
      {restart_application, extra},
      {apply, extra, ready, []},
      {apply, demo_helper, settle, [node()]},
      {load_module, emqx_release}],
  post_upgrade_callbacks => [
      log,
      {ensure, [1]}]}.
"""

HELPER = Helper(
    "demo_helper.erl", '-module(demo_helper).\n-export([settle/1]).\n%% "-export([no/0])."\nsettle(_) -> ok.\n'
)

_STATE = "init(S) -> {ok, S}.\nhandle_call(_, _, S) -> {reply, ok, S}.\nhandle_cast(_, S) -> {noreply, S}.\n"
_CHANGE = "code_change(_, S, _) -> {ok, S}.\n"
_SUPERVISOR = "-behaviour(supervisor).\n-export([init/1]).\n"
_CHILD = "{worker, {demo_worker, start_link, []}, permanent, 5, worker, [demo_worker]}"


def _server(exports: str, functions: str = "") -> str:
    callbacks = "-export([init/1, handle_call/3, handle_cast/2]).\n"
    return f"-behaviour(gen_server).\n{callbacks}-export([{exports}]).\n{_STATE}{functions}"


SOURCES: dict[str, dict[str, str]] = {
    "old": {
        "emqx_release": '-export([version/0]).\nversion() -> "1.0".\n',
        "emqx_post_upgrade": "-export([log/1, ensure/2]).\nlog(_) -> ok.\nensure(_, N) -> N.\n",
        "demo_lib": "-export([f/0, past/0]).\nf() -> 1.\npast() -> 1.\n",
        "demo_api": "-export([get/0]).\nget() -> demo_lib:past().\n",
        "demo_same": "-export([get/0]).\nget() -> demo_lib:f().\n",
        "demo_worker": _server("code_change/3", _CHANGE),
        "demo_sup": f"{_SUPERVISOR}init(_) -> {{ok, {{{{one_for_one, 1, 1}}, [{_CHILD}]}}}}.\n",
        "extra": "-export([ready/0]).\nready() -> ok.\n",
        "extra_past": "-export([f/0]).\nf() -> ok.\n",
        "std": "-export([member/2]).\nmember(_, _) -> false.\n",
    },
    "new": {
        "emqx_release": '-export([version/0]).\nversion() -> "1.1".\n',
        "demo_lib": "-export([f/0, coming/0]).\nf() -> 2.\ncoming() -> 2.\n",
        "demo_api": "-export([get/0]).\nget() -> demo_lib:coming().\n",
        "demo_worker": _server("code_change/3, more/0", f"{_CHANGE}more() -> ok.\n"),
        "extra": "-export([ready/0, all/0]).\nready() -> ok.\nall() -> extra_coming:f().\n",
        "extra_coming": "-export([f/0]).\nf() -> ok.\n",
    },
    # What the one or the other release has in the place of its own, for a defect.
    "other": {
        "demo_lib": "-export([coming/0]).\ncoming() -> 3.\n",
        "demo_worker": _server(""),
        "demo_sup": f"{_SUPERVISOR}init(_) -> {{ok, {{{{one_for_all, 1, 1}}, [{_CHILD}]}}}}.\n",
        "demo_same": "-export([get/0]).\n-on_load(start/0).\nstart() -> ok.\nget() -> demo_lib:f().\n",
        "demo_native": "-export([f/0]).\nf() -> erlang:load_nif(\"f\", 0).\n",
        "demo_server": _server("code_change/3", _CHANGE),
        "demo_more": "-export([f/0]).\nf() -> ok.\n",
        "std": "-export([member/2]).\nmember(_, _) -> true.\n",
    },
    "more": {
        "demo_native": "-export([f/0]).\nf() -> erlang:load_nif(\"g\", 0).\n",
        "demo_server": _server("code_change/3, more/0", f"{_CHANGE}more() -> ok.\n"),
    },
}  # fmt: skip

_APPS = {
    "emqx": ("emqx-1", "[{modules, [emqx_release, emqx_post_upgrade]}, {applications, [kernel, stdlib]}]"),
    "demo": (
        "demo-1",
        "[{modules, [demo_lib, demo_api, demo_same, demo_worker, demo_sup]}, {applications, [kernel, stdlib]},"
        " {env, [{level, 1}]}, {mod, {demo, []}}]",
    ),
    "kernel": ("kernel-1", "[{modules, []}]"),
    "stdlib": ("stdlib-1", "[{modules, [std]}]"),
}
_EXTRA = {
    "old": ("extra-1", "[{modules, [extra, extra_past]}, {applications, [kernel, demo]}]"),
    "new": ("extra-2", "[{modules, [extra, extra_coming]}, {applications, [kernel, demo]}]"),
}
_FOLDERS = {"emqx": "emqx-1", "demo": "demo-1", "std": "stdlib-1"}


class Beams:
    """The compiled modules, by the sets of `SOURCES`."""

    def __init__(self, folder: Path) -> None:
        for name, sources in SOURCES.items():
            (folder / name).mkdir()
            for module, source in sources.items():
                (folder / name / f"{module}.erl").write_text(f"-module({module}).\n{source}")
        compile_all(folder.glob("*/*.erl"))
        self._beams = {
            name: {path.stem: path.read_bytes() for path in (folder / name).glob("*.beam")} for name in SOURCES
        }

    def of(self, name: str, module: str) -> bytes:
        """A module of a set."""
        return self._beams[name][module]

    def files(self, name: str) -> dict[str, bytes]:
        """The files of the old release or of the new one."""
        modules = dict(self._beams["old"])
        if name == "new":
            del modules["extra_past"]
            modules |= self._beams["new"]
        apps = {**_APPS, "extra": _EXTRA[name]}
        version = {"old": "1.0", "new": "1.1"}[name]
        found = {
            "releases/emqx_vars": f'REL_VSN="{version}"\nERTS_VSN="13.1"\n'.encode(),
            f"releases/{version}/BUILD_INFO": b'erlang: "25.2"\nos: "debian12"\narch: "x86_64"\n',
            f"releases/{version}/emqx.rel": _rel(version, [folder for folder, _ in apps.values()]),
        }
        for app, (folder, keys) in apps.items():
            found[f"lib/{folder}/ebin/{app}.app"] = f"{{application, {app}, {keys}}}.".encode()
        for module, beam in modules.items():
            folder = apps["extra"][0] if module.startswith("extra") else _FOLDERS[module.partition("_")[0]]
            found[f"lib/{folder}/ebin/{module}.beam"] = beam
        return found


def _rel(version: str, folders: list[str]) -> bytes:
    apps = ", ".join('{{{}, "{}"}}'.format(*folder.split("-")) for folder in folders)
    return f'{{release, {{"emqx", "{version}"}}, {{erts, "13.1"}}, [{apps}]}}.'.encode()


@dataclass(frozen=True)
class Edit:
    """What is changed of a release: files by name, None to leave one out; and parts of files, by pattern."""

    files: Mapping[str, bytes | None] = field(default_factory=dict)
    texts: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def of(self, files: Mapping[str, bytes]) -> dict[str, bytes]:
        """The files of a release, changed."""
        found = {**files, **self.files}
        for name, (pattern, replacement) in self.texts.items():
            text, count = re.subn(pattern, replacement, files[name].decode())
            assert count, f"{name} has no {pattern}"
            found[name] = text.encode()
        return {name: content for name, content in found.items() if content is not None}


def write(folder: Path, name: str, files: Mapping[str, bytes]) -> Path:
    """The tarball of a release."""
    return Path(tarball(folder / f"{name}.tar.gz", *(entry(path.encode(), data) for path, data in files.items())))


def difference(folder: Path, beams: Beams, old: Edit = Edit(), new: Edit = Edit()) -> Difference:
    """What the two releases differ in, each changed by an edit."""
    edits = {"old": old, "new": new}
    return Difference(*(read_release(write(folder, name, edit.of(beams.files(name)))) for name, edit in edits.items()))
