"""What the code of a release is: the facts by which a VM judges a hop before the release is on its host.

They go there as an external term, `#{modules => #{Name => Facts}, apps => #{Name => Facts}}`. Names are binaries, and
the facts are those of `beam.Beam` and `app_file.App`:

    a module        #{app => <<"emqx-5.5.8">>, md5 => <<…>>, exports => [{Name, Arity}], behaviours => [Name],
                      calls => [Name], on_load => boolean(), max_op => integer()}
    emqx_release    these, and code, its beam file
    an application  #{dir => <<"emqx-5.5.8">>, modules => [Name], applications => [Name], optional => [Name],
                      included => [Name]}
    what of these can't be read  #{error => <<"is cut short">>}
"""

import posixpath
import re
import struct
import zlib
from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple

from relup_remote.core.archive import FILE, HARDLINK, SYMLINK, Member
from relup_remote.core.erlang.term import Atom, encode
from relup_remote.hops.app_file import App, SpecError, read_app
from relup_remote.hops.beam import LIMIT, Beam, BeamError, read_beam

WITH_CODE = "emqx_release"
"""The module whose beam file goes along, for a VM to ask it which release it is of."""

# What is not UTF-8 in a name is a lone surrogate here, and no module's name.
_PLACE = re.compile(r"lib/([^/\udc80-\udcff]+)/ebin/([^/\udc80-\udcff]+)\.(beam|app)").fullmatch
_LONGEST_CHAIN = 8
_LEADS_NOWHERE = "is a link that leads to no such file"
_VERSION, _COMPRESSED = 131, 80


class _Place(NamedTuple):
    """Where a file of code is: its application's `folder` in lib, its `name` without the `kind`, beam or app."""

    folder: str
    name: str
    kind: str


class Code:
    """The beam and .app files of a tarball, taken in one after the other. Nothing but facts is kept of them."""

    def __init__(self) -> None:
        self._places: dict[str, _Place] = {}
        self._facts: dict[str, Beam | App | str] = {}
        self._links: dict[str, str] = {}
        self._kept: dict[str, bytes] = {}

    def visit(self, member: Member, contents: Callable[[], bytes]) -> None:
        """Takes in a member of the tarball, as `archive.scan` hands it out, if it is one of code."""
        found = _PLACE(member.name)
        if found is None or member.kind not in (FILE, HARDLINK, SYMLINK):
            return
        place = _Place(*found.groups())
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

    def modules(self, released: Collection[str]) -> dict[str, tuple[str, Beam | str]]:
        """The modules by name: each's folder in lib, and what its beam file holds, or a clause about what is wrong.

        ``released`` are the folders of the release's own applications (``emqx-5.5.8``). Of files with one name, as two
        versions of an application have, the one in such a folder counts, or else the last by folder.
        """
        return {name: (folder, self._beam(name, path)) for name, folder, path in self._all("beam", released)}

    def apps(self, released: Collection[str]) -> dict[str, tuple[str, App | str]]:
        """The applications by name, as `modules` has the modules."""
        return {name: (folder, self._app(name, path)) for name, folder, path in self._all("app", released)}

    def term(self, released: Collection[str]) -> bytes:
        """The external term, compressed, of the `modules` and `apps`."""
        facts = {
            Atom("modules"): {
                name.encode(): self._of_module(name, folder, path) for name, folder, path in self._all("beam", released)
            },
            Atom("apps"): {name.encode(): _of_app(folder, app) for name, (folder, app) in self.apps(released).items()},
        }
        inner = encode(facts)[1:]
        return bytes([_VERSION, _COMPRESSED]) + struct.pack(">I", len(inner)) + zlib.compress(inner)

    def _all(self, kind: str, released: Collection[str]) -> Iterator[tuple[str, str, str]]:
        places = [(place.folder in released, place, path) for path, place in self._places.items() if place.kind == kind]
        for name, (folder, path) in {place.name: (place.folder, path) for _, place, path in sorted(places)}.items():
            yield name, folder, path

    def _of_module(self, name: str, folder: str, path: str) -> dict[Atom, Any]:
        beam = self._beam(name, path)
        if isinstance(beam, str):
            return _term(error=beam.encode())
        kept = self._kept.get(self._target(path))
        return _term(
            app=folder.encode(),
            md5=beam.md5,
            exports=beam.exports,
            behaviours=beam.behaviours,
            calls=beam.calls,
            on_load=beam.on_load,
            max_op=beam.max_op,
            **({} if kept is None else {"code": kept}),
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
