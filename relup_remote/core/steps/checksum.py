"""Payload, shipped to hosts (Python 3.6 and up, standard library only): the step that checks the staged tarball."""

from typing import Any, Dict, Tuple

from ..checks import compare_digest
from ..context import Context


def run(context: Context) -> Tuple[str, Dict[str, Any]]:
    """Compares the SHA-256 of the staged file with the sidecar's, before anything is unpacked.

    The digest is the one that the step before took of these very bytes, under the same lock: as it wrote them, or of
    the whole file where that was there already. Raises `Failure` missing_sha256_sidecar, cannot_read_sha256_sidecar,
    invalid_sha256_sidecar, sha256_mismatch.
    """
    (stage,) = (step for step in context.result.steps if step.step == "stage")
    actual = stage.detail["sha256"]
    compare_digest(context, actual)
    return "ok", {"sha256": actual, "computed": "while staging"}
