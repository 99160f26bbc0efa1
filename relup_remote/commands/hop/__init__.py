"""The commands for authors of hops: `inv hop.X`. They go to no host."""

from relup_remote.commands.hop.check import check

HOP_COMMANDS = (check,)
