"""`hop.check`: what is wrong with a hop, found out from the two releases that it leads between."""

import json as jsons
from pathlib import Path

from invoke.context import Context

from relup_remote.commands.invocation import Invocation
from relup_remote.commands.options import command
from relup_remote.core.protocol import Failure
from relup_remote.files import expanded, is_file, is_folder, write_shared
from relup_remote.hops import catalogue as catalogues
from relup_remote.usage import UsageError


@command
def check(
    _context: Context,
    hop: str,
    from_: str = "",
    to: str = "",
    catalogue: str = "",
    sarif: str = "",
    strict: bool = False,
    host: list[str] | None = None,
    inventory: str = "",
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Check a hop against the tarballs of both releases. No host is contacted, and no Erlang is needed."""
    # Whoever checks no hop needs none of this.
    from relup_remote.commands.hop.releases import difference  # noqa: PLC0415
    from relup_remote.hops.check import check_file, check_text, is_failed  # noqa: PLC0415
    from relup_remote.hops.check.sarif import log  # noqa: PLC0415
    from relup_remote.summary import checked  # noqa: PLC0415

    with Invocation("hop.check", host, inventory, json, quiet) as call:
        call.goes_to_no_host()
        given = None if hop == IN_CATALOGUE else _existing(hop)
        found = difference(from_, to)
        places = catalogues.locate(catalogue) if catalogue or not given else (given.parent,)
        hops = catalogues.load(*places)
        if given:
            file, findings = given, check_file(given, found, hops.helpers)
        else:
            entry = hops.hop(found.old.version, found.new.version)
            # In a package there is no file to read.
            file = (entry.catalogue or Path()) / entry.file
            findings = check_text(entry.file, entry.text, found, hops.helpers)
        if sarif:
            _write(expanded(sarif), jsons.dumps(log(file, findings), indent=2) + "\n")
        call.show_document(
            checked.document(file, found, findings),
            checked.text(file, found, findings),
            ok=not is_failed(findings, strict=strict),
        )


IN_CATALOGUE = "-"


def _existing(hop: str) -> Path:
    file = expanded(hop)
    if is_folder(file):
        raise UsageError("bad_option", f"{hop} is a folder", "Name a hop file in it.")
    if not is_file(file):
        raise UsageError("bad_option", f"{hop}: there is no such file, or it can't be reached")
    return file


def _write(file: Path, text: str) -> None:
    try:
        write_shared(file, text)
    except Failure as failure:
        raise UsageError(failure.err_type, failure.message, failure.hint) from failure
