"""Payload, shipped to hosts (Python 3.6 and up, standard library only): the files of a release, and which one boots.

The files are those of section "releases/" of an EMQX install: emqx_vars, BUILD_INFO and the .rel file.
"""

import os
import re
from functools import lru_cache
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from .emqx_vars import Unclear, Variables
from .opening import names_in, read_small
from .protocol import Failure
from .trust import check_reachable, user_name, wrong_user

VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_-]{0,127}")
"""What may stand as a version in a path: no separators, no leading dot."""

MARKER = os.path.join("relup", "current")

CONF = "emqx.conf"
"""The file without which no wrapper starts a node."""

BEFORE = "relup_before-"
RESTORED = "relup_restored-"
"""How the folders begin in which a restore puts what was there, and what is going to be there (see backup/swap.py)."""


class TreeFacts(NamedTuple):
    """What tells whether two releases go together: `version`, `build_info`, and whether it is on the `fork` of OTP."""

    version: str
    build_info: Dict[str, str]
    fork: bool

    def otp_major(self) -> str:
        """The major version of OTP, as ``27``; empty where it is not known."""
        return self.build_info.get("erlang", "").partition(".")[0]


def parse_pairs(text: str, separator: str) -> Dict[str, str]:
    """The lines ``key<separator>value`` of emqx_vars (``=``) and BUILD_INFO (``:``), quotes around values removed."""
    pairs = {}
    for line in text.splitlines():
        key, found, value = line.partition(separator)
        key, value = key.strip(), value.strip()
        if found and re.match(r"^\w+$", key):
            pairs[key] = value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" else value
    return pairs


def version_in(emqx_vars: Optional[bytes], where: str) -> str:
    """REL_VSN of an emqx_vars file. Raises `Failure` cannot_read_emqx_vars, rel_vsn_not_found."""
    if emqx_vars is None:
        raise Failure("cannot_read_emqx_vars", "{} has no readable releases/emqx_vars.".format(where))
    version = parse_pairs(emqx_vars.decode("utf-8", "replace"), "=").get("REL_VSN", "")
    if not VERSION.fullmatch(version):
        raise Failure("rel_vsn_not_found", "releases/emqx_vars of {} names no REL_VSN.".format(where))
    return version


def read_tree(root: str) -> TreeFacts:
    """The facts of a release on disk. Raises `Failure` as `version_in`, and cannot_read_build_info."""
    version = version_in(read_small(os.path.join(root, "releases", "emqx_vars")), root)
    build_info = read_small(os.path.join(root, "releases", version, "BUILD_INFO"))
    if build_info is None:
        raise Failure("cannot_read_build_info", "{} has no readable BUILD_INFO.".format(root))
    return TreeFacts(version, parse_pairs(build_info.decode("utf-8", "replace"), ":"), _is_fork(root))


def version_of(root: str) -> Optional[str]:
    """The version of a release on disk; None where that can't be told."""
    try:
        return read_tree(root).version
    except Failure:
        return None


def _is_fork(root: str) -> bool:
    return any(
        os.path.exists(os.path.join(root, "lib", lib, "ebin", "mnesia_hook.beam"))
        for lib in names_in(os.path.join(root, "lib"))
        if lib.startswith("mnesia-")
    )


def marker(base: str) -> Optional[str]:
    """The version that the marker of a root names, or None. What can't be a version counts as none.

    Raises `Failure` cannot_read_file.
    """
    try:
        content = read_small(os.path.join(base, MARKER), 1024, links=True)
    except Failure as failure:
        if failure.err_type != "untrusted_file":
            raise
        # To the wrapper what is no file is no marker.
        return None
    if content is None:
        return None
    text = content.decode("utf-8", "replace").strip()
    return text if VERSION.fullmatch(text) else None


def tree_of(base: str, version: str) -> str:
    """Where the tree of a version is deployed."""
    return os.path.join(base, "relup", version)


def boot_chain(base: str) -> List[str]:
    """The roots that the wrapper goes through at the next boot, from `base` to the one it boots."""
    chain = [base]
    while len(chain) < 64:
        version = marker(chain[-1])
        if version is None or not os.path.isdir(tree_of(chain[-1], version)):
            break
        chain.append(tree_of(chain[-1], version))
    return chain


