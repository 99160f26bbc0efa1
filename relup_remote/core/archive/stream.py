"""Payload, shipped to hosts (Python 3.6 and up, standard library only): the bytes inside a gzip file, read ahead.

gzip is RFC 1952: compressed members one after the other, each ending in a CRC-32 and a length, which zlib checks. Zeros
may follow the last one, anything else is refused. Digest and inflating run in threads of their own: hashlib and zlib
let go of the interpreter's lock, so that the caller's thread can write files meanwhile.
"""

import hashlib
import os
import queue
import threading
import zlib
from typing import Any, Generator, Iterable, Iterator, Optional, Tuple

from ..opening import ANYONE, opened
from ..protocol import Failure
from .errors import ArchiveError

_BLOCK = 1 << 18
_CHUNK = 1 << 20
_AHEAD = 4
_GZIP = 16 + zlib.MAX_WBITS
_START = b"\x1f\x8b\x08"  # What a gzip file begins with, the one method of compression counted. Source: RFC 1952.


class Source:
    """A file that is read once, from start to end, and digested on the way.

    `size` is its length in bytes, `done` how many of them have been read. Raises `ArchiveError`
    target_tarball_not_found.
    """

    def __init__(self, path: str) -> None:
        try:
            self._file = os.fdopen(opened(path, owners=ANYONE, links=True), "rb", buffering=0)
        except OSError as error:
            raise ArchiveError("target_tarball_not_found", os.strerror(error.errno or 0), path=path)
        except Failure as failure:
            raise ArchiveError("target_tarball_not_found", failure.message, path=path)
        self.size = os.fstat(self._file.fileno()).st_size
        self.done = 0
        self._sha256 = hashlib.sha256()

    def __enter__(self) -> "Source":
        return self

    def __exit__(self, *_exception: Any) -> None:
        self._file.close()

    def blocks(self) -> Iterator[bytes]:
        """What has not been read yet. Raises `ArchiveError` bad_tarball when the disk fails."""
        while True:
            try:
                block = self._file.read(_BLOCK)
            except OSError as error:
                raise ArchiveError("bad_tarball", "it can't be read: {}".format(os.strerror(error.errno or 0)))
            if not block:
                return
            self._sha256.update(block)
            self.done += len(block)
            yield block

    def sha256(self) -> str:
        """The digest of the whole file, in hex; reads to the end first."""
        for _ in self.blocks():
            pass
        return self._sha256.hexdigest()


def inflate(blocks: Iterable[bytes], limit: int) -> Iterator[bytes]:
    """The content of a gzip file given as `blocks`, in chunks of a megabyte at most.

    Raises `ArchiveError` bad_tarball, and unsafe_tarball past `limit` bytes.
    """
    engine = zlib.decompressobj(_GZIP)
    trouble = "the compressed data is damaged"
    total = read = 0
    for block in blocks:
        if not read and not block.startswith(_START[: len(block)]):
            trouble = "it is not a gzip file"
        read += len(block)
        rest, more = block, True
        while more:
            if engine.eof:
                rest = rest.lstrip(b"\0")
                if not rest:
                    break
                engine = zlib.decompressobj(_GZIP)
                trouble = "trailing garbage, or a damaged part, follows the compressed data"
            try:
                chunk = engine.decompress(rest, _CHUNK)
            except zlib.error as error:
                raise ArchiveError("bad_tarball", "{} ({})".format(trouble, error), byte=read)
            total += len(chunk)
            if total > limit:
                raise ArchiveError("unsafe_tarball", "it unpacks to more than {} bytes".format(limit), limit=limit)
            if chunk:
                trouble = "the compressed data is damaged"
                yield chunk
            rest = engine.unused_data if engine.eof else engine.unconsumed_tail
            more = bool(rest) or (len(chunk) == _CHUNK and not engine.eof)
    if not engine.eof:
        reason = "the compressed data is cut short" if read else "the file is empty"
        raise ArchiveError("bad_tarball", reason, byte=read)


def ahead(chunks: Iterable[bytes]) -> Generator[bytes, None, None]:
    """The same chunks, made in a thread, at most four of them ahead. To be closed: that ends the thread."""
    ready: "queue.Queue[Tuple[bytes, Optional[BaseException]]]" = queue.Queue(_AHEAD)
    stop = threading.Event()

    def produce() -> None:
        try:
            for chunk in chunks:
                ready.put((chunk, None))
                if stop.is_set():
                    return
            ready.put((b"", None))
        except BaseException as error:
            ready.put((b"", error))

    thread = threading.Thread(target=produce, name="read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            chunk, error = ready.get()
            if error is not None:
                raise error
            if not chunk:
                return
            yield chunk
    finally:
        stop.set()
        # At most two more items come after this: one that waits for room, and an error.
        while not ready.empty():
            ready.get()
        thread.join()


class Stream:
    """Chunks, as a stream to read from. `offset` counts the bytes; `member` is the last member seen, for errors."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._chunk = memoryview(b"")
        self.offset = 0
        self.member: Optional[str] = None

    def error(self, err_type: str, reason: str) -> ArchiveError:
        """An `ArchiveError` that names the last member seen."""
        return ArchiveError(err_type, reason, self.member)

    def pieces(self, size: int) -> Iterator[memoryview]:
        """Exactly `size` bytes, without copying them. Raises `ArchiveError` where there are fewer."""
        while size:
            piece = self._next_chunk()[:size]
            if not piece:
                raise self.error("bad_tarball", "the tarball ends in it or after it, before its closing zero blocks")
            self._chunk = self._chunk[len(piece) :]
            self.offset += len(piece)
            size -= len(piece)
            yield piece

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes."""
        return b"".join(self.pieces(size))

    def skip_to(self, offset: int) -> None:
        """Reads on until `offset`."""
        for _ in self.pieces(offset - self.offset):
            pass

    def rest(self) -> Iterator[memoryview]:
        """All there is up to the end."""
        while self._next_chunk():
            yield self._chunk
            self._chunk = memoryview(b"")

    def _next_chunk(self) -> memoryview:
        if not self._chunk:
            try:
                self._chunk = memoryview(next(self._chunks, b""))
            except ArchiveError as error:
                raise ArchiveError(error.err_type, error.reason, self.member, **error.detail)
        return self._chunk
