"""Payload, shipped to hosts (Python 3.6 and up, standard library only): calling functions of a running node.

Two ways, one interface: over the distribution protocol (well under a millisecond a call), or, where that can't be had,
through the node's wrapper (``bin/emqx eval``, a second or more a call).
"""

import base64
import os
import re
import signal
import socket
import struct
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Tuple

from .. import sockets
from ..protocol import Failure
from ..sockets import Place
from . import term
from .distribution import Address, BadRpc, Connection, DistributionError, NotInTime
from .term import Atom

if TYPE_CHECKING:
    import ssl
    import subprocess

FIXED_PORT_BASE = 4370
_EPMD_PORT = 4369

_STARTING = 15.0
"""Seconds that a wrapper may take beside the call itself."""

_KILLED_WITHIN = 10.0

_MOST_PRINTED = 256 << 20
"""Bytes: more than any value that is asked for has."""

_SAID = 500
"""Characters kept of what a wrapper says that gives no value."""


class CallFailed(Failure):
    """A call that ended in an exception in the VM; `reason` is the Erlang term."""

    def __init__(self, what: str, reason: Any) -> None:
        super().__init__("call_failed", "{} failed in the VM.".format(what), detail={"reason": show(reason)})
        self.reason = reason

    @property
    def is_timeout(self) -> bool:
        """Whether a process of the VM did not answer in time, as in ``{exit, {timeout, Whom}}``."""
        why = self.reason
        while type(why) is tuple and len(why) == 2 and why[0] in ("EXIT", "exit", "error", "throw"):
            why = why[1]
        return bool(why == "timeout" or (type(why) is tuple and why[:1] == ("timeout",)))


class Link:
    """Calls functions of a node; `kind` is ``distribution`` or ``wrapper``.

    `owner` is the name of the process in the VM that is told of each call where the node can't see us come and go.
    """

    kind = ""
    owner: Optional[str] = None
    why = ""
    """Why it is not the better kind of link; empty where it is."""

    def call(self, module: str, function: str, args: List[Any], timeout: float = 30.0) -> Any:
        """What the function returns. Raises `CallFailed`, or `Failure` (call_timeout, node_unreachable)."""
        raise NotImplementedError

    def attempt(self, module: str, function: str, args: List[Any], default: Any = None) -> Any:
        """As `call`, but `default` where the node has no such function or it fails.

        Raises `Failure` call_timeout also where a process that the function asks does not answer: that is no answer.
        """
        try:
            return self.call(module, function, args)
        except CallFailed as failed:
            if failed.is_timeout:
                what = "{}:{}/{}".format(module, function, len(args))
                raise Failure(
                    "call_timeout", "{} asks a process that does not answer.".format(what), detail=failed.detail
                )
            return default

    def close(self) -> None:
        """Leaves the node; nothing of us stays in it."""


class DistributionLink(Link):
    """A link over the distribution protocol."""

    kind = "distribution"

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.name = connection.name

    def call(self, module: str, function: str, args: List[Any], timeout: float = 30.0) -> Any:
        what = "{}:{}/{}".format(module, function, len(args))
        try:
            return self._connection.call(module, function, args, timeout)
        except BadRpc as error:
            raise CallFailed(what, error.reason)
        except NotInTime:
            raise Failure("call_timeout", "{} did not return within {:g} s.".format(what, timeout))
        except DistributionError as error:
            raise Failure("node_unreachable", "The connection to the node broke: {}.".format(error))

    def close(self) -> None:
        self._connection.close()


