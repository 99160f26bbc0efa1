"""Reading Erlang source without a VM: terms of every kind, and of scripts what can be told without running them.

`parser` makes expressions of the text, by the grammar `erlang.lark`; `evaluation` makes values of the expressions.
"""

from relup_remote.hops.reading.errors import ReadError
from relup_remote.hops.reading.reader import Script, decoded, read

__all__ = ["ReadError", "Script", "decoded", "read"]
