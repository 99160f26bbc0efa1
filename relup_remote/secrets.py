"""What the operator was asked for, and nobody else may see."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Secrets:
    """``ssh`` is the password of the SSH user or the passphrase of the key, ``sudo`` the one that sudo wants.

    None is: not asked for. Neither is ever shown.
    """

    ssh: str | None = field(default=None, repr=False)
    sudo: str | None = field(default=None, repr=False)


NO_SECRETS = Secrets()
