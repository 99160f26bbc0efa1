"""Whether hop and releases belong together, and the releases to each other."""

from collections.abc import Iterator

from relup_remote.core.harmless import harmless
from relup_remote.hops.check.case import Case
from relup_remote.hops.check.findings import Finding, sentence
from relup_remote.hops.reading.called import called_in

_ALLOWED = frozenset(harmless())
_APPLIES = ("erlang", "apply")


def versions(case: Case) -> Iterator[Finding]:
    """The hop is for other releases."""
    for key, said, release in (
        ("from_version", case.hop.from_vsn, case.old),
        ("target_version", case.hop.target, case.new),
    ):
        if said != release.version:
            message = f'{key} is "{said}", but {release.path} is {release.version}.'
            yield case.finding("error", "malformed_hop", case.place(key), message)


def shape(case: Case) -> Iterator[Finding]:
    """The hop's map is not as it has to be."""
    for problem in case.hop.problems:
        yield case.finding("error", "malformed_hop", problem.span, sentence(problem.message))


def builds(case: Case) -> Iterator[Finding]:
    """One of the releases is not for a node that runs the other."""
    at, old, new = case.place("target_version"), case.old, case.new
    if old.otp_major != new.otp_major:
        message = f"{old.version} is built with OTP {old.otp}, {new.version} with OTP {new.otp}."
        yield case.finding("error", "otp_major_vsn_mismatch", at, message)
    elif (old.otp, old.erts) != (new.otp, new.erts):
        message = f"OTP {old.otp} with ERTS {old.erts} will run code that was built with OTP {new.otp}."
        yield case.finding("warning", "erts_differs", at, message)
    if old.is_fork != new.is_fork:
        message = f"Only {(old if old.is_fork else new).version} is built on EMQX's fork of OTP."
        yield case.finding("error", "otp_compatible_mismatch", at, message)
    for key in ("os", "arch"):
        said, other = old.build_info.get(key), new.build_info.get(key)
        if said != other:
            message = f"The {key} of {old.version} is {said}, that of {new.version} is {other}."
            yield case.finding("error", "os_arch_mismatch", at, message)


def script(case: Case) -> Iterator[Finding]:
    """The hop's file calls what the node that evaluates it refuses."""
    major = case.old.otp_major
    for module, function, arity, span in called_in(case.hop.text, int(major) if major.isdecimal() else None):
        # What is applied is looked up by the node, which knows what it is.
        if (module, function, arity) not in _ALLOWED and (module, function) != _APPLIES:
            message = (
                f"The file calls {module}:{function}/{arity}. The node that evaluates it refuses that, unless "
                "--allow-calls names it."
            )
            yield case.finding("warning", "hop_call_not_allowed", span, message)


RULES = (versions, shape, builds, script)
