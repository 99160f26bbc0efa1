"""The two releases that a hop leads between, as options name them."""

from functools import partial

from relup_remote.commands.options import required
from relup_remote.core.protocol import Failure
from relup_remote.files import expanded
from relup_remote.hops.compare import Difference, read_both
from relup_remote.usage import UsageError, all_of


def difference(from_: str, to: str) -> Difference:
    """What the releases in the tarballs of `--from` and `--to` differ in. Raises `UsageError`."""
    if not from_ and not to:
        both = " and ".join(f"--{name}" for name in ("from", "to"))
        raise UsageError("bad_option", f"{both} are missing: the tarballs of the two releases")
    tarballs = [expanded(each) for each in all_of(partial(required, "from_", from_), partial(required, "to", to))]
    try:
        return Difference(*read_both(tarballs[0], tarballs[1]))
    except Failure as failure:
        raise UsageError(failure.err_type, failure.message, failure.hint) from failure
