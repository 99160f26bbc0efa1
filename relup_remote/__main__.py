"""`python -m relup_remote` is `relup`."""

from relup_remote.cli import main

if __name__ == "__main__":
    main()