class WrapperLink(Link):
    """A link through ``bin/emqx eval``: arguments and value travel as base64 of the term format."""

    kind = "wrapper"

    def __init__(self, wrapper: str, secret: str = "") -> None:
        """`wrapper` is the path of the node's ``bin/emqx``; of what that says the `secret` is shown to nobody."""
        self._wrapper = wrapper
        self._secret = secret

    def call(self, module: str, function: str, args: List[Any], timeout: float = 30.0) -> Any:
        packed = base64.b64encode(term.encode((Atom(module), Atom(function), args))).decode("ascii")
        expression = (
            '(fun() -> {{M, F, A}} = binary_to_term(base64:decode(<<"{}">>)), '
            "Tell = fun(What) -> catch({} ! {{What, self()}}) end, Tell(calling), "
            "base64:encode(term_to_binary(try {{ok, apply(M, F, A)}} "
            "catch C:R -> {{failed, {{C, R}}}} after Tell(called) end)) end)()"
        ).format(packed, self.owner or "self()")
        what = "{}:{}/{}".format(module, function, len(args))
        status, printed = self.eval(expression, what, timeout)
        try:
            if status != 0:
                raise ValueError
            outcome, value = _value_in(printed)
        except ValueError:
            said = self._shown(printed)
            last = ": " + said.splitlines()[-1].rstrip(".") if said else ""
            message = "The wrapper's eval gave no value{}.".format(last)
            raise Failure("node_unreachable", message, detail={"status": status, "said": said})
        if outcome == "failed":
            raise CallFailed(what, value)
        return value

    def eval(self, expression: str, what: str, timeout: float) -> Tuple[int, bytes]:
        """The exit status of ``bin/emqx eval``, and what it prints; also its errors, if it failed.

        What it has started ends with it. Raises `Failure`, naming `what` it was for.
        """
        # Late, for it is slow to import, and most nodes are spoken to directly.
        import subprocess  # noqa: PLC0415

        try:
            process = subprocess.Popen(
                [self._wrapper, "eval", expression],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise Failure("node_unreachable", "The wrapper can't be run: {}.".format(error))
        try:
            printed, errors = _printed_by(process, timeout + _STARTING)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            # One that hangs in the kernel does not end even so.
            with suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=_KILLED_WITHIN)
            if isinstance(error, _TooMuch):
                message = "The wrapper's eval printed more than {} MB.".format(_MOST_PRINTED >> 20)
                raise Failure("node_unreachable", message)
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            raise Failure("call_timeout", "{} did not return within {:g} s.".format(what, timeout))
        return process.returncode, printed if process.returncode == 0 else printed + errors

    def _shown(self, printed: bytes) -> str:
        said = printed.decode("utf-8", "replace").strip()
        return (said.replace(self._secret, "…") if self._secret else said)[-_SAID:]


class _TooMuch(Exception):
    """A wrapper prints and prints."""


def _printed_by(process: "subprocess.Popen[bytes]", timeout: float) -> Tuple[bytes, bytes]:
    """What a process writes to its output and its errors until it ends.

    Raises `subprocess.TimeoutExpired`, and `_TooMuch`: what it writes is kept in memory.
    """
    import selectors  # noqa: PLC0415
    import subprocess  # noqa: PLC0415

    deadline, size = time.monotonic() + timeout, 0
    found: List[List[bytes]] = [[], []]
    with selectors.DefaultSelector() as waiting:
        for pipe, kept in zip((process.stdout, process.stderr), found):
            assert pipe is not None
            waiting.register(pipe, selectors.EVENT_READ, kept)
        while waiting.get_map():
            left = deadline - time.monotonic()
            if left <= 0:
                raise subprocess.TimeoutExpired(process.args, timeout)
            for key, _ in waiting.select(left):
                chunk = os.read(key.fd, 1 << 16)
                key.data.append(chunk)
                size += len(chunk)
                if not chunk:
                    waiting.unregister(key.fileobj)
                elif size > _MOST_PRINTED:
                    raise _TooMuch
    process.wait(max(0.0, deadline - time.monotonic()))
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
    return b"".join(found[0]), b"".join(found[1])


def _value_in(printed: bytes) -> Tuple[Any, Any]:
    """The outcome and the value that eval has printed, after whatever the wrapper had to say. Raises ValueError."""
    for each in reversed(re.findall(rb'<<"([A-Za-z0-9+/=\s]*)">>', _joined(printed))):
        try:
            outcome, value = term.decode(base64.b64decode(each))
        except (ValueError, TypeError):
            continue
        return outcome, value
    raise ValueError


def _joined(printed: bytes) -> bytes:
    # ~p breaks a long binary into lines: <<"abc"\n  "def">>.
    return re.sub(rb'"\s+"', b"", printed)


