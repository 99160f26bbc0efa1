"""What the code of a release is: the facts by which a VM judges a hop before the release is on its host.

They go there as an external term, `#{modules => #{Name => Facts}, apps => #{Name => Facts}}`. Names are binaries, and
the facts are those of `beam.Beam` and `app_file.App`:

    a module        #{app => <<"emqx-5.5.8">>, md5 => <<…>>, exports => [{Name, Arity}], behaviours => [Name],
                      calls => [Name], on_load => boolean(), max_op => integer()}
                    and dir => <<"releases/5.10.5/consolidated">>, where it lies there and not in its application
    emqx_release    these, and code, its beam file
    an application  #{dir => <<"emqx-5.5.8">>, modules => [Name], applications => [Name], optional => [Name],
                      included => [Name]}
    what of these can't be read  #{error => <<"is cut short">>}
"""

import posixpath
import re
import struct
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

from relup_remote.core.archive import FILE, HARDLINK, SYMLINK, Member
from relup_remote.core.erlang.term import Atom, encode
from relup_remote.hops.app_file import App, SpecError, read_app
from relup_remote.hops.beam import LIMIT, Beam, BeamError, read_beam

WITH_CODE = "emqx_release"
"""The module whose beam file goes along, for a VM to ask it which release it is of."""

# What is not UTF-8 in a name is a lone surrogate here, and no module's name.
_NAME = r"([^/\udc80-\udcff]+)"
_PLACE = re.compile(rf"(?:lib/{_NAME}/ebin|releases/{_NAME}/consolidated)/{_NAME}\.(beam|app)").fullmatch
_APPLE_DOUBLE = "._"
"""What files begin with in which macOS keeps what its file systems know of another file."""
_LONGEST_CHAIN = 8
_LEADS_NOWHERE = "is a link that leads to no such file"
_VERSION, _COMPRESSED = 131, 80


_CONSOLIDATED = "consolidated"


class Boot(NamedTuple):
    """What a node boots: a release's ``version``, and the ``folders`` in lib of its applications (``emqx-5.5.8``)."""

    version: str
    folders: frozenset[str]


class _Place(NamedTuple):
    """Where a file of code is: its application's `folder` in lib, or the `version` of the release that has it
    consolidated; and its `name` without the `kind`, beam or app."""

    folder: str
    version: str
    name: str
    kind: str


class Found(NamedTuple):
    """A module or application: its application's ``folder`` in lib, and its ``facts``, or a clause about what is wrong.

    ``dir`` is the folder in the release that its file lies in. ``also`` are the folders in lib of other applications of
    the release that have a module of the name; ``is_certain`` is whether it is clear which of them a node boots.
    """

    folder: str
    facts: Any
    dir: str
    also: tuple[str, ...] = ()
    is_certain: bool = True


