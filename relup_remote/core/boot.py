"""Payload, shipped to hosts (Python 3.6 and up, standard library only): whether a tree would boot.

A deployed tree has its own `releases/emqx_vars`, which says where its wrapper looks for the node's files. Only the base
has any; a tree whose values lead elsewhere can't boot:

=================  =============================================  =====================================================
variable           in the base                                    in a tree that leads elsewhere
=================  =============================================  =====================================================
EMQX_ETC_DIR       where the node's configuration is              the base's value is set
EMQX_LOG_DIR       where the wrapper makes a folder for logs      the base's value is set, if none is preset
EMQX_PLUGINS_DIR   where plugins are installed                    the base's value is set
RUNNER_USER        whom the wrapper runs as                       the base's value is set
RUNNER_BIN_DIR     where the wrapper finds itself for a start     the tree's own folder is set
any other          set by an operator, at the end of the file     the operator's value is set
=================  =============================================  =====================================================

What is set goes to the end of the tree's file, where its own comment wants changes. Then the tree's wrapper reads the
node's configuration (`check_config`): with the tree's code, and without starting anything. It makes no file, and no
folder but those of logs and configurations, which are there.
"""

import os
import re
import time
from typing import Any, Dict, List, NamedTuple, Optional

from . import release, relied_on, wrapper
from .emqx_vars import Unclear, Variables, quoted, with_last_lines
from .files import may_write, remove_tree, write_whole, writing_failure
from .opening import create, read_small
from .protocol import Failure, Result
from .running_node import wrapper_of
from .site import PARTIAL, Site

ETC, LOG, PLUGINS, USER, BIN = "EMQX_ETC_DIR", "EMQX_LOG_DIR", "EMQX_PLUGINS_DIR", "RUNNER_USER", "RUNNER_BIN_DIR"
FOLDERS = (ETC, LOG, PLUGINS)

_LARGEST_SCRIPT = 16 << 20
"""Bytes: what lies beside a wrapper is scripts, and the boot files of tools."""

OF_A_RELEASE = ("REL_VSN", "ERTS_VSN", "REL_NAME", "RUNNER_LIB_DIR", "SCHEMA_MOD", "IS_ELIXIR", "IS_ENTERPRISE")
"""What a tree says of itself, whatever the base says of its own."""

APPEND = "Append what it lacks: "
VARS = os.path.join("releases", "emqx_vars")


class Setting(NamedTuple):
    """A variable that a tree has to set anew: its `value`, `instead` of what, `why`, and the `line` that does it.

    `is_own` is whether an operator has set it.
    """

    name: str
    value: str
    instead: Optional[str]
    why: str
    line: str
    is_own: bool = False

    def to_json(self) -> Dict[str, Any]:
        """As it is in results. What an operator has set may be a secret: of that there is the name."""
        hidden = {"value": None, "instead": None, "line": None} if self.is_own else {}
        told = dict(self._asdict(), **hidden)
        del told["is_own"]
        return told


class Places(NamedTuple):
    """Where a tree's wrapper looks: the variables that its file sets, those it has to set anew, and what is unclear."""

    values: Dict[str, Optional[str]]
    settings: List[Setting]
    unclear: Dict[str, str]


def read_vars(root: str) -> str:
    """The text of a root's emqx_vars. Raises `Failure` cannot_read_emqx_vars."""
    content = read_small(os.path.join(root, VARS), links=True)
    if content is None:
        raise Failure("cannot_read_emqx_vars", "{} has no readable {}.".format(root, VARS))
    return content.decode("utf-8", "surrogateescape")


