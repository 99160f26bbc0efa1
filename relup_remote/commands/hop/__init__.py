"""The commands for authors of hops: `inv hop.X`. They go to no host."""

from relup_remote.commands.hop.check import check
from relup_remote.commands.hop.draft import draft
from relup_remote.commands.hop.show import show

HOP_COMMANDS = (show, check, draft)
