"""Every defect that a check has to find: what is done to a hop that is right, or to its releases, and what is found."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from relup_remote.hops.catalogue import Helper
from relup_remote.hops.check import Severity

from .beams import chunks_of, named, numbers, with_chunk
from .hop_releases import HELPER, Beams, Edit

INFO = "releases/1.1/BUILD_INFO"
DEMO, EXTRA = "lib/demo-1/ebin", "lib/extra-2/ebin"
CHANGES = "[\n      {load_module, demo_lib}"


@dataclass(frozen=True)
class Defect:
    """``hop``: parts of the hop that are replaced. ``old``, ``new``: edits of the releases. The finding is at the
    instruction ``at``, a part of the hop as it is then, or at the place where the code changes begin."""

    err_type: str
    at: str = CHANGES
    hop: Mapping[str, str] = field(default_factory=dict)
    old: Callable[[Beams], Edit] = lambda beams: Edit()
    new: Callable[[Beams], Edit] = lambda beams: Edit()
    helpers: tuple[Helper, ...] = (HELPER,)
    severity: Severity = "error"

    def text(self, hop: str) -> str:
        """The hop with the defect."""
        for part, other in self.hop.items():
            assert hop.count(part) == 1, f"the hop does not have {part} once"
            hop = hop.replace(part, other)
        return hop

    def line(self, hop: str) -> int:
        """The line of the finding."""
        text = self.text(hop)
        assert text.count(self.at) == 1, f"the hop does not have {self.at} once"
        return text[: text.index(self.at)].count("\n") + 1


def files(**changed: bytes | None) -> Callable[[Beams], Edit]:
    """Beam files of the application demo, changed."""
    return lambda beams: Edit({f"{DEMO}/{module}.beam": content for module, content in changed.items()})


def module(name: str, given: str, path: str = DEMO) -> Callable[[Beams], Edit]:
    """A module in the place of the release's own, or beside it."""
    return lambda beams: Edit({f"{path}/{name}.beam": beams.of(given, name)})


def text(name: str, pattern: str, replacement: str) -> Callable[[Beams], Edit]:
    """A part of a file that is text, changed."""
    return lambda beams: Edit(texts={name: (pattern, replacement)})


def app(name: str, version: str = "1.1") -> Callable[[Beams], Edit]:
    """An application more, without modules, in the release of a version; it has something to start."""
    return lambda beams: Edit(
        {f"lib/{name}-1/ebin/{name}.app": f"{{application, {name}, [{{mod, {{{name}, []}}}}]}}.".encode()},
        {f"releases/{version}/emqx.rel": (r"\}\]\}\.", f'}}, {{{name}, "1"}}]}}.')},
    )


def both(*edits: Callable[[Beams], Edit]) -> Callable[[Beams], Edit]:
    """Several edits of one release."""

    def edit(beams: Beams) -> Edit:
        found = [one(beams) for one in edits]
        return Edit(
            {name: content for each in found for name, content in each.files.items()},
            {name: pair for each in found for name, pair in each.texts.items()},
        )

    return edit


def of_newer_otp(beams: Beams) -> Edit:
    """A module with an instruction that no other has."""
    beam = beams.of("new", "demo_lib")
    code = dict(chunks_of(beam))[b"Code"]
    return Edit({f"{DEMO}/demo_lib.beam": with_chunk(beam, b"Code", code[:8] + numbers(250) + code[12:])})


LIB, API, RELEASE = ("{load_module, demo_lib}", "{load_module, demo_api}", "{load_module, emqx_release}")
LOADED = {"{update, demo_worker, {advanced, []}}": "{load_module, demo_worker}"}
UPDATE, RESTART = "{update, demo_worker, {advanced, []}}", "{restart_application, extra}"
READY, SETTLE = "{apply, extra, ready, []}", "{apply, demo_helper, settle, [node()]}"


def first(instruction: str) -> dict[str, str]:
    """The hop with an instruction before all others."""
    return {CHANGES: f"[\n      {instruction},\n      {LIB}"}