def places(text: str, tree: str, base: str) -> Places:
    """Where the wrapper of `tree` would look, by the `text` of its emqx_vars, and what has to be set for it to look
    where the base's does. Raises `Failure` cannot_read_emqx_vars, boot_unclear."""
    ours = Variables(read_vars(base), {"RUNNER_ROOT_DIR": base, "BASE_RUNNER_ROOT_DIR": base})
    theirs = Variables(text, {"RUNNER_ROOT_DIR": tree, "BASE_RUNNER_ROOT_DIR": base})
    values: Dict[str, Optional[str]] = {}
    settings: List[Setting] = []
    unclear: Dict[str, str] = {}
    for name in (*FOLDERS, USER, BIN):
        try:
            right = _right(name, ours, theirs, tree, base)
        except Unclear as why:
            unclear[name] = "its right value is not known: {}".format(why)
            continue
        found: Optional[str] = None
        try:
            found = theirs.get(name)
            reason = _reason(name, found, tree, base)
        except Unclear as why:
            reason = str(why)
        values[name] = right if tree != base or right is None else found
        if tree != base and right is not None and right != found:
            settings.append(Setting(name, right, found, reason, _line(name, right, found, theirs, tree, base)))
    if tree != base:
        _set_by_operator(ours, theirs, base, settings, unclear)
    if ETC in unclear or (tree == base and values.get(ETC) is None):
        message = "What {} sets is not known: {}.".format(
            os.path.join(base, VARS), unclear.get(ETC, "it sets no " + ETC)
        )
        raise Failure("boot_unclear", message, detail={"unclear": unclear})
    return Places(values, settings, unclear)


def _set_by_operator(
    ours: Variables, theirs: Variables, base: str, settings: List[Setting], unclear: Dict[str, str]
) -> None:
    """Adds what an operator has set at the end of the base's file, and what it says there that can't be taken over."""
    for name, is_exported in ours.own.items():
        if name in (*FOLDERS, USER, BIN, *OF_A_RELEASE):
            continue
        try:
            value = ours.get(name) or ""
            found = theirs.get(name)
        except Unclear as why:
            unclear[name] = "it is not copied from the base's file, because {}".format(why)
            continue
        if value != found:
            line = "{}{}={}".format("export " if is_exported else "", name, quoted(value, base))
            settings.append(Setting(name, value, found, "it is at the end of the base's file", line, True))
    for line in ours.more:
        unclear[line] = "it is not copied from the end of the base's file, because it is not an assignment"


def _right(name: str, ours: Variables, theirs: Variables, tree: str, base: str) -> Optional[str]:
    """What a variable has to be; None where neither file sets it."""
    if name == BIN:
        # A package's wrapper leads to the base's, and that to the tree's.
        found = theirs.get(name) if name in theirs else None
        if found is None or tree == base:
            return found
        leads = os.path.realpath(os.path.join(found, "emqx"))
        own = os.path.join(tree, "bin")
        return found if leads == os.path.realpath(os.path.join(base, "bin", "emqx")) or found == own else own
    if name in ours:
        return ours.get(name)
    if name not in theirs or name == USER:
        return None
    found = theirs.get(name)
    if found is not None and _is_below(found, tree):
        # The base's file is of a release that did not name it yet: the folder is where it always was.
        return base + found[len(tree) :]
    return found


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + "/")


def _reason(name: str, found: Optional[str], tree: str, base: str) -> str:
    if found is None:
        return "the tree does not set it"
    if name == USER:
        return "the base's wrapper runs as another user"
    if name == BIN:
        return "{} has no wrapper of this root".format(found)
    if _is_below(found, tree):
        return "it leads to a folder of the tree that does not exist"
    return "it is not the base's"


def _line(name: str, value: str, found: Optional[str], theirs: Variables, tree: str, base: str) -> str:
    word = '"$RUNNER_ROOT_DIR/bin"' if name == BIN and value == os.path.join(tree, "bin") else quoted(value, base)
    if name == LOG and found is not None and theirs.is_presettable(name):
        # What the environment says stays.
        own = found.replace(tree, "$RUNNER_ROOT_DIR", 1) if _is_below(found, tree) else found
        return '[ "${}" != "{}" ] || {}={}'.format(name, own, name, word)
    return "{}={}".format(name, word)


def repaired(text: str, found: Places) -> str:
    """The text of an emqx_vars with what has to be set in it; the same where there is nothing."""
    if not found.settings:
        return text
    lines = ["## by relup_remote: where the base has these", *(setting.line for setting in found.settings)]
    return with_last_lines(text, lines)


