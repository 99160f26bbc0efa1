"""Tarballs made byte by byte, for what no tar program would write, and trees as values, to compare them."""

import gzip
import stat
from pathlib import Path

BLOCK = 512
END = bytes(2 * BLOCK)
POSIX, GNU, V7 = b"ustar\x0000", b"ustar  \0", bytes(8)


def octal(value: int, width: int) -> bytes:
    """A number as ustar writes it."""
    return b"%0*o\0" % (width - 1, value)


def entry(
    name: bytes,
    content: bytes = b"",
    kind: bytes = b"0",
    *,
    target: bytes = b"",
    mode: int = 0o644,
    magic: bytes = POSIX,
    prefix: bytes = b"",
    size: bytes | None = None,
    signed: bool = False,
    checksum: bytes | None = None,
) -> bytes:
    """A header with its contents, padded. `size` and `checksum` replace the right ones."""
    block = bytearray(BLOCK)

    def put(offset: int, field: bytes) -> None:
        block[offset : offset + len(field)] = field

    put(0, name)
    put(100, octal(mode, 8))
    put(124, octal(len(content), 12) if size is None else size)
    put(148, b" " * 8)
    put(156, kind)
    put(157, target)
    put(257, magic)
    put(345, prefix)
    total = sum(block) - (256 * sum(byte > 127 for byte in block) if signed else 0)
    put(148, b"%06o\0 " % total if checksum is None else checksum)
    return bytes(block) + content + bytes(-len(content) % BLOCK)


def directory(name: bytes, mode: int = 0o755) -> bytes:
    """A member that is a directory."""
    return entry(name, kind=b"5", mode=mode)


def symlink(name: bytes, target: bytes) -> bytes:
    """A member that is a symbolic link."""
    return entry(name, kind=b"2", target=target)


def hardlink(name: bytes, target: bytes) -> bytes:
    """A member that is a hard link."""
    return entry(name, kind=b"1", target=target)


def pax(records: dict[bytes, bytes], kind: bytes = b"x") -> bytes:
    """A header of pax records."""
    return entry(b"pax", b"".join(_record(key, value) for key, value in records.items()), kind)


def _record(key: bytes, value: bytes) -> bytes:
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest) + 1
    while len(b"%d" % length) + len(rest) != length:
        length += 1
    return b"%d" % length + rest


def tarball(path: Path, *parts: bytes, end: bytes = END) -> str:
    """Writes the parts, compressed, with the closing zero blocks; returns the path."""
    path.write_bytes(gzip.compress(b"".join(parts) + end, mtime=0))
    return str(path)


Node = tuple[str, int, bytes | str]


def tree(root: Path) -> dict[str, Node]:
    """What is below a folder: kind, mode, and content or target, by relative name. Links are not followed."""
    return {str(path.relative_to(root)): _node(path) for path in root.rglob("*")}


def _node(path: Path) -> Node:
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        return ("link", 0, str(path.readlink()))
    mode = stat.S_IMODE(found.st_mode)
    return ("directory", mode, "") if stat.S_ISDIR(found.st_mode) else ("file", mode, path.read_bytes())
