"""`report`: what a run came to, from its ledger."""

import webbrowser
from pathlib import Path

from invoke.context import Context

from relup_remote.commands import options
from relup_remote.commands.invocation import Invocation
from relup_remote.commands.options import command
from relup_remote.core.protocol import Failure
from relup_remote.files import expanded, write_private
from relup_remote.program import typed
from relup_remote.report import FORMATS, SUFFIXES, render
from relup_remote.report.json import document
from relup_remote.report.reading import report_of
from relup_remote.rollout import ledger
from relup_remote.usage import UsageError


@command
def report(
    _context: Context,
    run: str,
    format: str = "",
    o: str = "",
    open: bool = False,
    host: list[str] | None = None,
    inventory: str = "",
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Show a run as an HTML page, Markdown, JUnit XML or JSON. RUN is the beginning of its name, or `last`."""
    with Invocation("report", host, inventory, json, quiet) as call:
        call.goes_to_no_host()
        wanted = options.choice("format", format or ("json" if json else "html"), tuple(FORMATS))
        if json and wanted in ("md", "junit") and not o:
            raise UsageError("bad_option", f"--json uses stdout: name a file for {wanted} with -o")
        if open and wanted != "html":
            raise UsageError("bad_option", f"--open shows a page, and --format {wanted} makes none")
        made = report_of(ledger.open_run(run))
        file = expanded(o) if o else Path(f"relup-{made.run}.{SUFFIXES[wanted]}") if wanted == "html" else None
        text = typed(render(made, wanted))
        if file:
            _write(file, text)
        if open and file and not webbrowser.open(file.absolute().as_uri()):
            call.warn("There is no browser here that can show the page.")
        # With --json the document is all that may be on stdout.
        call.show_document(
            {**document(made), "file": file and str(file)}, str(file) if file else text.rstrip("\n"), as_it_is=True
        )


def _write(file: Path, text: str) -> None:
    """Write a file, which appears whole; one that is there is replaced. Raises `UsageError`."""
    try:
        write_private(file, text)
    except Failure as failure:
        raise UsageError(failure.err_type, failure.message, failure.hint) from failure
