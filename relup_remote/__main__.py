"""`python -m relup_remote` is `relup`."""

import sys


def main() -> None:
    """Run `relup`. Ctrl-C while its parts are still being imported ends it with a sentence too."""
    try:
        from relup_remote.cli import main as run  # noqa: PLC0415

        run()
    except KeyboardInterrupt:
        sys.exit("interrupted (This command changed no host.)")


if __name__ == "__main__":
    main()