def show(value: Any, limit: int = 2000) -> str:
    """An Erlang term for the eye, cut at `limit` characters."""
    try:
        shown = _show(value)
    except RecursionError:
        shown = "a term nested too deep to be shown"
    return shown if len(shown) <= limit else shown[:limit] + "…"


def _show(value: Any) -> str:
    if isinstance(value, Atom):
        return value if re.fullmatch(r"[a-z][\w@]*", value) else "'{}'".format(value)
    if isinstance(value, bytes):
        return '<<"{}">>'.format(value.decode("utf-8", "replace"))
    if isinstance(value, list):
        if value and all(isinstance(item, int) and 32 <= item < 127 for item in value):
            return '"{}"'.format("".join(map(chr, value)))
        return "[{}]".format(",".join(map(_show, value)))
    if isinstance(value, term.ImproperList):
        return "[{}|{}]".format(",".join(map(_show, value.items)), _show(value.tail))
    if isinstance(value, (dict, term.Map)):
        pairs = value.pairs if isinstance(value, term.Map) else value.items()
        return "#{{{}}}".format(",".join("{}=>{}".format(_show(key), _show(item)) for key, item in pairs))
    if isinstance(value, term.Opaque):
        return "<{}>".format(value.kind)
    if isinstance(value, term.Export):
        return "fun {}:{}/{}".format(_show(value.module), _show(value.function), value.arity)
    if type(value) is tuple:
        return "{{{}}}".format(",".join(map(_show, value)))
    if isinstance(value, int) and abs(value).bit_length() > 10000:
        # Python refuses to write out thousands of decimal digits.
        return "{}16#{:X}".format("-" if value < 0 else "", abs(value))
    return str(value)


def _is_character(value: Any) -> bool:
    # Halves of a pair are none by themselves.
    return isinstance(value, int) and 32 <= value < 0x110000 and not 0xD800 <= value < 0xE000


def plain(value: Any, texts: bool = False) -> Any:
    """A term as JSON has it: binaries are text, true, false and undefined are its own. What JSON can't hold is shown.

    With `texts`, a list of characters is one too.
    """
    if isinstance(value, Atom):
        return {"true": True, "false": False, "undefined": None}.get(value, str(value))
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, dict):
        return {str(plain(key, texts)): plain(item, texts) for key, item in value.items()}
    if isinstance(value, list):
        if texts and value and all(map(_is_character, value)):
            return "".join(map(chr, value))
        return [plain(item, texts) for item in value]
    if isinstance(value, float) or (isinstance(value, int) and value.bit_length() < 10000):
        # Longer ones can't be written as JSON.
        return value
    return show(value)


class Peer:
    """How a node can be reached, as its VM's command line tells; `running_node` fills it in.

    `name` its full name, `cookie` (where it is empty, `home_cookie` gives that of the user's home folder), `protocol`
    (inet_tcp, inet6_tcp, inet_tls, inet6_tls), `options_file` for TLS and the `working_dir` that its paths are meant
    from, `uses_epmd`, `port_base` of the fixed port, `wrapper` the path of ``bin/emqx``. `listening` gives the places
    at which its process listens, `others` those of other users' processes (see `sockets`).
    """

    def __init__(self, name: str, cookie: str, wrapper: str, listening: Callable[[], List[Place]]) -> None:
        self.name = name
        self.cookie = cookie
        self.home_cookie: Callable[[], str] = str
        self.wrapper = wrapper
        self.listening = listening
        self.others: Callable[[], List[Place]] = list
        self.protocol = "inet_tcp"
        self.options_file: Optional[str] = None
        self.working_dir: Callable[[], str] = lambda: "/"
        self.uses_epmd = True
        self.epmd_port = _EPMD_PORT
        self.port_base = FIXED_PORT_BASE

    def __repr__(self) -> str:
        return "Peer({})".format(self.name)


