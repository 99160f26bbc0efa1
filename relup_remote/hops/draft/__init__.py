"""Drafting a hop: what gets a node from one release to another, as far as the two of them tell.

The same releases give the same text. What they don't tell is asked in the text itself, in lines that begin with
`%% REVIEW:`; the answers are the author's.
"""

from relup_remote.hops.draft.callbacks import Callback, parse
from relup_remote.hops.draft.drafting import Draft, draft

__all__ = ["Callback", "Draft", "draft", "parse"]
