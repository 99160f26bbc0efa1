"""The pages of `docs/` that come from tables are up to date, and say all that the tables say."""

import re
from pathlib import Path

import pytest

from relup_remote.commands import by_name
from relup_remote.core.protocol import ERRORS
from relup_remote.docs import PAGES
from relup_remote.hops.check import CHECK_ERRORS
from relup_remote.inventory import SETTINGS
from relup_remote.rollout.endings import ROLLOUT_ERRORS
from relup_remote.usage import USAGE_ERRORS

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_the_code_says(name: str) -> None:
    assert (DOCS / name).read_text() == PAGES[name](), "run: python -m relup_remote.docs"


def test_every_error_command_and_setting_is_there() -> None:
    for name in (*ERRORS, *USAGE_ERRORS, *ROLLOUT_ERRORS, *CHECK_ERRORS):
        assert f"| `{name}` |" in PAGES["errors.md"]()
    for name in by_name():
        assert f"## {name}\n" in PAGES["commands.md"]()
    for name in SETTINGS:
        assert f"| `{name}` |" in PAGES["inventory.md"]()


def test_the_trial_on_a_real_node_has_all_that_its_commands_ask_for() -> None:
    text = (DOCS / "real-emqx.md").read_text()
    typed = [line.split() for line in text.splitlines() if line.startswith("       inv ")]
    commands = [words[1] for words in typed]
    assert set(commands) <= set(by_name())
    assert commands.index("backup") < commands.index("plan") < commands.index("upgrade")
    (hop,) = [words[words.index("-o") + 1] for words in typed if words[1] == "hop.draft"]
    with_tarball = [words for words in typed if "--tarball" in words]
    assert len(with_tarball) == 2
    assert all(words[words.index("--catalogue") + 1] == str(Path(hop).parent) for words in with_tarball)


def test_commands_that_only_look_or_prepare_promise_no_change() -> None:
    """They have no row in the history, and kill nothing."""
    for name in ("plan", "prepare"):
        for meaning in by_name()[name].help.values():
            assert not re.search("recorded|are killed", meaning)
    assert "no_backup" not in by_name()["prepare"].help
