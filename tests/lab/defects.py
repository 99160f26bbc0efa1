"""A hop that can run, and everything that can be wrong with it, one thing at a time.

The hop is the catalogue's from the first release to `TARGET`; a `Defect` is an edit of it, of a helper, or of the
target's tarball, with what has to be found.
"""

import shutil
import struct
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from lab import variants
from lab.layout import PROJECT
from tests.lab.cluster import BASE

TARGET = "5.10.8-lab"
CATALOGUE = PROJECT / "priv" / "relup"
HOP = f"{BASE}-to-{TARGET}.relup"

Content = bytes | None
"""The content of a file, None for no file."""


@dataclass
class Draft:
    """A catalogue and a tarball to be: the hop's text, and what differs of the helpers and of the tarball's files."""

    tarball: Path
    hop: str = field(default_factory=(CATALOGUE / HOP).read_text)
    helpers: dict[str, Content] = field(default_factory=dict)
    files: dict[str, Content] = field(default_factory=dict)

    def original(self, name: str) -> tuple[str, bytes]:
        """The file of the tarball whose last part is ``name``: its whole name, and its content."""
        return _member(self.tarball, name)

    def make(self, folder: Path) -> tuple[Path, Path]:
        """Write catalogue and tarball below ``folder``, and return both."""
        catalogue = folder / "catalogue"
        shutil.copytree(CATALOGUE, catalogue)
        (catalogue / HOP).write_text(self.hop)
        for name, content in self.helpers.items():
            helper = catalogue / f"{name}.erl"
            if content is None:
                helper.unlink()
            else:
                helper.write_bytes(content)
        if not self.files:
            return catalogue, self.tarball
        changed = {name: content for name, content in self.files.items() if content is not None}
        dropped = self.files.keys() - changed.keys()
        return catalogue, variants.variant(self.tarball, folder / self.tarball.name, drop=dropped, replace=changed)


@cache
def _member(tarball: Path, name: str) -> tuple[str, bytes]:
    with tarfile.open(tarball) as tar:
        for header in tar:
            file = tar.extractfile(header) if header.name.endswith(f"/{name}") else None
            if file is not None:
                return header.name, file.read()
    raise KeyError(f"{tarball.name} has no {name}")


Edit = Callable[[Draft], None]


@dataclass(frozen=True)
class Defect:
    """One thing wrong, the ``err_type`` it has to be called, and a part of the text of the instruction it belongs to.

    ``at`` None: it belongs to none.
    """

    edit: Edit
    err_type: str
    at: str | None = None


# Edits of the hop


def swapped(old: str, new: str) -> Edit:
    """The hop with ``new`` where it has ``old``, once."""

    def edit(draft: Draft) -> None:
        assert draft.hop.count(old) == 1, old
        draft.hop = draft.hop.replace(old, new)

    return edit


def first(instruction: str) -> Edit:
    """The hop with one more instruction before all others."""
    return swapped("[{load_module, emqx_lab_collect},", f"[{instruction}, {{load_module, emqx_lab_collect}},")


def last(instruction: str) -> Edit:
    """The hop with one more instruction after all others."""
    return swapped("{load_module, emqx_release}],", f"{{load_module, emqx_release}}, {instruction}],")


def callback(written: str) -> Edit:
    """The hop with one more callback."""
    return swapped("post_upgrade_callbacks => [", f"post_upgrade_callbacks => [{written}, ")


# Edits of helpers


def helper(name: str, change: Callable[[str], str]) -> Edit:
    """The catalogue with another text of a helper."""

    def edit(draft: Draft) -> None:
        draft.helpers[name] = change((CATALOGUE / f"{name}.erl").read_text()).encode()

    return edit


def no_helper(name: str) -> Edit:
    """The catalogue without a helper."""

    def edit(draft: Draft) -> None:
        draft.helpers[name] = None

    return edit


# Edits of the target


def beam(module: str, change: Callable[[bytes], Content]) -> Edit:
    """The target with another beam of a module, or without."""

    def edit(draft: Draft) -> None:
        name, content = draft.original(f"{module}.beam")
        draft.files[name] = change(content)

    return edit


