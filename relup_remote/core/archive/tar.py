"""Payload, shipped to hosts (Python 3.6 and up, standard library only): the members of a tar stream.

The formats are those of POSIX.1-2017, utility `pax`, "ustar Interchange Format" and "pax Interchange Format"
(https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html); of GNU tar's manual, "Basic Tar Format", for long
names and numbers in base 256; and of Unix v7, which has neither magic nor prefix.

An archive is a row of blocks of 512 bytes: for each member a header and its contents, padded; at the end two blocks of
zeros, and more zeros or nothing. A header is

    offset  0 name 100 mode 108 uid 116 gid 124 size 136 mtime 148 checksum 156 type 157 linkname 257 magic
            263 version 265 uname 297 gname 329 devmajor 337 devminor 345 prefix 500 unused

    magic "ustar\\0"   ustar, pax    the name is prefix, "/", name where there is a prefix
          "ustar "    GNU           the place of the prefix holds other things
          zeros       v7

    type  "0" "\\0"    file, or with "\\0" and a name that ends in "/" a directory      "5"  directory
          "1"         hard link to an earlier file                                     "2"  symbolic link
          "x"         pax records for the next member                                  "g"  pax records for all
          "L" "K"     GNU: the name, the link name of the next member                  others are refused
"""

import os
import re
import struct
from typing import Dict, Iterator, NamedTuple, Tuple

from .stream import Stream

FILE, DIRECTORY, SYMLINK, HARDLINK = "file", "directory", "symbolic link", "hard link"

_KINDS = {b"0": FILE, b"\0": FILE, b"1": HARDLINK, b"2": SYMLINK, b"5": DIRECTORY}
_GNU_LONG = {b"L": b"path", b"K": b"linkpath"}
_SIZE = 512
_ZEROS = bytes(_SIZE)
_FIELDS = struct.Struct("100s8s16x12s12x8sc100s6s82x155s12x")
_SIGNED = struct.Struct("148b8x356b")
_RECORD = re.compile(rb"([0-9]{1,7}) ([^=\n]+)=")
_OVERRIDES = frozenset([b"path", b"linkpath", b"size"])
_HARMLESS = re.compile(
    rb"([acm]time|[ug]id|[ug]name|comment|charset|hdrcharset|SCHILY\.(dev|ino|nlink|fflags)"
    rb"|(SCHILY\.xattr|SCHILY\.acl|LIBARCHIVE|RHT\.security)\..+)\Z",
    re.DOTALL,
)
_EXTENSION_LIMIT = 1 << 20


class Member(NamedTuple):
    """A member: `name` and `target` (of links) as they stand, `kind` one of the four, `mode` permission bits."""

    name: str
    kind: str
    mode: int
    size: int
    target: str


class _Header(NamedTuple):
    name: bytes
    mode: int
    size: int
    type: bytes
    target: bytes


def members(stream: Stream) -> Iterator[Member]:
    """Every member in turn, the stream standing at its contents; what of them is not read is skipped.

    Raises `ArchiveError` bad_tarball.
    """
    extended: Dict[bytes, bytes] = {}
    for header in _headers(stream):
        end = stream.offset + header.size + -header.size % _SIZE
        if header.type in b"xgLK":
            for key, value in _extension(header, stream):
                if key in extended:
                    raise stream.error("bad_tarball", "the {} of the next member is given twice".format(key.decode()))
                extended[key] = value
        else:
            member = _member(header, extended, stream)
            end = stream.offset + member.size + -member.size % _SIZE
            extended = {}
            yield member
        stream.skip_to(end)
    if extended:
        raise stream.error("bad_tarball", "the last extension header has no member")


def _headers(stream: Stream) -> Iterator[_Header]:
    block = stream.read(_SIZE)
    while block != _ZEROS:
        yield _header(block, stream)
        block = stream.read(_SIZE)
    if stream.read(_SIZE) != _ZEROS:
        raise stream.error("bad_tarball", "a single zero block follows it, where two end a tarball")
    stream.member = None
    for piece in stream.rest():
        if bytes(piece).strip(b"\0"):
            raise stream.error("bad_tarball", "trailing garbage follows the closing zero blocks")


def _header(block: bytes, stream: Stream) -> _Header:
    name, mode, size, checksum, kind, target, magic, prefix = _FIELDS.unpack(block)
    expected = _number(checksum, stream)
    if expected != sum(block) - sum(checksum) + 8 * ord(" ") and expected != sum(_SIGNED.unpack(block)) + 8 * ord(" "):
        raise stream.error("bad_tarball", "the checksum of the next header is wrong")
    name = _text(name)
    if magic == b"ustar\0":
        name = b"/".join(filter(None, [_text(prefix), name]))
    elif magic not in (b"ustar ", bytes(6)):
        raise stream.error("bad_tarball", "the next header is of an unknown format")
    return _Header(name, _number(mode, stream), _number(size, stream), kind, _text(target))


def _text(field: bytes) -> bytes:
    return field.split(b"\0", 1)[0]


def _number(field: bytes, stream: Stream) -> int:
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = _text(field).strip(b" ")
    if digits.translate(None, b"01234567"):
        raise stream.error("bad_tarball", "the next header has a number that can't be read")
    return int(digits or b"0", 8)


def _extension(header: _Header, stream: Stream) -> Iterator[Tuple[bytes, bytes]]:
    if header.size > _EXTENSION_LIMIT:
        raise stream.error("bad_tarball", "the extension header after it is too large")
    content = stream.read(header.size)
    if header.type in _GNU_LONG:
        yield _GNU_LONG[header.type], content.rstrip(b"\0")
        return
    for key, value in _records(content, stream):
        if key in _OVERRIDES and header.type == b"x":
            yield key, value
        elif not _HARMLESS.match(key):
            raise stream.error(
                "bad_tarball", "the unsupported pax record {!r} follows it".format(key.decode("latin-1"))
            )


def _records(content: bytes, stream: Stream) -> Iterator[Tuple[bytes, bytes]]:
    start = 0
    while start < len(content):
        found = _RECORD.match(content, start)
        end = start + int(found.group(1)) if found else 0
        if not found or not found.end() < end <= len(content) or content[end - 1 : end] != b"\n":
            raise stream.error("bad_tarball", "the pax records after it are malformed")
        yield found.group(2), content[found.end() : end - 1]
        start = end


def _member(header: _Header, extended: Dict[bytes, bytes], stream: Stream) -> Member:
    name = extended.get(b"path", header.name)
    stream.member = os.fsdecode(name)
    if not name:
        raise stream.error("bad_tarball", "it has no name")
    if header.type not in _KINDS:
        kind = header.type.decode("latin-1")
        raise stream.error("bad_tarball", "members of type {!r} are not supported".format(kind))
    kind = _KINDS[header.type]
    if name.endswith(b"/") and header.type == b"\0":
        kind = DIRECTORY
    digits = extended.get(b"size", b"%d" % header.size)
    if not digits.isdigit() or len(digits) > 20:
        raise stream.error("bad_tarball", "its pax size is not a number")
    if kind != FILE and int(digits):
        raise stream.error("bad_tarball", "a {} with contents is not supported".format(kind))
    if kind != DIRECTORY and name.endswith(b"/"):
        raise stream.error("bad_tarball", "only the name of a directory may end in a slash")
    target = os.fsdecode(extended.get(b"linkpath", header.target))
    return Member(stream.member, kind, header.mode & 0o777, int(digits), target)
