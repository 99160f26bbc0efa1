"""`hop.check`: what is wrong with a hop, found out from the two releases that it leads between."""

import json as jsons
from collections.abc import Sequence
from pathlib import Path

from invoke.context import Context

from relup_remote.commands.invocation import Invocation
from relup_remote.commands.options import command, required
from relup_remote.core.protocol import ERRORS, Failure
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
    from relup_remote.hops.check import check_file, is_failed  # noqa: PLC0415
    from relup_remote.hops.check.sarif import log  # noqa: PLC0415
    from relup_remote.hops.compare import Difference, read_both  # noqa: PLC0415
    from relup_remote.summary import checked  # noqa: PLC0415

    with Invocation("hop.check", host, inventory, json, quiet) as call:
        if host or inventory:
            _ = call.hosts  # every command takes them, and takes no wrong ones
        tarballs = Path(required("from_", from_)).expanduser(), Path(required("to", to)).expanduser()
        try:
            difference = Difference(*read_both(*tarballs))
        except Failure as failure:
            raise UsageError(failure.err_type, failure.message, failure.hint) from failure
        file = _file(hop, catalogue, difference.old.version, difference.new.version)
        folder = catalogues.locate(catalogue) if catalogue or hop == IN_CATALOGUE else file.parent
        findings = check_file(file, difference, catalogues.load(folder).helpers)
        if sarif:
            _write(Path(sarif).expanduser(), jsons.dumps(log(file, findings), indent=2) + "\n")
        call.show_document(
            checked.document(file, difference, findings),
            checked.text(file, difference, findings),
            ok=not is_failed(findings, strict=strict),
        )


IN_CATALOGUE = "-"


def _file(hop: str, catalogue: str, source: str, target: str) -> Path:
    """The file of the hop that is meant. Raises `UsageError`."""
    if hop != IN_CATALOGUE:
        file = Path(hop).expanduser()
        if not file.is_file():
            raise UsageError("bad_option", f"{hop}: there is no such file")
        return file
    found = catalogues.load(catalogues.locate(catalogue))
    files = [entry.file for entry in found.hops if (entry.from_vsn, entry.target) == (source, target)]
    return found.folder / _only(files, f"{found.folder}: {source} -> {target}")


def _only(files: Sequence[str], what: str) -> str:
    if len(files) == 1:
        return files[0]
    err_type = "ambiguous_hop" if files else "no_relup_entry"
    raise UsageError(err_type, f"{what}: {', '.join(files) or 'there is no such hop'}", ERRORS[err_type].hint)


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError("bad_option", f"{file}: can't be written: {error.strerror}") from error