def beam_of(module: str, other: str) -> Edit:
    """The target with the beam of another module under a module's name."""

    def edit(draft: Draft) -> None:
        beam(module, lambda _: draft.original(f"{other}.beam")[1])(draft)

    return edit


def newer(code: bytes) -> bytes:
    """A beam as a compiler of the future writes it, by the highest operation that it says to use.

    A beam is an IFF file; the chunk ``Code`` begins with its size, the size of its head, the instruction set's
    number, and the number of the highest operation.
    """
    at = code.index(b"Code") + 4 + 4 + 4 + 4
    return code[:at] + struct.pack(">I", 4000) + code[at + 4 :]


def app_file(app: str, change: Callable[[bytes], bytes]) -> Edit:
    """The target with another `.app` file of an application."""

    def edit(draft: Draft) -> None:
        name, content = draft.original(f"{app}.app")
        draft.files[name] = change(content)
        assert draft.files[name] != content

    return edit


def needs(app: str, other: str) -> Edit:
    """The target whose ``app`` needs the application ``other`` as well."""
    return app_file(app, lambda text: text.replace(b"[kernel, stdlib", b"[kernel, stdlib, " + other.encode(), 1))


def release_of(version: str) -> Edit:
    """The target with the `emqx_release` of another release."""

    def edit(draft: Draft) -> None:
        other = draft.tarball.with_name(f"emqx-{version}.tar.gz")
        beam("emqx_release", lambda _: _member(other, "emqx_release.beam")[1])(draft)

    return edit


