"""Every option of ssh_config(5), and who honours it: one table, so that nothing is dropped in silence.

The names are those that ``ssh -G`` prints, in small letters. A test compares them with the installed OpenSSH.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from enum import Enum
from typing import NamedTuple

Options = Mapping[str, Sequence[str]]
"""What ``ssh -G`` says of a host: the values of each option."""


class By(Enum):
    """Who honours an option."""

    ALL = "all"
    """Every way by SSH does."""

    NOBODY = "nobody"
    """It has no bearing on us, or we have our own rule for it; its row says which."""

    OPENSSH = "openssh"
    """Only OpenSSH itself does, unless the value is one of the ``plain`` ones, which ask for nothing."""

    LIST = "list"
    """A list of algorithms. Others keep to those that they know of it; where they know none, only OpenSSH does."""


class Option(NamedTuple):
    """What becomes of an option, and ``why``."""

    by: By
    why: str
    plain: tuple[str, ...] = ()


def _all(why: str) -> Option:
    return Option(By.ALL, why)


def _nobody(why: str) -> Option:
    return Option(By.NOBODY, why)


def _openssh(why: str, *plain: str) -> Option:
    return Option(By.OPENSSH, why, plain)


_FORWARDING = _nobody("nothing is forwarded")
_TERMINAL = _nobody("no terminal is used")
_MASTER = _nobody("a master connection that stands is a reason of its own; none is made for others")
_KERBEROS = _nobody("goes with GSSAPIAuthentication")
_SHOWN = _nobody("only changes what is shown")
_NEITHER = ("no", "false")

TABLE: Mapping[str, Option] = {
    # Where to
    "host": _all("the name that was looked up"),
    "hostname": _all("the address"),
    "port": _all("the port"),
    "user": _all("the user"),
    "tag": _all("OpenSSH has applied it when it is asked"),
    "canonicaldomains": _all("OpenSSH has applied it when it is asked"),
    "canonicalizefallbacklocal": _all("OpenSSH has applied it when it is asked"),
    "canonicalizehostname": _all("OpenSSH has applied it when it is asked"),
    "canonicalizemaxdots": _all("OpenSSH has applied it when it is asked"),
    "canonicalizepermittedcnames": _all("OpenSSH has applied it when it is asked"),
    "addressfamily": _openssh("which kind of address is taken", "any"),
    "bindaddress": _openssh("the address to connect from"),
    "bindinterface": _openssh("the interface to connect from"),
    "useprivilegedport": _openssh("the port to connect from", *_NEITHER),
    "proxycommand": _all("the command whose input and output lead there"),
    "proxyjump": _all("the jump hosts"),
    "proxyusefdpass": _openssh("how the proxy command hands its connection over", *_NEITHER),
    "connectionattempts": _openssh("how often a connection is tried", "1"),
    "connecttimeout": _nobody("the setting connect_timeout is in its place"),
    "refuseconnection": _openssh("hosts that must not be connected to", "none"),
    "versionaddendum": _nobody("only changes how the client names itself"),
    # Who the host is
    "checkhostip": _openssh("the address is looked up in known_hosts as well", *_NEITHER),
    "globalknownhostsfile": _all("known host keys"),
    "userknownhostsfile": _all("known host keys"),
    "hostkeyalias": _all("the name under which the host's key is filed"),
    "knownhostscommand": _openssh("a program that knows host keys", "none"),
    "revokedhostkeys": _all("host keys that are not accepted"),
    "stricthostkeychecking": _nobody("a host key that is not known is never accepted"),
    "nohostauthenticationforlocalhost": _nobody("host keys are always checked"),
    "updatehostkeys": _nobody("no known_hosts file is changed"),
    "hashknownhosts": _nobody("no known_hosts file is changed"),
    "verifyhostkeydns": _openssh("host keys that DNS vouches for", *_NEITHER),
    "casignaturealgorithms": _nobody("goes with certificates of hosts, which only OpenSSH checks"),
    "requiredrsasize": _all("how long RSA keys have to be"),
    # Who we are
    "addkeystoagent": _nobody("no key is given to the agent"),
    "batchmode": _nobody("nothing is asked on the terminal but by our own options"),
    "certificatefile": _openssh("a certificate that does not lie beside its key", "none"),
    "challengeresponseauthentication": _openssh("a way to log in that is not to be tried", "yes", "true"),
    "enablesshkeysign": _nobody("goes with HostbasedAuthentication"),
    "gssapiauthentication": _openssh("Kerberos", *_NEITHER),
    "gssapiclientidentity": _KERBEROS,
    "gssapidelegatecredentials": _KERBEROS,
    "gssapikexalgorithms": _KERBEROS,
    "gssapikeyexchange": _openssh("Kerberos", *_NEITHER),
    "gssapirenewalforcesrekey": _KERBEROS,
    "gssapiserveridentity": _KERBEROS,
    "gssapitrustdns": _KERBEROS,
    "hostbasedacceptedalgorithms": _nobody("goes with HostbasedAuthentication"),
    "hostbasedauthentication": _openssh("the key of this machine", *_NEITHER),
    "hostbasedkeytypes": _nobody("goes with HostbasedAuthentication"),
    "identitiesonly": _all("whether other keys of the agent are offered"),
    "identityagent": _all("the agent"),
    "identityfile": _all("the keys"),
    "kbdinteractiveauthentication": _openssh("a way to log in that is not to be tried", "yes", "true"),
    "kbdinteractivedevices": _openssh("how questions are asked"),
    "numberofpasswordprompts": _nobody("a password is tried once"),
    "passwordauthentication": _openssh("a way to log in that is not to be tried", "yes", "true"),
    "pkcs11provider": _openssh("keys on a smart card", "none"),
    "preferredauthentications": _openssh("which ways to log in are tried, and in which order"),
    "pubkeyauthentication": _openssh("how keys are used", "yes", "true", "unbound"),
    "securitykeyprovider": _openssh("how security keys are asked", "internal"),
    # How it is said
    "ciphers": Option(By.LIST, "ciphers"),
    "hostkeyalgorithms": Option(By.LIST, "kinds of host keys"),
    "kexalgorithms": Option(By.LIST, "key exchanges"),
    "macs": Option(By.LIST, "message authentication codes"),
    "pubkeyacceptedalgorithms": Option(By.LIST, "kinds of keys to log in with"),
    "pubkeyacceptedkeytypes": Option(By.LIST, "kinds of keys to log in with"),
    "compression": _nobody("it is only slower: tarballs are compressed"),
    "ipqos": _nobody("it is only a wish to the network"),
    "obscurekeystroketiming": _TERMINAL,
    "rekeylimit": _nobody("keys are changed after the amount that the library has for it"),
    "serveralivecountmax": _nobody("the setting keepalive is in its place"),
    "serveraliveinterval": _nobody("the setting keepalive is in its place"),
    "tcpkeepalive": _nobody("the setting keepalive is in its place"),
    "channeltimeout": _nobody("the deadlines of commands are in its place"),
    # What is run
    "localcommand": _nobody("goes with PermitLocalCommand"),
    "permitlocalcommand": _openssh("a command to run here", *_NEITHER),
    "remotecommand": _nobody("our own command is run"),
    "sessiontype": _nobody("our own command is run"),
    "stdinnull": _nobody("our own command needs its input"),
    "forkafterauthentication": _nobody("our own command is waited for"),
    "sendenv": _nobody("nothing that we run looks at the environment of the session"),
    "setenv": _nobody("nothing that we run looks at the environment of the session"),
    "controlmaster": _MASTER,
    "controlpath": _MASTER,
    "controlpersist": _MASTER,
    # What is not used
    "clearallforwardings": _FORWARDING,
    "dynamicforward": _FORWARDING,
    "exitonforwardfailure": _FORWARDING,
    "forwardagent": _FORWARDING,
    "forwardx11": _FORWARDING,
    "forwardx11timeout": _FORWARDING,
    "forwardx11trusted": _FORWARDING,
    "gatewayports": _FORWARDING,
    "localforward": _FORWARDING,
    "permitremoteopen": _FORWARDING,
    "remoteforward": _FORWARDING,
    "streamlocalbindmask": _FORWARDING,
    "streamlocalbindunlink": _FORWARDING,
    "tunnel": _FORWARDING,
    "tunneldevice": _FORWARDING,
    "xauthlocation": _FORWARDING,
    "enableescapecommandline": _TERMINAL,
    "escapechar": _TERMINAL,
    "requesttty": _TERMINAL,
    "fingerprinthash": _SHOWN,
    "loglevel": _SHOWN,
    "logverbose": _SHOWN,
    "syslogfacility": _SHOWN,
    "visualhostkey": _SHOWN,
    "warnweakcrypto": _SHOWN,
}


def unmet(options: Options, usual: Options, known: Mapping[str, Collection[str]], has_ticket: bool) -> list[str]:
    """What of a host's ``options`` only OpenSSH itself can honour, as ``Option value (why)``.

    ``usual`` is what OpenSSH has without any configuration: it stands in for a row where an option has none, being
    newer than this table. ``known`` are the algorithms that the other ways know, for each list. ``has_ticket`` is
    whether there may be a Kerberos ticket: without one its options ask for nothing.
    """
    return list(_unmet(options, usual, known, has_ticket))


def _unmet(options: Options, usual: Options, known: Mapping[str, Collection[str]], has_ticket: bool) -> Iterator[str]:
    for name, values in options.items():
        option = TABLE.get(name)
        said = f"{name} {' '.join(values)}".strip()[:LONGEST]
        if option is None:
            if list(values) != list(usual.get(name, [])):
                yield f"{said} (not known here)"
        elif option.by is By.LIST:
            if not {word for value in values for word in value.split(",")} & set(known[name]):
                yield f"{said} ({option.why})"
        elif (
            option.by is By.OPENSSH
            and any(value and value.lower() not in option.plain for value in values)
            and (has_ticket or not name.startswith("gssapi"))
        ):
            yield f"{said} ({option.why})"


LONGEST = 120
"""Characters that are shown of an option."""