def repair(tree: str, base: str, root: Optional[str] = None) -> List[Setting]:
    """Sets in the emqx_vars of `tree` what has to be, and says what that was. `root` is where the tree lies as yet.

    Raises `Failure` cannot_read_emqx_vars, boot_unclear, and those of writing.
    """
    text = read_vars(root or tree)
    found = places(text, tree, base)
    if found.settings:
        content = repaired(text, found).encode("utf-8", "surrogateescape")
        write_whole(os.path.join(root or tree, VARS), content, 0o644)
    return found.settings


def problems(found: Places, base: str, data_dir: str) -> List[str]:
    """What would keep the wrapper from booting, once what has to be set is; empty where nothing would."""
    wrong = []
    etc = found.values.get(ETC)
    if etc is not None:
        conf = os.path.join(base, etc, release.CONF)
        try:
            os.stat(conf)
        except PermissionError:
            wrong.append("{} can't be seen by this user".format(conf))
        except OSError:
            wrong.append("{} is not found in {}".format(release.CONF, etc))
    log = found.values.get(LOG)
    if log is not None and not may_write(os.path.join(base, log)):
        wrong.append("no log can be written in {}".format(log))
    if not os.path.isdir(data_dir):
        wrong.append("the data folder {} is not there".format(data_dir))
    return wrong


def look(tree: str, site: Site) -> Dict[str, Any]:
    """What is to be seen of a tree's boot without running anything, as in a result's facts.

    ``paths``, ``set`` (see `Setting`; of a tree that is there already it lacks them), ``unclear``, and ``problems``.
    Raises `Failure` cannot_read_emqx_vars, boot_unclear.
    """
    text = read_vars(tree)
    found = places(text, tree, site.base)
    told = facts(found, tree)
    lacks = ["{} is {}: {}".format(each.name, each.instead, each.why) for each in found.settings if not each.is_own]
    found.unclear.update({each.name: "it is not as " + each.why for each in found.settings if each.is_own})
    if wrapper.hides_environment(site):
        found.unclear["EMQX_*"] = (
            "the environment of the node's VM can't be read, so what it sets will not be set again"
        )
    told["problems"] = lacks + problems(found, site.base, site.data_dir) + wrapper_problems(site.base, tree)
    return told


def is_set(settings: List[Setting], tree: str) -> bool:
    """Whether the emqx_vars of a tree has these settings already. A tree that is not there, or unclear, has none."""
    try:
        lines = read_vars(tree).splitlines()
    except Failure:
        return False
    return all(each.line in lines for each in settings)


def tell(result: Result, told: Dict[str, Any], base: str, *, is_planned: bool = False) -> None:
    """Puts what is known of a tree's boot into a result: ``boot`` of its facts, in words too (``said``), and warnings
    of what is not proven.

    The words name paths as from `base`, so that they are the same for all nodes that are alike. What `is_planned` is
    not set yet, and the words say so.
    """
    tree = _from(base, told["tree"])
    said = _sentences(told["set"], tree, base, "will be" if is_planned else "is")
    configuration = told["configuration"] or {}
    if configuration.get("checked") and not told["problems"]:
        # A tree may be proven before the marker leads there.
        is_next = tree == base or os.path.realpath(release.boot_chain(base)[-1]) == os.path.realpath(told["tree"])
        text = "The next start boots {}. Its wrapper can" if is_next else "The wrapper of {} can"
        name = "the base release" if tree == base else tree
        said.append(
            "{} read the configuration in {}.".format(text.format(name), _from(base, told["paths"].get(ETC) or base))
        )
    # A tree with problems is not booted, and nothing is set in it.
    result.facts["boot"] = dict(told, said=[] if told["problems"] else said)
    for name, why in told["unclear"].items():
        _warn(result, "{}: {}.".format(name, why))
    if configuration and not configuration["checked"]:
        _warn(result, "{}: {}.".format(told["tree"], configuration["why"]))


