"""What is said below a table of how a command or a run ended."""

from relup_remote.rollout.endings import Ending


def ended(ending: Ending, hint: str, who: str = "") -> str:
    """An ending that is not ``done`` and what to do then; ``who`` comes first, and names the run if there is one."""
    said = f"{who}{ending.outcome}, {ending.err_type}: {ending.reason}"
    return "\n".join([said, f"  what to do: {hint}"] if hint else [said])
