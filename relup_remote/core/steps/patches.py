"""Payload, shipped to hosts (Python 3.6 and up, standard library only): the step that looks for patches on the node."""

from typing import Any, Dict, Tuple

from ..checks import patches
from ..context import Context


def run(context: Context) -> Tuple[str, Dict[str, Any]]:
    """Looks once more, right before the change. Raises `Failure` patches_dir_not_empty unless forced."""
    patches(context)
    return "ok", {"forced": bool(context.option("force"))}
