"""Why a draft has what it has."""

from collections.abc import Collection, Sequence

from relup_remote.hops.compare import by_app
from relup_remote.hops.draft.order import Kind, Step
from relup_remote.hops.draft.steps import Steps
from relup_remote.hops.draft.words import atoms, listed
from relup_remote.hops.reading.writing import atom


def instruction(step: Step) -> str:
    """The instruction of a step, as Erlang has it."""
    if step.kind is Kind.RESTART:
        return f"{{restart_application, {atom(step.app)}}}"
    if step.kind is Kind.UPDATE:
        return f"{{update, {atom(step.module)}, {{advanced, []}}}}"
    return f"{{load_module, {atom(step.module)}}}"


def why(step: Step, group: Sequence[Step], steps: Steps) -> str:
    """Why an instruction is there, and why there; ``group`` are the steps that it is best one swap with."""
    if step.kind is Kind.RESTART:
        first = [other.app for other in steps.must[step] if other.kind is Kind.RESTART]
        brought = sum(other == step for name, other in steps.of_module.items() if name not in steps.difference.removed)
        return "; ".join(
            [
                ", ".join(steps.restarts[step.app]),
                *_named("after {}, which it needs", first),
                *([f"replaces {brought} module{'s' if brought > 1 else ''}"] if brought else []),
            ]
        )
    if step.kind is Kind.RELEASE:
        return f"from here on the node reports {steps.difference.new.version}"
    others = [other.name for other in group if other is not step]
    callers = steps.callers.get(step, set()) - set(others)
    return "; ".join(
        [
            _what(step, steps),
            *_named("with {}: they call each other", others),
            *_named("before its caller{s} {}", callers),
        ]
    )


def _what(step: Step, steps: Steps) -> str:
    if step.module in steps.difference.added:
        return "new"
    if step.kind is Kind.LOAD:
        return "changed"
    behaviours = steps.difference.new.modules[step.module].behaviours
    return f"changed; processes have its state{f' ({listed(behaviours)})' if behaviours else ''}"


def _named(text: str, names: Collection[str]) -> list[str]:
    if not names:
        return []
    return [text.format(atoms(names), s="s" if len(names) > 1 else "")]


def remarks(steps: Steps) -> list[str]:
    """What is to be said of the hop as a whole."""
    difference = steps.difference
    touched = [*difference.changed.values(), *difference.added.values()]
    places = ", ".join(f"{atom(app)} {len(modules)}" for app, modules in by_app(touched).items())
    found = [
        f"From {difference.old.version} to {difference.new.version}: modules changed {len(difference.changed)}, "
        f"new {len(difference.added)}, gone {len(difference.removed)}{f' ({places})' if places else ''}.",
    ]
    gone = [name for name in difference.removed if name not in steps.of_module]
    if gone:
        found.append(f"Gone from the release, but loaded until the next boot: {', '.join(map(atom, gone))}.")
    return [
        *found,
        "This is a draft. Each REVIEW asks what no release tells. To answer, correct what follows it, and remove it.",
    ]
