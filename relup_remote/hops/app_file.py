"""Reading the `.app` file of an application and the `.rel` file of a release, found without a VM.

Sources of the formats: app(4) and rel(4) of Erlang/OTP.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from relup_remote.core.erlang.consult import Word, decoded, read_terms


class SpecError(ValueError):
    """A file that is not what its name says. ``reason`` is a clause about it: ``is not understood``."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class App:
    """An application: its ``modules``, and the ``applications`` it needs, of which it can do without ``optional``.

    ``included`` are the applications that run as parts of it.
    ``start`` is what starts it, as `mod` has it, ``environment`` its variables: terms as `read_terms` has them, to be
    compared by `relup_remote.hops.terms`.
    """

    name: str
    modules: list[str]
    applications: list[str]
    optional: list[str]
    start: Any = None
    environment: Any = None
    included: list[str] = field(default_factory=list)


class Released(NamedTuple):
    """An application of a release; ``start`` is how it starts: permanent, transient, temporary, load or none."""

    name: str
    version: str
    start: str = "permanent"

    @property
    def folder(self) -> str:
        """Its folder in lib."""
        return f"{self.name}-{self.version}"


def read_app(content: bytes) -> App:
    """The application that a `.app` file describes. Raises `SpecError`."""
    match _consult(content):
        case ("application", Word() as name, [*pairs]):
            # Of a key that is given twice, the first counts.
            keys = {pair[0]: pair[1] for pair in reversed(pairs) if _is_pair(pair)}
            return App(
                str(name),
                _atoms(keys, "modules"),
                _atoms(keys, "applications"),
                _atoms(keys, "optional_applications"),
                keys.get("mod"),
                keys.get("env"),
                _atoms(keys, "included_applications"),
            )
    raise SpecError("describes no application")


def read_rel(content: bytes) -> list[Released]:
    """The applications of a release, in their order. Raises `SpecError`."""
    match _consult(content):
        case ("release", _, _, [*apps]) if all(isinstance(app, tuple) and len(app) >= 2 for app in apps):
            return [Released(str(app[0]), str(app[1]), *_start(app)) for app in apps]
    raise SpecError("describes no release")


def read_term(content: bytes) -> Any:
    """The one term of a file, of any kind; None where it is not understood."""
    try:
        return _consult(content)
    except SpecError:
        return None


def _start(app: tuple[Any, ...]) -> list[str]:
    """How an application of a release starts, if it is said. The names that it includes may be there as well."""
    return [str(part) for part in app[2:] if isinstance(part, Word)][:1]


def _consult(content: bytes) -> Any:
    try:
        terms = read_terms(decoded(content))
    except ValueError as error:
        raise SpecError("is not understood") from error
    return terms[0] if len(terms) == 1 else None


def _is_pair(item: Any) -> bool:
    return isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], Word)


def _atoms(keys: dict[str, Any], key: str) -> list[str]:
    value = keys.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, Word) for item in value):
        raise SpecError(f"has {key} that are not a list of names")
    return [str(item) for item in value]
