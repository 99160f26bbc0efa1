"""`paths`: the hops that the catalogue has, and where they lead."""

from invoke.context import Context

from relup_remote.commands.invocation import Invocation
from relup_remote.commands.options import choice, command, value_or
from relup_remote.hops import catalogue as catalogues
from relup_remote.hops.drawing import DRAWINGS
from relup_remote.hops.graph import graph_of
from relup_remote.summary import catalogue as listing


@command
def paths(
    _context: Context,
    from_: str = "",
    graph: str | bool = "",
    strict: bool = False,
    catalogue: str = "",
    host: list[str] | None = None,
    inventory: str = "",
    json: bool = False,
    quiet: bool = False,
) -> None:
    """List the hops of the catalogue, and the files in it that can't be used. No host is contacted."""
    with Invocation("paths", host, inventory, json, quiet) as call:
        call.goes_to_no_host()
        style = choice("graph", value_or(graph, "text"), tuple(DRAWINGS)) if graph else ""
        found = catalogues.load(*catalogues.locate(catalogue))
        findings = listing.Findings(found)
        document, text = listing.document(found, findings, from_), listing.text(found, findings, from_)
        if style:
            versions = graph_of(found.hops)
            text = DRAWINGS[style](versions.part(from_) if from_ else versions)
            document["graph"] = text
        call.show_document(document, text, ok=not (strict and findings), as_it_is=bool(style))