class Code:
    """The beam and .app files of a tarball, taken in one after the other. Nothing but facts is kept of them."""

    def __init__(self) -> None:
        self._places: dict[str, _Place] = {}
        self._facts: dict[str, Beam | App | str] = {}
        self._links: dict[str, str] = {}
        self._kept: dict[str, bytes] = {}
        self._lists: dict[str, frozenset[str]] = {}
        self.apple_doubles = 0
        """How many files of macOS, named ``._…``, lie among the code. No VM loads them."""

    def visit(self, member: Member, contents: Callable[[], bytes]) -> None:
        """Takes in a member of the tarball, as `archive.scan` hands it out, if it is one of code."""
        found = _PLACE(member.name)
        if found is None or member.kind not in (FILE, HARDLINK, SYMLINK):
            return
        place = _Place(*(part or "" for part in found.groups()))
        if place.name.startswith(_APPLE_DOUBLE):
            self.apple_doubles += 1
            return
        self._places[member.name] = place
        if member.kind == HARDLINK:
            self._links[member.name] = member.target
        elif member.kind == SYMLINK:
            self._links[member.name] = posixpath.normpath(posixpath.join(posixpath.dirname(member.name), member.target))
        elif member.size > LIMIT:
            self._facts[member.name] = f"is too large: it has more than {LIMIT} bytes"
        else:
            content = contents()
            self._facts[member.name] = _facts(place.kind, content)
            if (place.name, place.kind) == (WITH_CODE, "beam"):
                self._kept[member.name] = content

    def has_module(self, app: str, module: str) -> bool:
        """Whether an application, in whatever version, has a module."""
        return any(
            place.folder.startswith(f"{app}-") and (place.name, place.kind) == (module, "beam")
            for place in self._places.values()
        )

    def modules(self, boot: Boot) -> dict[str, Found]:
        """The modules by name.

        Of files with one name that counts which a node loads when it boots: a protocol that Elixir has consolidated for
        the release, then that of an application of the release, of these that of one that lists it; or else the last by
        folder.
        """
        return {name: self._found(name, paths, boot) for name, paths in self._all("beam", boot).items()}

    def apps(self, boot: Boot) -> dict[str, Found]:
        """The applications by name. Of two versions the release's own counts, or else the last by folder."""
        return {
            name: Found(self._places[paths[-1]].folder, self._app(name, paths[-1]), posixpath.dirname(paths[-1]))
            for name, paths in self._all("app", boot).items()
        }

    def term(self, boot: Boot) -> bytes:
        """The external term, compressed, of the `modules` and `apps`."""
        facts = {
            Atom("modules"): {
                name.encode(): self._of_module(name, found) for name, found in self.modules(boot).items()
            },
            Atom("apps"): {
                name.encode(): _of_app(found.folder, found.facts) for name, found in self.apps(boot).items()
            },
        }
        inner = encode(facts)[1:]
        return bytes([_VERSION, _COMPRESSED]) + struct.pack(">I", len(inner)) + zlib.compress(inner)

    def _all(self, kind: str, boot: Boot) -> dict[str, list[str]]:
        """The paths of files of a kind by name, each after those that count less."""
        places = [
            (place.version == boot.version, place.folder in boot.folders, self._is_listed(place), place, path)
            for path, place in self._places.items()
            if place.kind == kind and place.version in ("", boot.version)
        ]
        found: dict[str, list[str]] = {}
        for *_, place, path in sorted(places):
            found.setdefault(place.name, []).append(path)
        return found

    def _is_listed(self, place: _Place) -> bool:
        """Whether the application that a module lies in lists it."""
        return place.name in self._listed(place.folder)

    def _listed(self, folder: str) -> frozenset[str]:
        if folder not in self._lists:
            app = folder.partition("-")[0]
            facts = self._facts.get(self._target(f"lib/{folder}/ebin/{app}.app"))
            self._lists[folder] = frozenset(facts.modules) if isinstance(facts, App) else frozenset()
        return self._lists[folder]

    def _found(self, name: str, paths: list[str], boot: Boot) -> Found:
        path = paths[-1]
        place = self._places[path]
        others = [self._places[other] for other in paths[:-1]]
        # A protocol is one of the application that has it as it was compiled.
        folder = place.folder or (others[-1].folder if others else _CONSOLIDATED)
        rivals = [other for other in others if other.folder in boot.folders and other.folder != folder]
        is_certain = bool(place.version) or (self._is_listed(place) and not any(map(self._is_listed, rivals)))
        also = tuple(other.folder for other in rivals)
        return Found(folder, self._beam(name, path), posixpath.dirname(path), also, is_certain or not rivals)

    def _of_module(self, name: str, found: Found) -> dict[Atom, Any]:
        beam = found.facts
        if isinstance(beam, str):
            return _term(error=beam.encode())
        kept = self._kept.get(self._target(f"{found.dir}/{name}.beam"))
        return _term(
            app=found.folder.encode(),
            md5=beam.md5,
            exports=beam.exports,
            behaviours=beam.behaviours,
            calls=beam.calls,
            on_load=beam.on_load,
            max_op=beam.max_op,
            **({} if kept is None else {"code": kept}),
            **({} if found.dir.startswith("lib/") else {"dir": found.dir.encode()}),
        )

    def _beam(self, name: str, path: str) -> Beam | str:
        beam = self._facts.get(self._target(path), _LEADS_NOWHERE)
        if isinstance(beam, Beam) and beam.module != name.encode():
            return f"holds the module {beam.module.decode()}"
        return beam if isinstance(beam, Beam | str) else _LEADS_NOWHERE

    def _app(self, name: str, path: str) -> App | str:
        app = self._facts.get(self._target(path), _LEADS_NOWHERE)
        if isinstance(app, App) and app.name != name:
            return f"describes the application {app.name}"
        return app if isinstance(app, App | str) else _LEADS_NOWHERE

    def _target(self, path: str) -> str:
        for _ in range(_LONGEST_CHAIN):
            path = self._links.get(path, path)
        return path


def _facts(kind: str, content: bytes) -> Beam | App | str:
    try:
        return read_beam(content) if kind == "beam" else read_app(content)
    except (BeamError, SpecError) as error:
        return error.reason


def _of_app(folder: str, app: App | str) -> dict[Atom, Any]:
    if isinstance(app, str):
        return _term(error=app.encode())
    return _term(
        dir=folder.encode(),
        modules=[module.encode() for module in app.modules],
        applications=[needed.encode() for needed in app.applications],
        optional=[needed.encode() for needed in app.optional],
        included=[name.encode() for name in app.included],
    )


def _term(**facts: Any) -> dict[Atom, Any]:
    return {Atom(name): value for name, value in facts.items()}
