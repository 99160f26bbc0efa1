"""Every command and option that a text names is there, and works when it is typed as it stands."""

import ast
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest
from invoke.parser import Parser
from invoke.parser.context import ParserContext

from relup_remote import commands, program
from relup_remote.cli import MEANINGLESS
from relup_remote.commands.options import LOCAL, OPTIONS, choice, duration, numbers
from relup_remote.core.harmless import allowed
from relup_remote.core.protocol import ERRORS
from relup_remote.hops.check.findings import CHECK_ERRORS
from relup_remote.manual.completion import RUN_COMMANDS
from relup_remote.manual.synopsis import parameters
from relup_remote.rollout.endings import ROLLOUT_ERRORS
from relup_remote.rollout.waves import sizes
from relup_remote.usage import USAGE_ERRORS
from tests.unit.program import INV, PROJECT, RELUP, run

SOURCES = PROJECT / "relup_remote"
BARE = re.compile(r"(?<![\w-])--([a-z][a-z-]+)")

ROLLING = ("upgrade", "rollback")
SAID_BY: Mapping[str, tuple[str, ...]] = {
    "rollout/": ROLLING,
    "report/reading.py": ("upgrade",),
    "summary/plan.py": ROLLING,
    "summary/removals.py": ("cleanup",),
    "summary/prepared.py": ("cleanup",),
    "commands/upgrading.py": ("upgrade",),
    "commands/hopping.py": ("plan", "upgrade"),
    "commands/rolling.py": ROLLING,
    "commands/wishes.py": ROLLING,
    "commands/rolling_back.py": ("rollback",),
    "commands/asking.py": ("upgrade", "rollback", "restore", "cleanup", "logs-clear"),
    "commands/report.py": ("report",),
    "commands/watch.py": ("verify", "postcheck"),
    "commands/hop/draft.py": ("hop.draft",),
    "core/boot.py": ROLLING,
    "core/steps/restore.py": ("restore", "backup.verify"),
    "hops/check/rules/releases.py": ("plan", "upgrade"),
    "hops/draft/": ("hop.draft",),
    "hops/catalogue.py": ("plan", "upgrade", "paths", "hop.show", "hop.check"),
}
"""Which commands say the texts of a file, where not all do that go to hosts: they have the options named there."""

ERRS_OF: Mapping[str, tuple[str, ...]] = {
    "no_terminal": SAID_BY["commands/asking.py"],
    "no_catalogue": SAID_BY["hops/catalogue.py"],
    **dict.fromkeys(ROLLOUT_ERRORS, ROLLING),
}
"""The same for errors."""

NO_TEXTS = ("manual/", "docs.py", "calls.py", "cli.py", "commands/options.py", "settings.py", "secrets.py")
"""Files whose texts are tested elsewhere, or that speak to no operator."""

OTHER_PROGRAMS = ("inventory/ansible.py", "core/service.py", "host/launcher.py", "host/route.py", "postchecks/")
"""Files that name options of other programs."""

HINTS = {
    name: spec.hint for errors in (ERRORS, USAGE_ERRORS, ROLLOUT_ERRORS, CHECK_ERRORS) for name, spec in errors.items()
}


@cache
def parser() -> Parser:
    return Parser(contexts=commands.namespace().to_contexts())


def options(command: str) -> set[str]:
    return {f"--{each.name.strip('_').replace('_', '-')}" for each in parameters(commands.by_name()[command])}


def assert_values(context: ParserContext) -> None:
    """What a command gives to its options are values that these take."""
    for argument in context.args.values():
        values = argument.value if isinstance(argument.value, list) else [argument.value]
        for value in values:
            name = str(argument.attr_name or argument.name)
            if (
                not argument.got_value
                or not isinstance(value, str)
                or value.isupper()
                or "X" in value
                or name not in OPTIONS
            ):
                continue
            shape = OPTIONS[name].value
            if shape == "TIME":
                duration(name, value, 0, minimum=1)
            elif shape in ("SECONDS", "BACKUPS", "ROWS"):
                numbers(minimum=0, **{name: value})
            elif shape in ("HOSTS", "SIZES"):
                sizes(value)
            elif shape == "CALLS":
                allowed(value)
            elif "|" in shape or OPTIONS[name].choices:
                choice(name, value, OPTIONS[name].choices or shape.split("|"))
            else:
                # A name of a host, a version or a file is nowhere but with its operator.
                assert name == "run" and value == "last", f"{context.name}: --{name} {value}"


def of_all_hosts() -> tuple[str, ...]:
    return tuple(name for name, task in commands.by_name().items() if task.name not in LOCAL)


def texts(path: Path) -> Iterator[str]:
    """The texts in a source but for its docstrings; in those that are put together X stands for values."""
    tree = ast.parse(path.read_text())
    parts: set[int] = set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for said in body if isinstance(body, list) else []:
            if isinstance(said, ast.Expr) and isinstance(said.value, ast.Constant):
                parts.add(id(said.value))
        if isinstance(node, ast.JoinedStr) and id(node) not in parts:
            yield "".join(str(each.value) if isinstance(each, ast.Constant) else "X" for each in node.values)
            parts.update(id(each) for each in ast.walk(node))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node.value


