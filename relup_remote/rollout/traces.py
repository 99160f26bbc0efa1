"""Errors that nobody foresaw: written down for whoever mends them, told to the operator in a sentence."""

import logging
import os
import traceback
from pathlib import Path

from relup_remote.core.protocol import Failure
from relup_remote.files import below_home, open_private, private_folder

_log = logging.getLogger("relup_remote")


def default_folder() -> Path:
    """Where tracebacks go: `relup_remote` below $XDG_STATE_HOME, else below `~/.local/state`. Raises OSError."""
    return below_home("XDG_STATE_HOME", ".local/state") / "relup_remote"


def internal_error(error: Exception, name: str, stage: str, folder: Path | None = None) -> Failure:
    """The failure ``internal_error`` for ``error``, whose traceback goes to `<folder>/<name>.traceback`.

    It is logged as well, at debug level: Invoke's ``--debug`` shows it.
    """
    _log.debug("unforeseen at %s", name, exc_info=error)
    detail = {"error": f"{type(error).__name__}: {error}"}
    try:
        path = (folder or default_folder()) / f"{name}.traceback"
        private_folder(path.parent)
        with os.fdopen(open_private(path, os.O_WRONLY | os.O_TRUNC), "w", encoding="utf-8") as file:
            traceback.print_exception(error, file=file)
        detail["traceback"] = str(path)
    except (OSError, Failure) as problem:
        detail["traceback"] = f"could not be written: {problem}"
    return Failure("internal_error", detail=detail, stage=stage)
