"""`hop.show`: what a hop of the catalogue does, in plain words."""

from invoke.context import Context

from relup_remote.commands.invocation import Invocation
from relup_remote.commands.options import command
from relup_remote.hops import catalogue as catalogues
from relup_remote.summary import hop as words


@command
def show(
    _context: Context,
    from_: str,
    target: str,
    catalogue: str = "",
    host: list[str] | None = None,
    inventory: str = "",
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Describe the hop between two versions in plain words. No host is contacted, and no Erlang is needed."""
    with Invocation("hop.show", host, inventory, json, quiet) as call:
        call.goes_to_no_host()
        found = catalogues.load(*catalogues.locate(catalogue))
        hop = found.hop(from_, target)
        call.show_document(words.document(hop, found.helpers), words.text(hop, found.helpers))
