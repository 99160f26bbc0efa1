"""The gates between two waves: each looks at something, and opens if it is as it should be."""

from relup_remote.rollout.gates.case import Case, Gate, Verdict
from relup_remote.rollout.gates.keeper import pass_gates

__all__ = ["Case", "Gate", "Verdict", "pass_gates"]