def assert_typeable(text: str, said_by: tuple[str, ...]) -> None:
    """The commands in backticks can be parsed; options that stand alone are those of all who say it."""
    rest = text
    for typed in re.findall(r"`inv ([^`]*)`", text):
        words = shlex.split(typed)
        if words[0] not in ("X", "--help"):
            assert words[0] in commands.by_name(), text
            # A run that is not named is the last one.
            for context in parser().parse_argv(
                [*words, "last"] if [*words] in [[each] for each in RUN_COMMANDS] else words
            ):
                assert_values(context)
        rest = rest.replace(f"`inv {typed}`", "")
    rest = "" if re.fullmatch(r"inv [a-zX][^`]*", rest) else rest
    assert not re.search(r"(?<![\w/])inv [a-z]", rest), f"a command without backticks: {text}"
    for bare in BARE.findall(re.sub(r"`[^`]*`", "", rest)):
        missing = [name for name in said_by if f"--{bare}" not in options(name)]
        assert not missing, f"{text!r}: no option --{bare} in {', '.join(missing)}"


def test_files_that_hints_name_are_there() -> None:
    named = [
        path for hint in HINTS.values() for path in re.findall(r"(?<![\w/.])((?:docs|inventory|priv)/[\w./-]+\w)", hint)
    ]
    assert len(named) >= 2
    for path in named:
        assert (PROJECT / path).is_file(), path


@pytest.mark.parametrize("err_type", HINTS)
def test_hints_of_errors(err_type: str) -> None:
    assert_typeable(HINTS[err_type], ERRS_OF.get(err_type, of_all_hosts()))


def test_all_other_texts() -> None:
    for path in sorted(SOURCES.rglob("*.py")):
        name = path.relative_to(SOURCES).as_posix()
        if name.startswith((*NO_TEXTS, *OTHER_PROGRAMS)):
            continue
        said_by = next((who for start, who in SAID_BY.items() if name.startswith(start)), of_all_hosts())
        tables = name in ("core/protocol.py", "usage.py", "rollout/endings.py")
        for text in texts(path):
            if " " in text and not (tables and text in HINTS.values()):
                assert_typeable(text, said_by)


@pytest.mark.parametrize("instead", [each for each in MEANINGLESS.values() if each])
def test_what_is_said_instead_of_options_of_invokes(instead: str) -> None:
    assert "`--" not in instead, "a command that can't be typed as it stands"
    assert_typeable(instead, tuple(re.findall(r"`([a-z.-]+)`", instead)) or of_all_hosts())


def test_a_hint_that_does_not_work_would_be_found() -> None:
    for text in (
        "See inv status.",
        "`inv statsu`",
        "`inv status --force`",
        "Go on with --force.",
        "`inv upgrade --resum`",
        "`inv upgrade --hop-timeout 30m`",
        "`inv upgrade --backup-age 0`",
        "`inv upgrade --on-failure reboot`",
        "`inv upgrade --allow-calls os`",
        "`inv restore --host n1`",
    ):
        with pytest.raises(Exception, match=r"."):
            assert_typeable(text, of_all_hosts())


@pytest.mark.parametrize(
    ("called", "name"),
    [
        ("/usr/bin/relup", "relup"),
        ("/a/relup_remote/__main__.py", "relup"),
        ("/usr/bin/inv", "inv"),
        ("/a/invoke/__main__.py", "inv"),
        ("", "inv"),
    ],
)
def test_texts_name_the_program_that_runs(monkeypatch: pytest.MonkeyPatch, called: str, name: str) -> None:
    monkeypatch.setattr(sys, "argv", [called])
    assert program.typed("See `inv status`, not inv x.") == f"See `{name} status`, not inv x."
    assert program.typed("`inv lab.up`, `inv --list lab`") == "`inv lab.up`, `inv --list lab`", "the lab is inv's alone"
    assert program.typed("inv upgrade --resume r1") == f"{name} upgrade --resume r1"


@pytest.mark.parametrize(("module", "name"), [(RELUP, "relup"), (INV, "inv")])
def test_wrong_use_names_it_too(module: str, name: str, tmp_path: Path) -> None:
    variables = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    ended = run(module, "report", "1999", variables=variables)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert f"`{name} upgrade` begins one." in ended.stderr
    told = run(module, "report", "1999", "--json", variables=variables)
    assert f"`{name} upgrade` begins one." in told.stdout


OUR_PARTS = re.compile(
    r"(?<!application )\b(?:controllers?|ledgers?)\b|\b(?:[Tt]he|[Aa]|[Oo]ur|[Ee]ach|[Ii]ts) core\b", re.I
)
"""Names of our own parts, which only docs/architecture.md explains to operators."""

INTERNAL_PAGES = ("architecture.md", "testing.md")
OF_THE_VM = ("5 s for the controller", "10 s for the controller")
"""What docs/calls.md says of the VM's application controller."""


def our_parts(text: str) -> list[str]:
    """The names of our own parts in a text, which an operator does not know."""
    for known in (*OF_THE_VM, "application controller"):
        text = text.replace(known, "")
    # What is code has the names that it has: events, keys, commands.
    return OUR_PARTS.findall(re.sub(r"`[^`]*`", "", text))


def test_operators_read_no_names_of_our_own_parts() -> None:
    said = [
        text for path in SOURCES.rglob("*.py") for text in texts(path) if " " in text and "CREATE TABLE" not in text
    ]
    said += [path.read_text() for path in (SOURCES / "report" / "templates").iterdir()]
    pages = [path for path in (PROJECT / "docs").glob("*.md") if path.name not in INTERNAL_PAGES]
    pages += [PROJECT / "README.md", *(PROJECT / "tests" / "transcripts").iterdir()]
    said += [line for path in pages for line in path.read_text().splitlines()]
    assert {text: found for text in said if (found := our_parts(text))} == {}


def test_a_name_of_our_own_parts_would_be_found() -> None:
    for text in ("its controller has ended", "The ledger is damaged.", "The core ended.", "10 ledgers"):
        assert our_parts(text), text
    for text in ("one core and two replicants", "cores-first", "the application controller", "`ledger_unusable`"):
        assert not our_parts(text), text
