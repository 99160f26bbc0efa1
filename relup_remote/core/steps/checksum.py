"""Payload, shipped to hosts (Python 3.6 and up, standard library only): the step that checks the staged tarball."""

from typing import Any, Dict, Tuple

from ..checks import compare_digest
from ..context import Context
from .stage import sha256_of


def run(context: Context) -> Tuple[str, Dict[str, Any]]:
    """Reads the whole file on disk and compares its SHA-256 with the sidecar's, before anything is unpacked.

    Raises `Failure` missing_sha256_sidecar, cannot_read_sha256_sidecar, invalid_sha256_sidecar, sha256_mismatch.
    """
    actual = sha256_of(context.staged)
    compare_digest(context, actual)
    return "ok", {"sha256": actual}
