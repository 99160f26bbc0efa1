"""Payload, shipped to hosts (Python 3.6 and up, standard library only): the step that brings the tarball."""

import hashlib
import os
from typing import Any, Dict, Tuple

from ..context import Context
from ..files import remove_file, sync_dir, write_whole, writing_failure
from ..opening import cannot_read, open_ours
from ..protocol import Failure

_CHUNK = 256 << 10
"""Bytes taken at once: so few that they are still in the processor's cache when they are written."""

_PROGRESS_EVERY = 8 << 20
_FLUSH_EVERY = 4 << 20

Outcome = Tuple[str, Dict[str, Any]]


def run(context: Context) -> Outcome:
    """Streams tarball and sidecar into the staging folder, unless they are there already.

    What an interrupted run has left is gone on from. The file gets its name only when all of it is on disk and has the
    digest that the controller named; the step's `sha256` is that of the bytes as they were written, or are there.
    Raises `Failure` disk_full, cannot_write_file, untrusted_dir, connection_lost.
    """
    context.site.make_ours()
    context.site.make_staging()
    size, digest = context.tarball["bytes"], context.tarball["sha256"]
    received = 0
    if not _may_be_whole(context) or sha256_of(context.staged) != digest:
        received = _receive(context, size, digest)
    sidecar = context.tarball["sidecar"]
    if sidecar["status"] == "ok":
        write_whole(context.staged + ".sha256", sidecar["text"].encode("utf-8"))
    detail = {"bytes": size, "received": received, "path": context.staged, "sha256": digest}
    return ("ok" if received else "unchanged"), detail


def bytes_to_send(context: Context) -> int:
    """How much of the tarball the host lacks, as far as sizes tell."""
    size = int(context.tarball["bytes"])
    return 0 if _may_be_whole(context) else size - _usable(context.staged + ".part", size)


def tell_if_there(context: Context) -> None:
    """Tells, where the host lacks nothing as far as sizes tell, that nobody has to wait with sending to others."""
    if bytes_to_send(context) == 0:
        context.emit({"event": "has", "file": "tarball"})


def _may_be_whole(context: Context) -> bool:
    return os.path.isfile(context.staged) and os.path.getsize(context.staged) == context.tarball["bytes"]


def _receive(context: Context, size: int, digest: str) -> int:
    part = context.staged + ".part"
    # Bytes of another file under this name would show in the digest only at the end: then once more, from the start.
    for offset in sorted({_usable(part, size), 0}, reverse=True):
        if _stream(context, part, offset, size) == digest:
            try:
                os.rename(part, context.staged)
                sync_dir(context.site.staging)
            except OSError as error:
                raise writing_failure(error, context.staged)
            return size - offset
        remove_file(part)
    raise Failure("sha256_mismatch", "The tarball changed while it was sent.", detail={"expected": digest})


def _usable(part: str, size: int) -> int:
    try:
        have = os.path.getsize(part)
    except OSError:
        return 0
    return have if have < size else 0


def _stream(context: Context, part: str, offset: int, size: int) -> str:
    """Appends what the controller sends to `part`; returns the digest of it all."""
    hasher = hashlib.sha256()
    view = memoryview(bytearray(_CHUNK))
    flags = os.O_RDWR | os.O_CREAT | (0 if offset else os.O_TRUNC)
    try:
        with os.fdopen(open_ours(part, flags), "r+b", buffering=0) as file:
            for _ in range(offset // _CHUNK):
                hasher.update(file.read(_CHUNK) or b"")
            hasher.update(file.read(offset % _CHUNK) or b"")
            context.emit({"event": "want", "file": "tarball", "offset": offset, "bytes": size - offset})
            done = shown = flushed = offset
            while done < size:
                with context.deadline.hearing():
                    got = context.stdin.readinto(view[: min(_CHUNK, size - done)])  # type: ignore[attr-defined]
                if not got:
                    raise Failure(
                        "connection_lost",
                        "The operator's machine stopped sending at {} of {} bytes.".format(done, size),
                    )
                hasher.update(view[:got])
                rest = view[:got]
                while rest:
                    rest = rest[file.write(rest) :]
                done += got
                if done - flushed >= _FLUSH_EVERY:
                    _begin_flush(file.fileno(), flushed, done - flushed)
                    flushed = done
                if done - shown >= _PROGRESS_EVERY or done == size:
                    shown = done
                    progress = {"event": "progress", "step": "stage", "done": done, "total": size, "unit": "bytes"}
                    context.emit(progress)
            os.fsync(file.fileno())
    except OSError as error:
        raise writing_failure(error, part)
    return hasher.hexdigest()


def _begin_flush(descriptor: int, offset: int, size: int) -> None:
    """Has the kernel begin to write a part of a file to disk, so that little is left for fsync to wait for.

    That is what Linux does on this advice with pages that are not on disk yet; it keeps those.
    """
    os.posix_fadvise(descriptor, offset, size, os.POSIX_FADV_DONTNEED)


def sha256_of(path: str) -> str:
    """The SHA-256 of a file, in hex. Raises `Failure` target_tarball_not_found, cannot_read_file, untrusted_file."""
    hasher = hashlib.sha256()
    try:
        with os.fdopen(open_ours(path, os.O_RDONLY), "rb", buffering=0) as file:
            for chunk in iter(lambda: file.read(_CHUNK), b""):
                hasher.update(chunk)
    except FileNotFoundError:
        raise Failure("target_tarball_not_found", "{} is not there.".format(path), detail={"path": path})
    except OSError as error:
        raise cannot_read(path, error)
    return hasher.hexdigest()