REFUSED: dict[str, Defect] = {
    # The file
    "no Erlang": Defect(swapped("code_changes =>", "code_changes => a b ++"), "malformed_hop"),
    "an exception": Defect(swapped("Restart(emqx_pool,", "Restart(error(not_today),"), "malformed_hop"),
    "no code changes": Defect(swapped("code_changes =>", "changes =>"), "malformed_hop"),
    "changes that are no list": Defect(swapped("code_changes =>", "code_changes => all, changes =>"), "malformed_hop"),
    "callbacks that are no list": Defect(swapped("[log_upgrade,", "[log_upgrade |"), "malformed_hop"),
    "an improper list of changes": Defect(last("{load_module, emqx_stats} | tail"), "malformed_hop"),
    "a hop from another version": Defect(
        swapped(f'from_version => "{BASE}"', 'from_version => "5.10.3-lab"'), "no_relup_entry"
    ),
    "a hop to another version": Defect(
        swapped(f'target_version => "{TARGET}"', 'target_version => "5.10.7-lab"'), "no_relup_entry"
    ),
    # Instructions
    "an unknown instruction": Defect(first("{reload_module, emqx_stats}"), "invalid_instr", "{reload_module"),
    "an instruction that is no tuple": Defect(first("load_module"), "invalid_instr", "load_module"),
    "an ill-formed load": Defect(first('{load_module, "emqx_stats"}'), "invalid_instr", '"emqx_stats"'),
    "an ill-formed update": Defect(first("{update, emqx_stats, []}"), "invalid_instr", "{update,emqx_stats"),
    "an ill-formed restart": Defect(first("{restart_application, emqx_pool, 1}"), "invalid_instr", "emqx_pool,1"),
    "improper arguments": Defect(first("{apply, emqx_ctl, print, [a | b]}"), "invalid_instr", "{apply,emqx_ctl,print"),
    "an ill-formed callback": Defect(callback("{log_upgrade, all}"), "invalid_instr", "{log_upgrade,all}"),
    # Helpers
    "a helper that is missing": Defect(
        no_helper("emqx_lab_settle"), "module_not_found", "{load_module,emqx_lab_settle}"
    ),
    "a helper that does not compile": Defect(
        helper("emqx_lab_settle", lambda text: text + "nonsense\n"),
        "helper_not_compiled",
        "{load_module,emqx_lab_settle}",
    ),
    "a helper named otherwise than its file": Defect(
        helper("emqx_lab_settle", lambda text: text.replace("-module(emqx_lab_settle)", "-module(emqx_lab_settled)")),
        "bad_beam",
        "{load_module,emqx_lab_settle}",
    ),
    # Functions
    "a wrong arity in an apply": Defect(
        swapped("garbage, [node(), emqx_connection_sup]", "garbage, [node()]"),
        "function_not_exported",
        "{apply,emqx_lab_collect,garbage",
    ),
    "a function that is exported nowhere": Defect(
        first("{apply, emqx_metrics, forget, []}"), "function_not_exported", "forget"
    ),
    "a function that only the new version exports, before its load": Defect(
        first("{apply, emqx_metrics, since, []}"), "function_not_exported", "{apply,emqx_metrics,since"
    ),
    "a function that only the old version exports, after the load": Defect(
        last("{apply, emqx_pool, start_workers, [1]}"), "function_not_exported", "start_workers"
    ),
    "a callback that is exported nowhere": Defect(callback("forget"), "function_not_exported", "callback forget"),
    "a callback with a wrong arity": Defect(
        callback("{log_upgrade, [1]}"), "function_not_exported", "callback {log_upgrade,[1]}"
    ),
    "an apply of a module that is nowhere": Defect(
        first("{apply, emqx_nowhere, run, []}"), "module_not_found", "{apply,emqx_nowhere"
    ),
    "an update without code_change": Defect(
        first("{update, emqx_dashboard_sampler, {advanced, []}}"),
        "function_not_exported",
        "{update,emqx_dashboard_sampler",
    ),
    # Modules
    "a misspelt module": Defect(
        swapped("{load_module, emqx_stats}", "{load_module, emqx_stast}"), "module_not_found", "emqx_stast"
    ),
    "a module that the target lacks": Defect(
        beam("emqx_stats", lambda _: None), "module_not_found", "{load_module,emqx_stats}"
    ),
    "a module that the target's application lacks": Defect(
        beam("emqx_dashboard_peaks", lambda _: None), "module_not_found", "{restart_application,emqx_dashboard}"
    ),
    "a beam cut short": Defect(beam("emqx_stats", lambda code: code[:100]), "bad_beam", "{load_module,emqx_stats}"),
    "a beam that is none": Defect(beam("emqx_stats", lambda _: b"none"), "bad_beam", "{load_module,emqx_stats}"),
    "a beam of another name": Defect(beam_of("emqx_stats", "emqx_topic"), "bad_beam", "{load_module,emqx_stats}"),
    "a beam of a newer OTP": Defect(beam("emqx_stats", newer), "bad_beam", "{load_module,emqx_stats}"),
    "a bad beam in an application": Defect(
        beam("emqx_dashboard_peaks", newer), "bad_beam", "{restart_application,emqx_dashboard}"
    ),
    # Applications
    "an unknown application": Defect(
        first("{restart_application, emqx_alarm}"), "app_not_found", "{restart_application,emqx_alarm}"
    ),
    "an application that does not say what it is": Defect(
        app_file("emqx_alarms", lambda _: b"an application"), "app_not_found", "{restart_application,emqx_alarms}"
    ),
    **{
        f"a restart of {app}": Defect(first(f"{{restart_application, {app}}}"), "app_not_restartable", f",{app}}}")
        for app in ("kernel", "stdlib", "compiler")
    },
    "a dependency that is absent": Defect(
        needs("emqx_alarms", "emqx_nowhere"), "app_dependency_missing", "{restart_application,emqx_alarms}"
    ),
    "a dependency that is not started": Defect(
        needs("emqx_alarms", "os_mon"), "app_dependency_not_started", "{restart_application,emqx_alarms}"
    ),
    # The release
    "a release that is not reloaded": Defect(
        swapped(",\n       {load_module, emqx_release}", ""), "release_not_reloaded"
    ),
    "a release that says it is another": Defect(
        release_of("5.10.5-lab"), "version_not_reported", "{load_module,emqx_release}"
    ),
}
"""What has to keep a hop from being run."""