def connect(peer: Peer, timeout: float = 10.0) -> Link:
    """A link to `peer`: directly, else by its wrapper, and then its `why` says why not directly.

    Raises `Failure` node_unreachable with what was tried, untrusted_process where another user's process is in the way.
    """
    tried: List[Dict[str, Any]] = []
    try:
        context = _tls_context(peer) if peer.protocol.endswith("_tls") else None
        cookie = peer.cookie or peer.home_cookie()
        for host, port in _places(peer, tried):
            try:
                return DistributionLink(Connection(peer.name, cookie, Address(host, port, context), timeout))
            except DistributionError as error:
                tried.append({"address": host, "port": port, "reason": str(error)})
                if error.refused:
                    break
    except (OSError, ValueError) as error:
        tried.append({"options_file": peer.options_file, "reason": str(error)})
    except Failure as failure:
        tried.append({"reason": failure.message})
    if os.access(peer.wrapper, os.X_OK):
        _check_way_of_wrapper(peer, tried)
        link = WrapperLink(peer.wrapper, peer.cookie)
        link.why = "; ".join(_said(step) for step in tried) or "its process listens nowhere that can be seen"
        try:
            link.call("erlang", "node", [])
            return link
        except Failure as failure:
            tried.append({"wrapper": peer.wrapper, "reason": failure.message})
    raise Failure("node_unreachable", detail={"node": peer.name, "tried": tried})


def _said(step: Dict[str, Any]) -> str:
    """A try in words."""
    reason = str(step["reason"])
    return "{}: {}".format(step["options_file"], reason) if step.get("options_file") else reason


def _check_way_of_wrapper(peer: Peer, tried: List[Dict[str, Any]]) -> None:
    """Raises `Failure` untrusted_process where the wrapper would show the cookie's digest to another user's process.

    It goes to the port of the node's rule, at the address that the node's name leads to.
    """
    port = _ruled_port(peer)
    others = peer.others()
    if port is None or not any(sockets.takes(others, host, port) for host in _addresses(peer.name)):
        return
    message = "A process of another user listens on port {}, where the node should.".format(port)
    raise Failure("untrusted_process", message, detail={"node": peer.name, "port": port, "tried": tried})


def _tls_context(peer: Peer) -> "ssl.SSLContext":
    # Late, for ssl is slow to import, and most nodes are without it.
    from .options import client_context  # noqa: PLC0415

    return client_context(peer.options_file or "", peer.working_dir())


def _addresses(name: str) -> List[str]:
    """The addresses that the host in a node's name has."""
    try:
        return [str(found[4][0]) for found in socket.getaddrinfo(name.partition("@")[2], None, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError):
        return []


def fixed_port(name: str, base: int = FIXED_PORT_BASE) -> int:
    """The port of a node without epmd: `base` plus the digits that end its short name (taken mod 60000)."""
    digits = re.search(r"[0-9]*\Z", name.partition("@")[0])
    offset = int(digits.group() or 0) if digits else 0
    return base + offset % 60000


def _ruled_port(peer: Peer) -> Optional[int]:
    """The port that follows from the node's own rule; None where epmd does not know the node."""
    if peer.uses_epmd:
        return epmd_port(peer.name.partition("@")[0], peer.epmd_port)
    return fixed_port(peer.name, peer.port_base)


def _places(peer: Peer, tried: List[Dict[str, Any]]) -> List[Place]:
    """Where to connect to, likeliest first: by the node's own rule, then wherever its process listens.

    Nowhere else: who else listens would be shown a digest of the cookie, and could pass for the node.
    """
    places = peer.listening()
    ruled = _ruled_port(peer)
    if ruled is not None and ruled not in [port for _, port in places]:
        tried.append({"port": ruled, "reason": "the node's process does not listen on port {}".format(ruled)})
    return sorted(places, key=lambda place: place[1] != ruled)


def epmd_port(short_name: str, port: int = _EPMD_PORT, timeout: float = 5.0) -> Optional[int]:
    """The port that epmd on this host knows for the node, or None.

    Source: the "Distribution Protocol" chapter, PORT_PLEASE2_REQ.
    """
    request = b"z" + short_name.encode("utf-8")
    try:
        with socket.create_connection(("127.0.0.1", port), timeout) as epmd:
            epmd.sendall(struct.pack(">H", len(request)) + request)
            answer = b""
            while len(answer) < 4:
                chunk = epmd.recv(512)
                if not chunk:
                    break
                answer += chunk
    except OSError:
        return None
    if len(answer) < 4 or answer[0] != 119 or answer[1] != 0:
        return None
    return int(struct.unpack_from(">H", answer, 2)[0])