def deployed(base: str) -> Optional[Tuple[str, str]]:
    """Version and tree that the markers lead to, in trees below one another too; None without a marker."""
    tree = boot_chain(base)[-1]
    if tree != base:
        return os.path.basename(tree), tree
    version = marker(base)
    return None if version is None else (version, tree_of(base, version))


def lost_tree(base: str) -> Optional[Tuple[str, str]]:
    """Version and tree that a marker on the way names though the tree is not there; None where all are.

    The wrapper goes where the marker says, so such a root does not boot at all.
    """
    last = boot_chain(base)[-1]
    version = marker(last)
    return None if version is None else (version, tree_of(last, version))


def marked_version(base: str) -> Optional[str]:
    """The version that the next boot is of, as far as markers say; None without one."""
    found = deployed(base)
    return None if found is None else found[0]


def variables_of(base: str) -> Variables:
    """What the emqx_vars of a base sets. Raises `Failure` as `read_small`."""
    content = read_small(os.path.join(base, "releases", "emqx_vars")) or b""
    given = {"RUNNER_ROOT_DIR": base, "BASE_RUNNER_ROOT_DIR": base}
    return Variables(content.decode("utf-8", "surrogateescape"), given)


def etc_of(base: str) -> str:
    """The folder with a node's settings, by EMQX_ETC_DIR of its emqx_vars; ``etc`` in the root where that sets none.

    Raises `Failure` boot_unclear where that can't be told, and as `read_small`.
    """
    try:
        told = variables_of(base).get("EMQX_ETC_DIR")
    except Unclear as why:
        path = os.path.join(base, "releases", "emqx_vars")
        message = "{} does not tell where the node's settings are: {}.".format(path, why)
        raise Failure("boot_unclear", message, detail={"unclear": {"EMQX_ETC_DIR": str(why)}})
    return os.path.realpath(os.path.join(base, told or "etc"))


def data_dir_of(base: str) -> str:
    """The data folder of a node that does not run: by ``node.data_dir`` of its emqx.conf.

    Where that says nothing it is ``data`` in the root, but only if the settings are in the root as well, as in the
    layout of tarballs: packages have both elsewhere. Raises `Failure` data_dir_unknown, wrong_user, and as
    `etc_of`.
    """
    # Late, for only a node that is down needs it.
    from .settings import setting  # noqa: PLC0415

    etc = etc_of(base)
    conf = _configuration(etc)
    try:
        content = _read_by_user(conf)
        told = None if content is None else setting(content.decode("utf-8"), "node.data_dir")
    except ValueError as error:
        raise Failure("data_dir_unknown", "{}: {}.".format(conf, error), detail={"path": conf})
    if told is not None:
        return os.path.join(base, told)
    if etc == os.path.realpath(os.path.join(base, "etc")):
        return os.path.join(base, "data")
    message = "{} does not say where the data folder is, and {} has its settings elsewhere.".format(conf, base)
    raise Failure("data_dir_unknown", message, detail={"path": conf})


def _configuration(etc: str) -> str:
    """Where a node's emqx.conf is. A restore moves it aside first, and it still says what it says there."""
    conf = os.path.join(etc, CONF)
    check_reachable(conf)
    if not os.path.lexists(conf):
        for name in names_in(etc):
            aside = os.path.join(etc, BEFORE + name[len(RESTORED) :])
            if name.startswith(RESTORED) and os.path.isdir(aside):
                return os.path.join(aside, CONF)
    return conf


def _read_by_user(path: str) -> Optional[bytes]:
    """As `read_small`. Raises `Failure` wrong_user where only another user may read the file."""
    check_reachable(path)
    try:
        return read_small(path, links=True)
    except Failure:
        if os.access(path, os.R_OK):
            raise
        message = "{} can't be read by {}: it belongs to {{}}.".format(path, user_name(os.geteuid()))
        raise wrong_user(os.stat(path).st_uid, message, {"path": path})


