"""Payload, shipped to hosts (Python 3.6 and up, standard library only): members, written below a fresh folder."""

import errno
import os
from typing import Any, Iterator, Optional, Set

from .errors import ArchiveError
from .tar import DIRECTORY, FILE, HARDLINK, Member

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_OPEN_TO_OTHERS = 0o022
"""Permission to write for group and others, which no file of a release needs, and who had it could change the node."""

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


class Tree:
    """What is unpacked into the folder `path`, which nobody else may write in.

    Names are normalised, and parents come before what lies in them. It writes only into folders that it has made, and
    replaces nothing. `files` counts files and hard links, `links` symbolic links, `bytes` contents. Every method raises
    `ArchiveError` disk_full, cannot_write_file.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._made: Set[str] = set()
        self._umask = os.umask(0o077)
        os.umask(self._umask)
        self.files = self.links = self.bytes = 0
        try:
            self._root = os.open(path, _OPEN_DIRECTORY)
        except OSError as error:
            raise self._failure(error)
        self._folder_name, self._folder = "", os.dup(self._root)

    def __enter__(self) -> "Tree":
        return self

    def __exit__(self, *_exception: Any) -> None:
        os.close(self._folder)
        os.close(self._root)

    def write(self, member: Member, contents: Iterator[memoryview]) -> None:
        """Writes a member: files never over something, modes exactly, but that we may always write in directories, and
        nobody else may write anywhere."""
        try:
            parent, _, name = member.name.rpartition("/")
            self._enter(parent)
            if member.kind == FILE:
                self._write_file(name, member.mode & ~_OPEN_TO_OTHERS, contents)
                self.files += 1
                self.bytes += member.size
            elif member.kind == DIRECTORY:
                self._make_directory(name, member)
            elif member.kind == HARDLINK:
                os.link(member.target, name, src_dir_fd=self._root, dst_dir_fd=self._folder, follow_symlinks=False)
                self.files += 1
            else:
                os.symlink(member.target, name, dir_fd=self._folder)
                self.links += 1
        except OSError as error:
            raise self._failure(error, member.name)

    def sync(self) -> None:
        """Makes the whole tree durable, names and contents: one flush of its file system, not one a file."""
        try:
            sync_file_system(self._root)
        except OSError as error:
            raise self._failure(error)

    def _enter(self, folder: str) -> None:
        if folder != self._folder_name:
            descriptor = os.open(folder or ".", _OPEN_DIRECTORY, dir_fd=self._root)
            os.close(self._folder)
            self._folder_name, self._folder = folder, descriptor

    def _write_file(self, name: str, mode: int, contents: Iterator[memoryview]) -> None:
        descriptor = os.open(name, _CREATE, mode, dir_fd=self._folder)
        try:
            if mode & self._umask:
                os.fchmod(descriptor, mode)
            for piece in contents:
                written = os.write(descriptor, piece)
                while written < len(piece):
                    written += os.write(descriptor, piece[written:])
        finally:
            os.close(descriptor)

    def _make_directory(self, name: str, member: Member) -> None:
        mode = member.mode & ~_OPEN_TO_OTHERS | 0o700
        if member.name not in self._made:
            os.mkdir(name, mode, dir_fd=self._folder)
            self._made.add(member.name)
        os.chmod(name, mode, dir_fd=self._folder)

    def _failure(self, error: OSError, member: Optional[str] = None) -> ArchiveError:
        err_type = "disk_full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "cannot_write_file"
        return ArchiveError(err_type, os.strerror(error.errno or 0), member, path=self._path)


def sync_file_system(descriptor: int) -> None:
    """Makes all durable that was written to the file system of an open file or folder. Raises `OSError`."""
    try:
        import ctypes  # noqa: PLC0415 (some builds of Python are without)

        syncfs = ctypes.CDLL(None, use_errno=True).syncfs
    except (ImportError, AttributeError, OSError):
        os.sync()
        return
    if syncfs(descriptor) != 0:
        raise OSError(ctypes.get_errno(), "syncfs")
