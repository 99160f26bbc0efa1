"""Payload, shipped to hosts (Python 3.6 and up, standard library only): the option file of TLS distribution.

Source of the format: the SSL application's User's Guide, chapter "Using TLS for Erlang Distribution".
"""

import os
import ssl
from contextlib import ExitStack
from typing import Any, Callable, Dict, Optional

from ..opening import ANYONE, SMALL, opened, read_small
from .consult import Word, read_terms


def client_context(path: str, folder: str = "/") -> ssl.SSLContext:
    """A TLS context for a connection to a node that uses the option file at `path`.

    Relative paths, also those in the file, are meant from `folder`, the node's working directory. Links are followed,
    for certificates are often given by links. The client's options count, and the server's certificate where the client
    has none of its own. Raises `OSError`, `ValueError` (`ssl.SSLError` is one of the former), and `Failure`
    untrusted_file, cannot_read_file.
    """
    path = os.path.join(folder, path)
    content = read_small(path, owners=ANYONE, links=True)
    if content is None:
        raise ValueError("{} is not there".format(path))
    with ExitStack() as files:

        def readable(name: str) -> str:
            """The path of a file that is open, and was looked at: OpenSSL would wait for a pipe."""
            descriptor = opened(os.path.join(folder, name), owners=ANYONE, links=True, limit=SMALL)
            files.callback(os.close, descriptor)
            return "/proc/self/fd/{}".format(descriptor)

        return _context(read_terms(content.decode("utf-8")), readable)


def _context(terms: Any, readable: Callable[[str], str]) -> ssl.SSLContext:
    if len(terms) != 1 or not isinstance(terms[0], list):
        raise ValueError("the option file is not one list")
    sections = _options(terms[0])
    client, server = _options(sections.get("client", [])), _options(sections.get("server", []))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Nodes are named by the cookie and the certificate's chain, not by a host name.
    context.check_hostname = False
    authorities = _text(client, "cacertfile")
    if client.get("verify") == "verify_peer" and authorities:
        context.load_verify_locations(readable(authorities))
    else:
        context.verify_mode = ssl.CERT_NONE
    own = client if "certfile" in client else server
    certificate = _text(own, "certfile")
    if certificate:
        # Without a password OpenSSL would ask for one at the terminal.
        password = _text(own, "password") or ""
        key = _text(own, "keyfile")
        context.load_cert_chain(readable(certificate), readable(key) if key else None, lambda: password)
    return context


def _options(section: Any) -> Dict[str, Any]:
    """The pairs of a section by their names; all else in it counts for nothing."""
    if not isinstance(section, list):
        raise ValueError("a section of the option file is not a list")
    pairs = [item for item in section if isinstance(item, tuple) and len(item) == 2]
    return {name: value for name, value in pairs if isinstance(name, Word)}


def _text(options: Dict[str, Any], name: str) -> Optional[str]:
    value = options.get(name)
    if isinstance(value, bytes):
        value = value.decode("utf-8")
    if value is not None and (not isinstance(value, str) or "\0" in value):
        raise ValueError("{} is not text".format(name))
    return value