def missing_in(root: str) -> List[str]:
    """What a deployed tree lacks to be whole, as relative paths: by its own .rel and .app files. Empty when whole.

    One of these two that can't be understood counts as missing.
    """
    try:
        facts = read_tree(root)
    except Failure as failure:
        return [failure.message]
    rel_file = os.path.join("releases", facts.version, "emqx.rel")
    try:
        _, _, (_, erts), apps = _consult(os.path.join(root, rel_file))
        versions = [(_name(app[0]), _name(app[1])) for app in apps]
        wanted = [os.path.join("bin", "emqx"), os.path.join("erts-{}".format(_name(erts)), "bin", "beam.smp")]
    except (TypeError, ValueError, IndexError):
        return [rel_file]
    missing = [path for path in wanted if not os.path.exists(os.path.join(root, path))]
    boots = [os.path.join("releases", facts.version, name + ".boot") for name in ("start", "emqx")]
    if not any(os.path.exists(os.path.join(root, path)) for path in boots):
        missing.append(boots[0])
    for app, version in versions:
        missing += _missing_of_app(root, app, version)
    return missing


class Beam(NamedTuple):
    """A module of a release: its `name`, the `path` of its file, and whether its application lists it (`is_listed`)."""

    name: str
    path: str
    is_listed: bool


def beams_in(root: str) -> List[Beam]:
    """The modules of a release on disk that a node booted from it has; empty if its .rel file can't be read.

    Of two with one name that of an application that lists it counts, and before it a protocol consolidated by Elixir.
    """
    try:
        version = read_tree(root).version
        _, _, _, apps = _consult(os.path.join(root, "releases", version, "emqx.rel"))
        folders = [(_name(app[0]), os.path.join("lib", _name(app[0]) + "-" + _name(app[1]), "ebin")) for app in apps]
    except (Failure, TypeError, ValueError, IndexError):
        return []
    found: Dict[str, Beam] = {}
    for app, folder in folders:
        try:
            listed = set(_listed(root, folder, app))
        except (TypeError, ValueError, IndexError):
            listed = set()
        for name in _beam_names(os.path.join(root, folder)):
            if name in listed or name not in found:
                found[name] = Beam(name, os.path.join(root, folder, name + ".beam"), name in listed)
    consolidated = os.path.join(root, "releases", version, "consolidated")
    for name in _beam_names(consolidated):
        found[name] = Beam(name, os.path.join(consolidated, name + ".beam"), name in found and found[name].is_listed)
    return [found[name] for name in sorted(found)]


def _beam_names(folder: str) -> List[str]:
    try:
        files = os.listdir(folder)
    except OSError:
        return []
    # Files of macOS are no modules.
    return [file[: -len(".beam")] for file in files if file.endswith(".beam") and not file.startswith("._")]


def _listed(root: str, ebin: str, app: str) -> List[str]:
    """The modules that the .app file of an application lists. Raises TypeError, ValueError, IndexError."""
    kind, _, settings = _consult(os.path.join(root, ebin, app + ".app"))
    if kind != "application":
        raise ValueError("no application")
    modules: List[Any] = next((item[1] for item in settings if item[0] == "modules"), [])
    return [_name(module) for module in modules]


def _missing_of_app(root: str, app: str, version: str) -> List[str]:
    ebin = os.path.join("lib", "{}-{}".format(app, version), "ebin")
    spec_file = os.path.join(ebin, app + ".app")
    try:
        beams = [os.path.join(ebin, module + ".beam") for module in _listed(root, ebin, app)]
    except (TypeError, ValueError, IndexError):
        return [spec_file]
    return [path for path in beams if not os.path.exists(os.path.join(root, path))]


def _name(value: Any) -> str:
    """What may be a part of a path. Raises ValueError for what may not."""
    if not isinstance(value, str) or not value or "/" in value or "\0" in value:
        raise ValueError("no name")
    return value


def _consult(path: str) -> Any:
    """The one term of a file, or None where it can't be read."""
    return _one_term(read_small(path) or b"")


@lru_cache(maxsize=None)
def _one_term(content: bytes) -> Any:
    """The one term of a text, which is not to be changed: a request reads the same hundreds of files several times."""
    # Late, for only looking at a deployed tree needs it.
    from .erlang.consult import decoded, read_terms  # noqa: PLC0415

    try:
        terms = read_terms(decoded(content))
    except ValueError:
        return None
    return terms[0] if len(terms) == 1 else None