def _sentences(settings: List[Dict[str, Any]], tree: str, base: str, verb: str) -> List[str]:
    """What is set in a tree, or will be, and why: a sentence for each reason."""
    said = [
        "In {}, {} {} set as in the base, because {}.".format(tree, each["name"], verb, each["why"])
        for each in settings
        if each["line"] is None
    ]
    reasons: Dict[str, List[str]] = {}
    for each in settings:
        if each["line"] is not None:
            to = "to" if each["why"] in reasons else "{} set to".format(verb)
            words = "{} {} {}".format(each["name"], to, _from(base, str(each["value"])))
            reasons.setdefault(each["why"], []).append(words)
    for why, parts in reasons.items():
        own = "the tree's own value " if len(parts) == 1 else "each of the tree's own values "
        *first, last = parts
        what = "{} and {}".format(", ".join(first), last) if first else last
        said.append("In {}, {}, because {}.".format(tree, what, re.sub("^it (?=leads|is )", own, why)))
    return said


def _from(base: str, path: str) -> str:
    """A path as from the node's base, where it lies there."""
    return os.path.relpath(path, base) if _is_below(path, base) and path != base else path


def _warn(result: Result, message: str) -> None:
    warning = Failure("boot_not_proven", message, stage="extract").to_json()
    if warning not in result.warnings:
        result.warnings.append(warning)


def facts(found: Places, tree: str) -> Dict[str, Any]:
    """What is known of a tree's boot so far, as in a result's facts."""
    paths = {name: found.values[name] for name in FOLDERS if found.values.get(name) is not None}
    told = {"tree": tree, "paths": paths, "set": [setting.to_json() for setting in found.settings]}
    return dict(told, unclear=found.unclear, configuration=None, problems=[])


def remedy(told: Dict[str, Any]) -> str:
    """How an operator sets by hand what a tree lacks: a command for a shell on the host."""
    lines = [each["line"] for each in told["set"] if each["line"] is not None]
    quoted_lines = " ".join("'{}'".format(line.replace("'", "'\\''")) for line in lines)
    return "printf '%s\\n' {} >>'{}'".format(quoted_lines, os.path.join(told["tree"], VARS))


def wrapper_problems(base: str, tree: Optional[str] = None) -> List[str]:
    """What is to be seen in the wrappers of base and tree: the one has to follow the marker, the other to keep the
    base's data folder."""
    wrong = []
    follows = "does not follow relup/current, so the next start boots the base again"
    keeps = "does not know its base, so it looks for the data folder in its own tree"
    paths = [(wrapper_of(base), b"relup/current", follows)]
    if tree not in (None, base):
        paths.append((os.path.join(tree or "", "bin", "emqx"), b"BASE_RUNNER_ROOT_DIR", keeps))
    for path, word, what in paths:
        script = read_small(path, links=True)
        if not os.access(path, os.X_OK):
            wrong.append("{} can't be run".format(path))
        elif script is not None and tree != base and word not in script:
            wrong.append("{} {}".format(path, what))
    return wrong


def prove(tree: str, site: Site, timeout: Optional[float], work: str, before: str = "") -> Dict[str, Any]:
    """Shows that a tree would boot, or why not: looks, and has its wrapper read the node's configuration.

    `work` is a folder for what the wrapper says; without a `timeout` it is not run. Nor is it where all that a proof
    relies on is as it was `before`, see `relied_on`: its digest is the ``proof`` that is returned. Returns what `look`
    does besides; ``configuration`` says how the wrapper got on: ``{"checked": bool, "by": …, "seconds": …, "why": …}``.
    Raises `Failure` would_not_boot with it all in the detail, and those of `look`.
    """
    told = look(tree, site)
    if not told["problems"]:
        if timeout is None:
            skipped = {"checked": False, "by": None, "seconds": 0.0, "why": "it was not asked (--no-boot-check)"}
            return dict(told, configuration=skipped, set=[])
        # Before it is proven: what changes meanwhile must not count as proven.
        etc = told["paths"].get(ETC)
        proof = etc and relied_on.digest(tree, site, os.path.join(site.base, etc))
        if before and proof == before:
            told["configuration"] = {"checked": True, "by": _wrapper_in(tree, site), "seconds": 0.0, "why": None}
        else:
            told["configuration"] = _configuration(tree, site, timeout, work)
        told["proof"] = proof if told["configuration"]["checked"] else None
        if told["configuration"]["why"] and told["configuration"]["checked"]:
            told["problems"].append(told["configuration"]["why"])
    if told["problems"]:
        raise would_not_boot(told)
    # Nothing that it lacks keeps it from booting.
    return dict(told, set=[])


