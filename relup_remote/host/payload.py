"""The core as one file: a zipapp of `relup_remote.core` and nothing else, with the same bytes each time it is built."""

import functools
import hashlib
import importlib.resources
import io
import zipfile
from collections.abc import Iterator
from importlib.resources.abc import Traversable
from typing import NamedTuple

DECLARATIONS = {
    ".py": '"""Payload, shipped to hosts',
    ".erl": "%% Payload, shipped to hosts",
}
"""How a file that may be shipped begins, by its suffix. Files of other kinds are not shipped."""

MAIN = """\
import sys

from relup_remote.core.main import main

sys.exit(main())
"""
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The oldest time a zip archive can hold."""


class Payload(NamedTuple):
    """What is sent to hosts, and its SHA-256 in hex."""

    content: bytes
    digest: str


class NotShippable(ValueError):
    """A file among the core's does not say that it is meant to be shipped."""


@functools.cache
def payload() -> Payload:
    """The core's payload, built once. Raises `NotShippable`."""
    return build(importlib.resources.files("relup_remote") / "core")


def build(core: Traversable) -> Payload:
    """The payload for the package `relup_remote.core` in the folder ``core``. Raises `NotShippable`."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        _add(archive, "__main__.py", MAIN.encode())
        _add(archive, "relup_remote/__init__.py", b"")
        for name, content in _files(core, "relup_remote/core/"):
            _add(archive, name, content)
    return Payload(out.getvalue(), hashlib.sha256(out.getvalue()).hexdigest())


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    member = zipfile.ZipInfo(name, EPOCH)
    member.compress_type = zipfile.ZIP_DEFLATED
    member.external_attr = 0o644 << 16
    archive.writestr(member, content)


def _files(folder: Traversable, prefix: str) -> Iterator[tuple[str, bytes]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            if entry.name != "__pycache__":
                yield from _files(entry, f"{prefix}{entry.name}/")
            continue
        content = entry.read_bytes()
        declaration = next((text for suffix, text in DECLARATIONS.items() if entry.name.endswith(suffix)), None)
        if declaration is None or not content.startswith(declaration.encode()):
            raise NotShippable(
                f"{prefix}{entry.name} does not begin with {declaration or 'a declaration that is known'!r}"
            )
        yield prefix + entry.name, content