def last(instruction: str) -> dict[str, str]:
    """The hop with an instruction after all others."""
    return {f"{RELEASE}]": f"{RELEASE},\n      {instruction}]"}


def warning(err_type: str, at: str = CHANGES, **fields: object) -> Defect:
    """A defect with which the hop runs."""
    return Defect(err_type, at, severity="warning", **fields)  # type: ignore[arg-type]


def note(err_type: str, at: str = CHANGES, **fields: object) -> Defect:
    """What is only told."""
    return Defect(err_type, at, severity="note", **fields)  # type: ignore[arg-type]


DEFECTS: dict[str, Defect] = {
    # The file, and whether it belongs to the releases.
    "a comma is missing": Defect("malformed_hop", API, {f"{LIB},": LIB}),
    "a list is not closed": Defect("malformed_hop", "{ensure, [1]}", {"[1]}]}.": "[1]}}."}),
    "the map has no code changes": Defect("malformed_hop", "#{from_version", {"code_changes": "changes"}),
    "the code changes are no list": Defect(
        "malformed_hop", "{all, [", {"code_changes => [": "code_changes => {all, [", f"{RELEASE}],": f"{RELEASE}]}},"}
    ),
    "from another version": Defect("malformed_hop", 'from_version => "0.9"', {'"1.0"': '"0.9"'}),
    "to another version": Defect("malformed_hop", 'target_version => "1.2"', {'"1.1"': '"1.2"'}),
    "another major version of OTP": Defect("otp_major_vsn_mismatch", "target_version", new=text(INFO, "25.2", "26.1")),
    "another system": Defect("os_arch_mismatch", "target_version", new=text(INFO, "debian12", "el9")),
    "another processor": Defect("os_arch_mismatch", "target_version", new=text(INFO, "x86_64", "aarch64")),
    "the fork of OTP": Defect(
        "otp_compatible_mismatch",
        "target_version",
        new=lambda beams: Edit({"lib/mnesia-1/ebin/mnesia_hook.beam": named("mnesia_hook")}),
    ),
    "a word that the node's version of OTP reserves": Defect(
        "malformed_hop",
        "[maybe]",
        {"[1]": "[maybe]"},
        old=text("releases/1.0/BUILD_INFO", "25.2", "27.1"),
        new=text(INFO, "25.2", "27.1"),
    ),
    # Instructions.
    "an unknown instruction": Defect("invalid_instr", "{reload_module, demo_lib}", {LIB: "{reload_module, demo_lib}"}),
    "an update without advanced": Defect(
        "invalid_instr", "{update, demo_worker, []}", {UPDATE: "{update, demo_worker, []}"}
    ),
    "an apply without a list": Defect(
        "invalid_instr", "{apply, extra, ready, none}", {READY: "{apply, extra, ready, none}"}
    ),
    "a callback that is no name": Defect("invalid_instr", '"log"', {"log,": '"log",'}),
    "a misspelt module": Defect("module_not_found", "demo_libb", last("{load_module, demo_libb}")),
    "a missing helper": Defect("module_not_found", SETTLE, helpers=()),
    "a damaged beam": Defect("bad_beam", LIB, new=files(demo_lib=b"FOR1")),
    "a beam of another name": Defect(
        "bad_beam", LIB, new=lambda beams: Edit({f"{DEMO}/demo_lib.beam": beams.of("new", "demo_worker")})
    ),
    "a beam of a newer OTP": Defect("bad_beam", LIB, new=of_newer_otp),
    "an update without code_change": Defect("function_not_exported", UPDATE, new=module("demo_worker", "other")),
    "a sticky module": Defect(
        "sticky_module",
        "{load_module, std}",
        last("{load_module, std}"),
        new=module("std", "other", "lib/stdlib-1/ebin"),
    ),
    "a helper of another name": Defect(
        "bad_beam",
        SETTLE,
        helpers=(Helper("demo_helper.erl", "-module(other).\n-export([settle/1]).\nsettle(_) -> ok.\n"),),
    ),
    "a helper that does not compile": Defect(
        "helper_not_compiled",
        SETTLE,
        helpers=(Helper("demo_helper.erl", '-module(demo_helper).\nsettle(_) -> "ok.\n'),),
    ),
    "a helper within a helper that does not compile": Defect(
        "helper_not_compiled",
        SETTLE,
        helpers=(
            Helper(
                "demo_helper.erl", "-module(demo_helper).\n-export([settle/1]).\nsettle(_) -> demo_inner:settle().\n"
            ),
            Helper("demo_inner.erl", '-module(demo_inner).\nsettle() -> "ok.\n'),
        ),
    ),
    "a helper named as the node's module": Defect(
        "helper_name_taken",
        SETTLE,
        old=lambda beams: Edit({f"{DEMO}/demo_helper.beam": b"FOR1"}),
    ),
    # Applications.
    "a misspelt application": Defect(
        "app_not_found", "{restart_application, extr}", last("{restart_application, extr}")
    ),
    "an .app file that is none": Defect("app_not_found", RESTART, new=text(f"{EXTRA}/extra.app", "application", "app")),
    "a restart of stdlib": Defect(
        "app_not_restartable", "{restart_application, stdlib}", last("{restart_application, stdlib}")
    ),
    "a dependency that is absent": Defect(
        "app_dependency_missing", RESTART, new=text(f"{EXTRA}/extra.app", "kernel, demo", "kernel, demo, ghost")
    ),
    "a dependency that is restarted only later": Defect(
        "app_dependency_not_started",
        RESTART,
        last("{restart_application, fresh}"),
        new=both(app("fresh"), text(f"{EXTRA}/extra.app", "kernel, demo", "kernel, demo, fresh")),
    ),
    "a dependency that does not run": Defect(
        "app_dependency_not_started",
        RESTART,
        new=both(app("fresh"), text(f"{EXTRA}/extra.app", "kernel, demo", "kernel, demo, fresh")),
    ),
    "an application that lists a module it has not": Defect(
        "module_not_found", RESTART, new=text(f"{EXTRA}/extra.app", "extra_coming", "extra_coming, extra_ghost")
    ),
    # Calls of the hop.
    "an apply of the wrong arity": Defect(
        "function_not_exported", "{apply, extra, ready, [1]}", {READY: "{apply, extra, ready, [1]}"}
    ),
    "an apply before the function is there": Defect(
        "function_not_exported", "{apply, demo_lib, coming, []}", first("{apply, demo_lib, coming, []}")
    ),
    "an apply after the function is gone": Defect(
        "function_not_exported", "{apply, demo_lib, past, []}", last("{apply, demo_lib, past, []}")
    ),
    "an apply of a module that a restart took away": Defect(
        "module_not_found", "{apply, extra_past, f, []}", last("{apply, extra_past, f, []}")
    ),
    "an apply of a module that is not loaded yet": Defect(
        "module_not_found", "{apply, extra_coming, f, []}", first("{apply, extra_coming, f, []}")
    ),
    "a helper without the function": Defect(
        "function_not_exported", "{apply, demo_helper, no, []}", last("{apply, demo_helper, no, []}")
    ),
    "a misspelt callback": Defect("function_not_exported", "logg", {"log,": "logg,"}),
    "a callback of the wrong arity": Defect("function_not_exported", "{ensure, [1, 2]}", {"[1]}": "[1, 2]}"}),
    # What the node is after it.
    "emqx_release is left out": Defect("release_not_reloaded", hop={f",\n      {RELEASE}]": "]"}),
    "emqx_release is the same": Defect(
        "version_not_reported", RELEASE, new=module("emqx_release", "old", "lib/emqx-1/ebin")
    ),
    "what a new module calls is left out": Defect("undefined_call", API, {f"{LIB},\n      ": ""}),
    "who calls what is gone is left out": Defect("undefined_call", LIB, {f"{API},\n      ": ""}),
    # With these it runs.
    "another patch of OTP": warning("erts_differs", "target_version", new=text(INFO, "25.2", "25.3")),
    "a changed module is left out": warning("not_covered", hop={f"{UPDATE},\n      ": ""}),
    "a new function is called too early": warning(
        "load_order", API, hop={f"{LIB},\n      {API}": API, UPDATE: f"{UPDATE},\n      {LIB}"}
    ),
    "a function is called too late": warning(
        "load_order", LIB, hop={f"{API},\n      ": "", UPDATE: f"{UPDATE},\n      {API}"}
    ),
    "the target calls what it does not have": warning("lost_function", LIB, new=module("demo_lib", "other")),
    "a module is replaced twice": warning("replaced_already", f"{LIB}]", hop=last(LIB)),
    "a new module is updated": warning(
        "no_process",
        "{update, demo_server, {advanced, []}}",
        hop=last("{update, demo_server, {advanced, []}}"),
        new=module("demo_server", "other"),
    ),
    "a load where code_change is new": warning(
        "state_not_updated", "{load_module, demo_worker}", hop=LOADED, old=module("demo_worker", "other")
    ),
    "a supervisor is loaded": warning(
        "supervisor_changed",
        "{load_module, demo_sup}",
        hop=last("{load_module, demo_sup}"),
        new=module("demo_sup", "other"),
    ),
    "native code": warning(
        "native_code",
        "{load_module, demo_native}",
        hop=last("{load_module, demo_native}"),
        old=module("demo_native", "other"),
        new=module("demo_native", "more"),
    ),
    "an application needs more": warning(
        "dependencies_changed",
        new=both(app("fresh"), text(f"{DEMO}/demo.app", "kernel, stdlib", "kernel, stdlib, fresh")),
    ),
    "an application is configured otherwise": warning(
        "configured_otherwise", new=text(f"{DEMO}/demo.app", "{level, 1}", "{level, 2}")
    ),
    "an application starts otherwise": warning(
        "configured_otherwise", new=text(f"{DEMO}/demo.app", r"{demo, \[\]}", "{demo, [1]}")
    ),
    "an application is new": warning("app_added", new=app("fresh")),
    "an application is gone": warning("app_removed", old=app("fresh", version="1.0")),
    "a module lies in two applications, and none lists it": warning(
        "module_twice",
        LIB,
        new=both(
            lambda beams: Edit({"lib/emqx-1/ebin/demo_lib.beam": beams.of("new", "demo_lib")}),
            text(f"{DEMO}/demo.app", "demo_lib, ", ""),
        ),
    ),
    "a damaged beam that is not in the hop": warning("bad_beam", new=files(demo_same=b"FOR1")),
    # These are only told.
    "a state is kept": note("state_not_updated", "{load_module, demo_worker}", hop=LOADED),
    "a supervisor is updated": note(
        "supervisor_changed",
        "{update, demo_sup, {advanced, []}}",
        hop=last("{update, demo_sup, {advanced, []}}"),
        new=module("demo_sup", "other"),
    ),
    "a module is loaded alone": note(
        "loaded_alone",
        "{load_module, demo_same}",
        hop=last("{load_module, demo_same}"),
        new=module("demo_same", "other"),
    ),
    "a module that did not change": note(
        "unchanged_module", "{load_module, demo_same}", hop=last("{load_module, demo_same}")
    ),
    "a module that the target has not": note("module_removed", new=files(demo_same=None)),
    "an application is used again": note(
        "used_after_restart", "{apply, extra, all, []}", hop=last("{apply, extra, all, []}")
    ),
    "a module lies in two applications, of which one lists it": note(
        "module_twice", LIB, new=lambda beams: Edit({"lib/emqx-1/ebin/demo_lib.beam": beams.of("old", "demo_lib")})
    ),
    "the tarball was packed on macOS": note(
        "apple_double",
        "target_version",
        new=lambda beams: Edit({f"{DEMO}/._{name}.beam": b"Mac OS X" for name in ("demo_lib", "demo_api", "a")}),
    ),
    "a call that the node refuses": warning(
        "hop_call_not_allowed", "file:delete", hop=last('{load_module, element(2, {file:delete("a"), demo_same})}')
    ),
    "what has to be evaluated": note(
        "only_the_node_can_tell", "list_to_atom", hop=last('{load_module, list_to_atom("demo_same")}')
    ),
}
