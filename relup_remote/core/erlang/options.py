"""Payload, shipped to hosts (Python 3.6 and up, standard library only): the option file of TLS distribution.

Source of the format: the SSL application's User's Guide, chapter "Using TLS for Erlang Distribution".
"""

import ssl
from typing import Any, Optional

from .consult import read_terms


def client_context(path: str) -> ssl.SSLContext:
    """A TLS context for a connection to a node that uses the option file at `path`.

    The client's options count, and the server's certificate where the client has none of its own. Raises OSError and
    ValueError (`ssl.SSLError` is one of the former).
    """
    with open(path, encoding="utf-8") as file:
        terms = read_terms(file.read())
    if len(terms) != 1 or not isinstance(terms[0], list):
        raise ValueError("the option file is not one list")
    sections = {item[0]: item[1] for item in terms[0] if isinstance(item, tuple) and len(item) == 2}
    client, server = _options(sections.get("client")), _options(sections.get("server"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Nodes are named by the cookie and the certificate's chain, not by a host name.
    context.check_hostname = False
    authorities = client.get("cacertfile")
    if client.get("verify") == "verify_peer" and authorities:
        context.load_verify_locations(authorities)
    else:
        context.verify_mode = ssl.CERT_NONE
    certificate = client if "certfile" in client else server
    if "certfile" in certificate:
        password: Optional[str] = certificate.get("password")
        context.load_cert_chain(certificate["certfile"], certificate.get("keyfile"), password)
    return context


def _options(section: Any) -> Any:
    return {item[0]: item[1] for item in section or [] if isinstance(item, tuple) and len(item) == 2}
