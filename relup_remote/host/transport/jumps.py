"""What is said where it is a jump host that keeps us from a host: the same words by every transport."""

from relup_remote.core.protocol import ERRORS, Failure

PROHIBITED = 1
CONNECT_FAILED = 2
"""Why a server opens no channel, see RFC 4254, section 5.1."""

PHRASES = {
    "administratively prohibited": PROHIBITED,
    "connect failed": CONNECT_FAILED,
    "unknown channel type": 3,
    "resource shortage": 4,
}
"""The same as OpenSSH's client says it."""

NO_SUCH_NAME = ("name or service not known", "name resolution", "no address associated", "nodename nor servname")
"""What resolvers say of a name that they do not know, in small letters."""


def refused(jump: str, to: str, code: int | None, said: str) -> Failure:
    """The failure where the jump host makes no connection ``to`` the next server, an address with its port.

    ``code`` is why, None where it is not known; ``said`` is the jump host's own word for it, if there is one.
    """
    said = "" if said.lower() == "open failed" else said
    why = f": {said[:1].upper()}{said[1:]}" if said else ""
    if code == PROHIBITED:
        message = f"The jump host {jump} does not allow a connection to {to}."
        hint = (
            "Allow it on the jump host: see AllowTcpForwarding and PermitOpen in its sshd_config, and the options of "
            "the key in authorized_keys. Or name another jump host in ssh_config."
        )
    elif code == CONNECT_FAILED and any(words in said.lower() for words in NO_SUCH_NAME):
        message = f"The jump host {jump} does not know the name in {to}{why}."
        hint = "The jump host itself looks the name up. Give an address as HostName in ssh_config, or in the inventory."
    elif code == CONNECT_FAILED:
        message = f"The jump host {jump} can't connect to {to}{why}."
        hint = (
            "Check address and port as the jump host sees them, that the SSH server runs there, and firewalls between "
            "the two."
        )
    else:
        message = f"The jump host {jump} made no connection to {to}{why or ', and does not say why'}."
        hint = f"Log in to {jump} with ssh and try the way to {to} from there."
    return Failure("host_unreachable", message, hint=hint, detail={"jump_host": jump, "address": to, "error": said})


def blamed(failure: Failure, jump: str, seconds: float) -> Failure:
    """A failure to connect to the jump host itself, which had so many seconds, with words that name it."""
    if failure.detail.setdefault("jump_host", jump) != jump:
        # It is one before it.
        return failure
    if failure.err_type == "auth_failed":
        if failure.message == ERRORS["auth_failed"].meaning:
            failure.message = f"The jump host {jump} accepted none of the keys that were offered."
        failure.message = failure.message.replace("he SSH server", f"he jump host {jump}")
        failure.hint = (
            f"Check User and IdentityFile of {jump} in ssh_config, and try `ssh -v {jump}`. Jump hosts get no password."
        )
    elif failure.err_type == "ssh_timeout":
        failure.message = late(jump, seconds)
    elif failure.message == ERRORS[failure.err_type].meaning and "error" in failure.detail:
        failure.message = f"The jump host {jump} can't be reached: {failure.detail['error']}."
        failure.hint = f"Check HostName and Port of {jump} in ssh_config, and that its SSH server runs."
    return failure


def late(jump: str, seconds: float) -> str:
    """The sentence where a jump host does not answer."""
    return f"The jump host {jump} did not answer within {seconds:g} s."
