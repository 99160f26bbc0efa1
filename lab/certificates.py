"""Certificates for nodes that speak to each other over TLS."""

import os
import subprocess
from pathlib import Path

from lab.errors import LabError


def make(etc: Path, root: Path) -> None:
    """Make a key with a certificate of its own in ``etc/certs``, and `ssl_dist.conf`, unless they are there.

    The paths in the file are relative to ``root``, the working directory of the VM. Raises `LabError`
    (``no_certificate``).
    """
    certs, options = etc / "certs", etc / "ssl_dist.conf"
    if options.exists():
        return
    certs.mkdir(exist_ok=True)
    key, certificate = certs / "key.pem", certs / "cert.pem"
    command = [
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-days", "3650", "-subj", "/CN=lab", "-keyout", str(key), "-out", str(certificate)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError("no_certificate", "No certificate could be made for the nodes.", done.stderr.strip())
    key.chmod(0o600)
    paths = {name: os.path.relpath(path, root) for name, path in (("certfile", certificate), ("keyfile", key))}
    own = ", ".join(f'{{{name}, "{path}"}}' for name, path in paths.items())
    options.write_text(f"[{{server, [{own}]}}, {{client, [{own}, {{verify, verify_none}}]}}].\n")
