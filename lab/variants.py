"""Release tarballs with something changed, for tests of what must be refused: made from a built one, in a second."""

import fnmatch
import io
import re
import tarfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from lab.release import wrapper
from lab.release.tarball import member, write_sidecar, writing

VARS = "releases/emqx_vars"
BUILD_INFO = "releases/*/BUILD_INFO"


def variant(
    src: Path,
    dst: Path,
    *,
    drop: Collection[str] = (),
    replace: Mapping[str, bytes] | None = None,
    add: Mapping[str, bytes] | None = None,
    rename: Callable[[str], str] = lambda name: name,
    sidecar: bool = True,
) -> Path:
    """Write to ``dst`` the tarball ``src`` without the files ``drop``, with other contents, more files, and new names.

    ``drop`` and ``replace`` go by the names in ``src``; what they name has to be there. ``add`` comes last and may
    break every rule. With ``sidecar`` the digest is written too. Returns ``dst``.

    Raises `KeyError` naming what is not there.
    """
    other = dict(replace or {})
    missing = {*drop, *other}
    # Compressing takes most of the time, and nothing that is tested depends on it.
    with tarfile.open(src) as old, writing(dst, level=0) as new:
        for header in old:
            name = header.name
            missing.discard(name)
            if name in drop:
                continue
            content = old.extractfile(header)
            if name in other:
                content = io.BytesIO(other[name])
                header.size = len(other[name])
            header.name = rename(name)
            new.addfile(header, content)
        for name, added in (add or {}).items():
            new.addfile(member(name, len(added)), io.BytesIO(added))
    if missing:
        raise KeyError(f"{src.name} has no {', '.join(sorted(missing))}")
    if sidecar:
        write_sidecar(dst)
    return dst


def without_emqx_vars(src: Path, dst: Path) -> Path:
    """A release that does not say what it is."""
    return variant(src, dst, drop=[VARS])


def with_folders(src: Path, dst: Path, named: Mapping[str, str]) -> Path:
    """A release whose build named other folders to its wrapper (see `lab.release.wrapper.folders`)."""
    _, contents = _find(src, VARS)
    return variant(src, dst, replace={VARS: wrapper.with_folders(contents[VARS].decode(), named).encode()})


def without_rel_vsn(src: Path, dst: Path) -> Path:
    """A release whose `emqx_vars` names no version."""
    return _edited(src, dst, VARS, r"(?m)^REL_VSN=.*\n", "")


def other_otp_major(src: Path, dst: Path) -> Path:
    """A release of the next major version of OTP, by its BUILD_INFO."""
    return _edited(src, dst, BUILD_INFO, r'erlang: "(\d+)', lambda found: f'erlang: "{int(found[1]) + 1}')


def other_os(src: Path, dst: Path) -> Path:
    """A release for another system, by its BUILD_INFO."""
    return _edited(src, dst, BUILD_INFO, r'os: ".*"', 'os: "el9"')


def other_arch(src: Path, dst: Path) -> Path:
    """A release for another processor, by its BUILD_INFO."""
    return _edited(src, dst, BUILD_INFO, r'arch: ".*"', 'arch: "riscv64-unknown-linux-gnu"')


def otp_fork(src: Path, dst: Path) -> Path:
    """A release on EMQX's fork of OTP, by the module that only the fork has."""
    with tarfile.open(src) as tar:
        directory = next(name for name in tar.getnames() if fnmatch.fnmatch(name, "lib/mnesia-*/ebin"))
    return variant(src, dst, add={f"{directory}/mnesia_hook.beam": b""})


def renamed(src: Path, dst: Path, version: str) -> Path:
    """The same release under another version, except that `emqx_release` in it still says the old one."""
    names, contents = _find(src, "releases/*")
    old = re.search(r'REL_VSN="(.*)"', contents[VARS].decode())
    assert old, f"{src.name} names no REL_VSN"
    said = [name for name in names if name in (VARS, "releases/start_erl.data") or name.endswith(".rel")]
    return variant(
        src,
        dst,
        replace={name: contents[name].replace(old[1].encode(), version.encode()) for name in said},
        rename=lambda name: re.sub(rf"^releases/{re.escape(old[1])}(?=/|$)", f"releases/{version}", name),
    )


def _edited(src: Path, dst: Path, pattern: str, old: str, new: str | Callable[[re.Match[str]], str]) -> Path:
    """A variant with one replacement in one file, which has to happen."""
    names, contents = _find(src, pattern)
    text, count = re.subn(old, new, contents[names[0]].decode())
    assert count == 1, f"{names[0]} of {src.name} does not have {old} once"
    return variant(src, dst, replace={names[0]: text.encode()})


def _find(src: Path, pattern: str) -> tuple[list[str], dict[str, bytes]]:
    """The files whose names fit a pattern, with their contents."""
    contents = {}
    with tarfile.open(src) as tar:
        for header in tar:
            file = tar.extractfile(header) if fnmatch.fnmatch(header.name, pattern) else None
            if file is not None:
                contents[header.name] = file.read()
    return list(contents), contents
