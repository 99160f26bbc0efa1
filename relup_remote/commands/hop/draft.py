"""`hop.draft`: a first version of a hop, from the two releases that it leads between."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from invoke.context import Context

from relup_remote.commands.invocation import Invocation
from relup_remote.commands.options import command
from relup_remote.core.protocol import Failure
from relup_remote.files import expanded, write_shared
from relup_remote.usage import UsageError

if TYPE_CHECKING:
    from relup_remote.hops.draft import Callback


@command
def draft(
    _context: Context,
    from_: str = "",
    to: str = "",
    o: str = "",
    callback: list[str] | None = None,
    force: bool = False,
    host: list[str] | None = None,
    inventory: str = "",
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Draft a hop from the tarballs of both releases, and check it. No host is contacted, and no Erlang is needed."""
    # Whoever drafts no hop needs none of this.
    from relup_remote.commands.hop.releases import difference  # noqa: PLC0415
    from relup_remote.hops import draft as drafts  # noqa: PLC0415
    from relup_remote.hops.check import check_text, is_failed  # noqa: PLC0415
    from relup_remote.summary import drafted  # noqa: PLC0415

    with Invocation("hop.draft", host, inventory, json, quiet) as call:
        call.goes_to_no_host()
        callbacks = _callbacks(callback or ())
        found = difference(from_, to)
        source, target = found.old.version, found.new.version
        if source == target:
            raise UsageError("bad_option", f"both releases are {source}: there is nothing to upgrade")
        made = drafts.draft(found, callbacks)
        if made.helper and not o:
            raise UsageError("bad_option", f"-o is missing: {made.helper.file} must be written beside the hop")
        file = expanded(o or f"{source}-to-{target}.relup")
        contents = made.contents(file) if o else {}
        _write(contents, force=force)
        findings = check_text(file.name, made.text, found, [made.helper] if made.helper else [])
        about = file, found, made, contents, findings
        if not o:
            call.note(drafted.text(*about))
        call.show_document(
            drafted.document(*about),
            drafted.text(*about) if o else made.text.rstrip(),
            ok=not is_failed(findings),
            as_it_is=not o,
        )


def _callbacks(declared: Iterable[str]) -> "list[Callback]":
    from relup_remote.hops.draft import parse  # noqa: PLC0415

    try:
        return [parse(each) for each in declared]
    except ValueError as error:
        raise UsageError("bad_option", f"--callback {error}") from error


def _write(contents: Mapping[Path, str], *, force: bool) -> None:
    """Write files, each of which appears whole. Raises `UsageError`."""
    there = [str(path) for path in contents if os.path.lexists(path)]
    if there and not force:
        raise UsageError("bad_option", f"{', '.join(there)}: exists already; --force replaces it")
    try:
        for path, text in contents.items():
            write_shared(path, text)
    except Failure as failure:
        raise UsageError(failure.err_type, failure.message, failure.hint) from failure
