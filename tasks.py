"""The operator's commands, `inv --list`."""

import sys

try:
    from invoke.main import program

    from lab import tasks as lab
    from relup_remote import streams
    from relup_remote.cli import UsageProgram
    from relup_remote.commands import namespace as commands

    namespace = commands()
    namespace.add_collection(lab.namespace)
except KeyboardInterrupt:
    # Invoke would end without a word.
    sys.exit("interrupted (This command changed no host.)")

# Invoke exits with 1 for options it can't parse, and asks this file for nothing but tasks. It loads it before it
# parses them, though, so that `inv` can still become a program which exits with 2.
program.__class__ = UsageProgram
streams.prepare()