def would_not_boot(told: Dict[str, Any]) -> Failure:
    """The `Failure` of a tree that has problems."""
    message = "{} would not boot: {}.".format(told["tree"], "; ".join(told["problems"]))
    hint = APPEND + remedy(told) if any(each["line"] for each in told["set"]) else None
    return Failure("would_not_boot", message, detail={"boot": told}, hint=hint)


def _configuration(tree: str, site: Site, timeout: float, work: str) -> Dict[str, Any]:
    path = _wrapper_in(tree, site)
    script = read_small(path, links=True)
    if script is not None and b"check_config" not in script:
        return {"checked": False, "by": path, "seconds": 0.0, "why": "its wrapper has no check_config"}
    scratch: Optional[str] = None
    if tree == site.base and release.marker(site.base) is not None:
        # The base's own wrapper would follow the marker.
        scratch = os.path.join(site.base, "relup", "{}base-{}".format(PARTIAL, os.urandom(6).hex()))
    started = time.monotonic()
    try:
        if scratch is not None:
            _imitate(site.base, scratch)
        ran = _check_config(os.path.join(scratch, "bin", "emqx") if scratch is not None else path, site, timeout, work)
    finally:
        if scratch is not None:
            remove_tree(scratch)
    why = None
    if ran.status != 0:
        said = [line.strip() for line in ran.said.splitlines() if line.strip()]
        why = "its check_config {}{}".format(ran.ended, ": " + said[-1] if said else "")
    return {"checked": True, "by": path, "seconds": round(time.monotonic() - started, 2), "why": why}


def _wrapper_in(tree: str, site: Site) -> str:
    return wrapper_of(tree) if tree == site.base else os.path.join(tree, "bin", "emqx")


def _check_config(path: str, site: Site, timeout: float, work: str) -> wrapper.Ran:
    env = wrapper.environment(site)
    # A VM that fails here must not leave its dump where the node's would be.
    env.update(BASE_RUNNER_ROOT_DIR=site.base, ERL_CRASH_DUMP_BYTES="0")
    log = os.path.join(work, "check-config-{}.log".format(os.urandom(4).hex()))
    return wrapper.run([path, "check_config"], env, site.base, timeout, log, whole=True)


def _imitate(base: str, scratch: str) -> None:
    """Makes a root that is the base but for the marker: links, and the scripts themselves, which look where they are.

    Raises `Failure` where it can't be made.
    """
    bin_dir = os.path.join(base, "bin")
    try:
        for folder in (scratch, os.path.join(scratch, "bin")):
            os.mkdir(folder)
            # Whatever our umask: the wrapper may become another user.
            os.chmod(folder, 0o755)  # noqa: S103
        for name in os.listdir(base):
            if name not in ("bin", "relup"):
                os.symlink(os.path.join(base, name), os.path.join(scratch, name))
        for name in os.listdir(bin_dir):
            path = os.path.join(bin_dir, name)
            content = read_small(path, _LARGEST_SCRIPT, links=True) if os.path.isfile(path) else None
            if content is not None:
                mode = 0o755 if os.access(path, os.X_OK) else 0o644
                with os.fdopen(create(os.path.join(scratch, "bin", name), mode), "wb") as file:
                    file.write(content)
    except OSError as error:
        remove_tree(scratch)
        raise writing_failure(error, scratch)
