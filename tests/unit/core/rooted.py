"""A plain VM that runs from a root shaped as EMQX's, with nothing of EMQX in it: cheap, and real to `locate`."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from relup_remote.core.erlang.distribution import DistributionError
from relup_remote.core.erlang.link import epmd_port
from relup_remote.core.site import Site, locate

from .vm import Vm, eventually, running

BASE, TARGET = "5.10.4", "5.10.5"
_PROGRAMS = ("beam.smp", "erlexec", "erl_child_setup", "inet_gethost")


def erlang_root() -> Path:
    """Where the Erlang on the PATH lies."""
    said = subprocess.run(
        ["erl", "-noshell", "-eval", "io:put_chars(code:root_dir()), halt()."],
        check=True,
        capture_output=True,
        text=True,
    )
    return Path(said.stdout)


@dataclass
class Root:
    """A root on disk: its folder, and the Erlang that its programs are copies of."""

    path: Path
    erlang: Path

    @property
    def data(self) -> Path:
        return self.path / "data"

    def site(self, **settings: str | None) -> Site:
        """The site that a request finds there."""
        return locate({"root_dir": str(self.path), **settings})

    def tree(self, version: str) -> Path:
        """A whole tree of that version: the base's, or a deployed one."""
        tree = self.path if version == BASE else self.path / "relup" / version
        (erts,) = self.erlang.glob("erts-*")
        programs = tree / erts.name / "bin"
        programs.mkdir(parents=True)
        for name in _PROGRAMS:
            shutil.copy(erts / "bin" / name, programs)
        (tree / "lib").symlink_to(self.erlang / "lib")
        releases = tree / "releases"
        (releases / version).mkdir(parents=True)
        (releases / "emqx_vars").write_text(f'REL_VSN="{version}"\nEMQX_ETC_DIR="$RUNNER_ROOT_DIR/etc"\n')
        (releases / version / "BUILD_INFO").write_text('erlang: "25.0"\n')
        return tree

    @contextlib.contextmanager
    def node(self, epmd: int, name: str, *options: str, version: str = BASE) -> Iterator[Vm]:
        """A VM that runs from the tree of a version, waited for until epmd knows it."""
        tree = self.path if version == BASE else self.path / "relup" / version
        command, environment = self._started(tree)
        command += ["-name", name, "-setcookie", "cookie", "-start_epmd", "false"]
        command += ["-kernel", "inet_dist_use_interface", "{127,0,0,1}", *options, "-emqx_data_dir", str(self.data)]
        environment.update({"ERL_EPMD_PORT": str(epmd), "ERL_EPMD_ADDRESS": "127.0.0.1"})
        with running(command, environment) as process:
            assert eventually(lambda: epmd_port(name.partition("@")[0], epmd) is not None), "the VM did not come up"
            vm = Vm(name, "cookie", process, epmd)
            assert eventually(lambda: _answers(vm))
            yield vm

    @contextlib.contextmanager
    def tool(self, *words: str) -> Iterator["subprocess.Popen[bytes]"]:
        """A VM that the node's wrapper would start beside it: it runs from the same tree, and joins nobody."""
        command, environment = self._started(self.path)
        with running([*command, "-start_epmd", "false", *words], environment) as process:
            yield process

    def _started(self, tree: Path) -> tuple[list[str], dict[str, str]]:
        """The command that starts a VM from a tree, and the environment that it needs."""
        (programs,) = tree.glob("erts-*/bin")
        boot = str(self.erlang / "bin" / "start_clean")
        environment = {"ROOTDIR": str(tree), "BINDIR": str(programs), "EMU": "beam", "PROGNAME": "erl"}
        return [str(programs / "erlexec"), "-noinput", "-boot", boot], {**environment, "HOME": str(self.path)}


def _answers(vm: Vm) -> bool:
    try:
        vm.connect().close()
    except DistributionError:
        return False
    return True


def make_root(folder: Path) -> Root:
    """A root with its base release, data and settings in it."""
    root = Root(folder / "emqx", erlang_root())
    for name in ("data/mnesia", "data/configs", "data/patches", "etc", "bin"):
        (root.path / name).mkdir(parents=True)
    root.tree(BASE)
    (root.path / "etc" / "emqx.conf").write_text("node.data_dir = data\n")
    (root.data / "mnesia" / "LATEST.LOG").write_bytes(b"log")
    for path in (folder, root.path):
        os.chmod(path, 0o755)  # noqa: PTH101
    return root
