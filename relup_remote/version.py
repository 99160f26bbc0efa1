"""Which version of relup_remote this is."""

from importlib.metadata import PackageNotFoundError, version


def installed() -> str | None:
    """The version that is installed; None for a checkout that is not."""
    try:
        return version("relup_remote")
    except PackageNotFoundError:
        return None
