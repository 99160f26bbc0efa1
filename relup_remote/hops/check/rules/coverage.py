"""Whether the version that a node reports after the hop is the code that it runs."""

from collections.abc import Iterator

from relup_remote.hops.check.case import NAMED, Case, counted, named
from relup_remote.hops.check.findings import Finding
from relup_remote.hops.compare import Module, by_app
from relup_remote.hops.compare.release import app_of

RELEASE = "emqx_release"


def version(case: Case) -> Iterator[Finding]:
    """The node goes on reporting the old version."""
    turn = case.course.loaded.get(RELEASE)
    if turn and case.difference.is_unchanged(RELEASE):
        message = f"{RELEASE} is the same in both releases, so it reports the same version."
        yield case.finding("error", "version_not_reported", turn.step, message)
    elif turn is None and case.course.is_known and (case.old.has_module(RELEASE) or case.new.has_module(RELEASE)):
        yield case.finding("error", "release_not_reloaded", None, f"The hop does not reload {RELEASE}.")


def not_covered(case: Case) -> Iterator[Finding]:
    """Modules that stay other than the target's."""
    wanted = {**case.difference.changed, **case.difference.added}
    left = {name: module for name, module in wanted.items() if name not in case.course.loaded and _counts(case, module)}
    if not left:
        return
    names, apps = sorted(left), by_app(left.values())
    called = {
        called
        for name in case.course.moved
        if name in case.new.modules
        for called, _, _ in case.new.modules[name].imports
    }
    unless = "" if case.course.is_known else " (unless it loads them by instructions that only a node can evaluate)"
    many = counted(len(names), "module", "modules")
    listed = "; ".join(f"{app}: {named(modules)}" for app, modules in apps.items())
    message = f"The hop leaves out {many} of the target that changed{unless}: {listed}."
    yield case.finding(
        "warning" if case.course.is_known else "note",
        "not_covered",
        None,
        message,
        count=len(names),
        modules=names[:NAMED],
        called_by_the_hop=[name for name in names if name in called][:NAMED],
        applications={app: len(modules) for app, modules in apps.items()},
    )


def _counts(case: Case, module: Module) -> bool:
    """Whether a node that boots the target would load a module, and one that runs now has its application."""
    app, before = case.new.apps.get(module.app), case.old.apps.get(module.app)
    if module.name in case.difference.changed:
        return before is None or before.started is not None
    return before is not None and app is not None and module.name in app.modules


def removed(case: Case) -> Iterator[Finding]:
    """Modules that the target does not have."""
    left = [name for name in case.difference.removed if name not in case.course.gone and name not in case.helpers]
    if left and case.course.is_known:
        message = (
            f"Of {case.old.version} {counted(len(left), 'module is', 'modules are')} not in the target: {named(left)}."
        )
        yield case.finding("note", "module_removed", None, message, count=len(left), modules=left[:NAMED])


def unreadable(case: Case) -> Iterator[Finding]:
    """Modules of the target that can't be read, and that the hop leaves alone."""
    for name, reason in sorted(case.new.broken_modules.items()):
        if name not in case.course.loaded:
            yield case.finding("warning", "bad_beam", None, f"{name} of the target {reason}.")


def twice(case: Case) -> Iterator[Finding]:
    """Modules that more than one application of the target has, where the hop replaces them."""
    for name, found in sorted(case.new.twice.items()):
        if name in case.course.loaded:
            at = case.course.loaded[name].step
            also = named([app_of(folder) for folder in found.also])
            why = "which alone lists it" if found.is_certain else "but what they list does not decide it"
            message = f"{name} is in {app_of(found.folder)} and in {also}. The first is used, {why}."
            yield case.finding("note" if found.is_certain else "warning", "module_twice", at, message)


def apple_doubles(case: Case) -> Iterator[Finding]:
    """Files of macOS among the code."""
    for release in (case.old, case.new):
        if release.apple_doubles:
            files = counted(release.apple_doubles, "file", "files")
            message = f"{release.path} has {files} named ._… from macOS among its code. They are ignored."
            yield case.finding("note", "apple_double", case.place("target_version"), message)


RULES = (version, not_covered, removed, unreadable, twice, apple_doubles)
