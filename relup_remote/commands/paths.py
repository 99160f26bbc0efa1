"""`paths`: the hops that the catalogue has."""

from invoke.context import Context

from relup_remote.commands.invocation import Invocation
from relup_remote.commands.options import command
from relup_remote.hops import catalogue as catalogues
from relup_remote.hops.catalogue import Catalogue


@command
def paths(
    _context: Context,
    catalogue: str = "",
    host: list[str] | None = None,
    inventory: str = "",
    json: bool = False,
    quiet: bool = False,
) -> None:
    """List the hops of the catalogue, and the files in it that can't be used. No host is contacted."""
    with Invocation("paths", host, inventory, json, quiet) as call:
        if host or inventory:
            _ = call.hosts  # every command takes them, and takes no wrong ones
        found = catalogues.load(catalogues.locate(catalogue))
        call.show_document(document(found), text(found))


def document(found: Catalogue) -> dict[str, object]:
    """The catalogue for ``--json``."""
    return {
        "catalogue": str(found.folder),
        "hops": [{"file": hop.file, "from": hop.from_vsn, "target": hop.target} for hop in found.hops],
        "helpers": [helper.file for helper in found.helpers],
        "malformed": [
            {"file": file.file, "line": file.line, "column": file.column, "reason": file.reason}
            for file in found.malformed
        ],
        "ambiguous": [
            {"from": pair[0], "target": pair[1], "files": files, "err_type": "ambiguous_hop"}
            for pair, files in found.ambiguous.items()
        ],
    }


def text(found: Catalogue) -> str:
    """The catalogue for people: a line a hop, then the helpers, then what can't be used."""
    width = max((len(f"{hop.from_vsn} -> {hop.target}") for hop in found.hops), default=0)
    lines = [f"{f'{hop.from_vsn} -> {hop.target}':{width}}  {hop.file}" for hop in found.hops]
    blocks = ["\n".join(lines) or f"no hops in {found.folder}"]
    if found.helpers:
        blocks.append("helper modules: " + ", ".join(helper.file for helper in found.helpers))
    if found.malformed:
        blocks.append(
            "\n".join(["malformed:", *(f"  {file.file}: {file.place}{file.reason}" for file in found.malformed)])
        )
    if found.ambiguous:
        pairs = [f"  {pair[0]} -> {pair[1]}: {', '.join(files)}" for pair, files in found.ambiguous.items()]
        blocks.append("\n".join(["ambiguous_hop, keep one of each:", *pairs]))
    return "\n\n".join(blocks)
