"""How the program that runs is called, and commands as they are typed here.

Texts name commands as ``inv X`` in backticks, whoever says them: a host, the ledger, the tables of errors. Just before
they are printed, `typed` puts the name of the program in the place of ``inv``.
"""

import re
import sys
from pathlib import Path


def name() -> str:
    """The name of the program that runs: ``inv`` in a checkout, ``relup`` where the package is installed."""
    called = Path(sys.argv[0] if sys.argv else "")
    # `python -m relup_remote` runs a file of its own.
    stem = called.parent.name if called.name == "__main__.py" else called.name
    return "relup" if stem.startswith("relup") else "inv"


def typed(text: str) -> str:
    """``text`` with its commands as they are typed here; a command may also be the whole text.

    Commands of the lab are `inv`'s alone.
    """
    return re.sub(r"(\A|`)inv (?=[a-z-])(?!(?:[\w-]+ )?lab\b)", rf"\g<1>{name()} ", text)
