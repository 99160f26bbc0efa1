"""`python -m relup_remote` is `relup`."""

import sys


def main() -> None:
    """Run `relup`. Ctrl-C ends it with a sentence also before and after its commands take care of that."""
    known = "This command changed no host."
    try:
        from relup_remote.cli import main as run  # noqa: PLC0415

        known = "`relup runs` and `relup status` show what was done."
        run()
    except KeyboardInterrupt:
        sys.exit(f"interrupted ({known})")


if __name__ == "__main__":
    main()
