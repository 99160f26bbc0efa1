"""The commands as an operator meets them: options, exit statuses, what goes to stdout and what to stderr."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from invoke.exceptions import Exit

from relup_remote import version
from relup_remote.commands import by_name
from relup_remote.commands.invocation import Invocation
from relup_remote.commands.options import OPTIONS

from .program import INV, PROJECT, RELUP, run

INVENTORY = "hosts: {n1: {address: 127.0.0.1, port: 1, connect_timeout: 1}, n2: {address: 127.0.0.1, port: 1}}"
HOP = '#{from_version => "1.0", target_version => "1.1"}.'


@pytest.fixture
def inventory(tmp_path: Path) -> str:
    path = tmp_path / "hosts.yml"
    path.write_text(INVENTORY)
    return str(path)


def relup(*words: str, program: str = RELUP) -> Any:
    """Run a command without a terminal, as a script would."""
    return run(program, *words, variables=_variables())


def in_a_process(*words: str, program: str = RELUP, stdin: int = subprocess.DEVNULL, **variables: str) -> Any:
    """The same in a process of its own, with environment ``variables`` added."""
    return subprocess.run(
        [sys.executable, "-m", program, *words],
        cwd=PROJECT,
        env={**_variables(), **variables},
        stdin=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def _variables() -> dict[str, str]:
    given = {key: value for key, value in os.environ.items() if not key.startswith(("RELUP_", "INVOKE_"))}
    # Not the one of the checkout, which the demo leaves there.
    return {**given, "COLUMNS": "200", "RELUP_INVENTORY": "/none.yml"}


def wrong(ended: Any) -> str:
    """What was said on one line of stderr, of a use that was wrong: nothing else anywhere."""
    assert ended.returncode == 2
    assert ended.stdout == ""
    lines: list[str] = ended.stderr.splitlines()
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["paths", "--catalogue", "a", "--catalogue", "b"],
            "paths: --catalogue is given twice (Give it once. Several catalogues have a colon between them.)",
        ),
        (["runs", "--limit=1", "--limit", "2"], "runs: --limit is given twice (Give it once.)"),
        (["nosuch"], "there is no command 'nosuch' (`relup --list` shows the commands.)"),
        (["upgrad"], "there is no command 'upgrad'; did you mean upgrade?"),
        (["backups"], "there is no command 'backups'; did you mean backup.list?"),
        (["hop.drft"], "there is no command 'hop.drft'; did you mean hop.draft?"),
        (["--nosuch"], "there is no option --nosuch"),
        (["upgrade", "--nosuch"], "upgrade has no option --nosuch (`relup --help upgrade` lists its options.)"),
        (["upgrade", "--tarbal", "x"], "upgrade has no option --tarbal; did you mean --tarball?"),
        (["upgrade", "--tarball"], "upgrade: --tarball needs a value"),
        (
            ["upgrade", "--waves"],
            "upgrade: --waves needs a value: sizes of the waves, each a number of hosts or a share of all; "
            "the last is repeated (`relup --help upgrade` lists its options.)",
        ),
        (["paths", "--from"], "paths: --from needs a value: show what can be reached from this version"),
        (["upgrade", "--host"], "upgrade: --host needs a value: a host, group"),
        (["hop.show"], "hop.show: FROM and TARGET are missing (`relup --help hop.show` shows how to call it.)"),
        (
            ["hop.check", "-", "--from", "/none/a", "--to", "/none/b"],
            "hop.check: /none/a: No such file or directory. (Check the path.)",
        ),
        (["hop.check"], "hop.check: HOP, --from FILE and --to FILE are missing"),
        (["hop.check", "--from", "x"], "hop.check: HOP and --to FILE are missing"),
        (
            ["hop.draft"],
            "hop.draft: --from and --to are missing: the tarballs of the two releases (",
        ),
        (["hop.check", "--nope", "z"], "hop.check has no option --nope"),
        (["report", "--out", "x"], "report has no option --out; did you mean -o?"),
        (["upgrade", "-y"], "upgrade has no option -y; did you mean --yes?"),
        (
            ["status", "n1"],
            "status takes no argument 'n1' (`relup --help status` lists its options. Hosts are named with --host.)",
        ),
        (["status", "verfy"], "there is no command 'verfy'; did you mean verify?"),
        (["backup", "list"], "there is no command 'list'; did you mean backup.list?"),
        (["hop", "show"], "there is no command 'hop'; did you mean hop.check, hop.draft or hop.show?"),
        (["verify", "--tarball", "x"], "verify has no option --tarball: it is an option of plan, stage, prepare and "),
        (["verify", "--tarball=x"], "verify has no option --tarball: it is an option of plan, stage, prepare and up"),
        (["verify", "--tarbal", "x"], "verify has no option --tarbal; did you mean --tarball? It is an option of plan"),
        (["report", "--tarball", "x"], "report has no option --tarball: it is an option of plan, stage, prepare and"),
        (["rollback", "-o", "x"], "rollback has no option -o: it is an option of report and hop.draft"),
        (["paths", "--connects", "3"], "it is an option of hosts, status, verify, postcheck, plan, stage and "),
        (["--host", "n1", "status"], "no option --host before a command: it is an option of every command (Options"),
        (["upgrade", "--dry-run"], "upgrade has no option --dry-run; did you mean --check?"),
        (["lab.up"], "'lab.up' here: the lab comes with the git checkout of relup_remote (Type `inv lab.up` in"),
        (["lab"], "no command 'lab' here: the lab comes with the git checkout of relup_remote (Type `inv --list lab`"),
        (["--help", "lab.up"], "the lab comes with the git checkout of relup_remote (Type `inv lab.up` in the folder"),
        (["lab.up", "--help"], "the lab comes with the git checkout of relup_remote"),
        (["--list", "lab"], "the lab comes with the git checkout of relup_remote"),
        (["--list", "bakup"], "there is no command 'bakup'; did you mean backup?"),
        (["--list", "upgrade"], "upgrade is one command, not a group of commands"),
        (["--command-timeout", "status"], "an option that takes a whole number was given 'status'"),
        (["--print-completion-script"], "--print-completion-script needs a value"),
        (["help"], "there is no command 'help'; did you mean --help?"),
        (["UPGRADE"], "there is no command 'UPGRADE'; did you mean upgrade?"),
        (["status", "--deadline", "0"], "status: --deadline must be 1s or more, not '0'"),
        (["plan", "--tarball", "x", "--backup-age", "0"], "plan: --backup-age must be 1s or more, not '0'"),
        (["--help", "nosuch"], "there is no command 'nosuch'"),
        (["--help", "upgrad"], "there is no command 'upgrad'; did you mean upgrade?"),
        (["plan"], "plan: --tarball is missing"),
        (["stage"], "stage: --tarball is missing"),
        (["prepare", "--tarball", "x", "--parallel", "0"], "--parallel must be a whole number, 1 or more, not '0'"),
        (
            ["upgrade", "--tarball", "x", "--prepare-parallel", "few"],
            "--prepare-parallel must be a whole number, 1 or more, not 'few'",
        ),
        (["upgrade"], "upgrade: --tarball is missing"),
        (["upgrade", "--tarball", "x", "--on-failure", "pray"], "--on-failure must be stop or restart, not 'pray'"),
        (
            ["upgrade", "--tarball", "x", "--hop-timeout", "0"],
            "--hop-timeout must be a whole number, 1 or more, not '0'",
        ),
        (["logs", "--limit", "many"], "--limit must be a whole number, 0 or more, not 'many'"),
        (["logs", "--limit", "-1"], "--limit must be a whole number, 0 or more, not '-1'"),
        (["rollback", "--boot-timeout", "1.5"], "--boot-timeout must be a whole number, 1 or more"),
        (["status", "--inventory", "/none.yml"], "status: /none.yml: can't be read: No such file or directory"),
        (
            ["paths", "--catalogue", "/none"],
            "paths: no catalogue of hops: /none: No such file or directory (Name a fold",
        ),
        (
            ["paths", "--catalogue", "/dev/null"],
            "paths: no catalogue of hops: /dev/null is neither a folder nor a file",
        ),
    ],
)
def test_wrong_use_is_one_line_and_exit_status_2(words: list[str], said: str) -> None:
    assert said in wrong(relup(*words))


@pytest.mark.parametrize("command", ["plan", "prepare", "upgrade"])
def test_all_that_is_missing_is_named_in_the_order_of_mending(command: str, inventory: str, tmp_path: Path) -> None:
    missing = [
        "--tarball is missing: the target release",
        "no host or group matches 'n3'",
        "no catalogue of hops: /none: No such file or directory",
    ]
    given = [("--tarball", "x"), ("--host", "n1"), ("--catalogue", str(tmp_path))]
    words: list[str] = []
    for number, mended in enumerate(given):
        rest = ["--host", "n3", "--catalogue", "/none"] if number < 2 else ["--host", "n1", "--catalogue", "/none"]
        said = wrong(relup(command, "--inventory", inventory, *words, *rest))
        places = [said.find(each) for each in missing]
        assert places == sorted(places)
        assert [place >= 0 for place in places] == [at >= number for at in range(3)]
        words += mended if mended[0] == "--tarball" else ()


def test_a_stage_names_both_tarball_and_inventory() -> None:
    assert re.match("stage: --tarball is missing: .*; /none: can't be read", wrong(relup("stage", "--inventory=/none")))


@pytest.mark.parametrize("command", [name for name in by_name() if "." not in name])
def test_every_command_refuses_unknown_hosts_and_bad_inventories(command: str, inventory: str, tmp_path: Path) -> None:
    words = [command]
    if command in ("plan", "stage", "prepare", "upgrade"):
        words += ["--tarball", "x"]
    said = wrong(relup(*words, "--inventory", inventory, "--host", "n3"))
    assert said.startswith(f"{command}: no host or group matches 'n3'; {inventory} has hosts: n1, n2 (")
    bad = tmp_path / "bad.yml"
    bad.write_text("hosts: {n1: {prot: 1}}")
    assert f"{bad}: hosts.n1: unknown setting 'prot'; did you mean 'port'?" in wrong(
        relup(*words, "--inventory", str(bad))
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--transport", "pigeon"], "--transport must be auto, fabric, openssh or local, not 'pigeon'"),
        (["--connects", "0"], "--connects must be a whole number, 1 or more, not '0'"),
        (["--connects", "many"], "--connects must be a whole number, 1 or more, not 'many'"),
    ],
)
def test_ways_that_there_are_not(inventory: str, words: list[str], said: str) -> None:
    assert said in wrong(relup("status", "--inventory", inventory, *words))


def test_an_inventory_is_run_where_that_is_allowed(tmp_path: Path) -> None:
    program = tmp_path / "hosts"
    program.write_text("""#!/bin/sh\necho '{"all": {"hosts": ["n1"]}}'\n""")
    program.chmod(0o755)
    words = ("status", "--inventory", str(program), "--host", "n2")
    assert "see --allow-inventory-code" in wrong(relup(*words))
    assert "no host or group matches 'n2'" in wrong(relup(*words, "--allow-inventory-code"))


def test_it_is_said_why_a_host_of_the_inventory_can_not_be_selected(tmp_path: Path) -> None:
    listed = tmp_path / "hosts.json"
    variables = '{"w1": {"ansible_connection": "winrm"}}'
    listed.write_text(f'{{"_meta": {{"hostvars": {variables}}}, "all": {{"hosts": ["n1", "w1"]}}}}')
    ended = relup("status", "--inventory", str(listed), "--host", "w1")
    assert ended.returncode == 2
    left_out, wrong_use = ended.stderr.splitlines()
    assert left_out.endswith("does not reach them by SSH: w1 (winrm)")
    assert "no host or group matches 'w1'" in wrong_use


@pytest.mark.parametrize("program", [RELUP, "relup_remote.cli"])
def test_there_are_several_ways_to_call_it(program: str) -> None:
    ended = in_a_process("--list", program=program)
    assert ended.returncode == 0
    listed = re.findall(r"^  ([a-z.-]+)   +\S", ended.stdout, re.MULTILINE)
    assert sorted(listed) == sorted(by_name())


@pytest.mark.parametrize("words", [["hop.show", "--help"], ["--help", "hop.show"], ["hop.show", "1.0", "-h"]])
def test_help_is_given_wherever_it_is_asked_for(words: list[str]) -> None:
    ended = relup(*words)
    assert ended.returncode == 0
    assert "plain words" in ended.stdout


def test_inv_behaves_the_same() -> None:
    said = wrong(relup("upgrade", "--nosuch", program=INV))
    assert said == "upgrade has no option --nosuch (`inv --help upgrade` lists its options.)"
    assert "upgrade: --tarball is missing" in wrong(relup("upgrade", program=INV))
    assert "did you mean lab.up?" in wrong(relup("lab.pu", program=INV))
    assert "it is an option of lab.up and lab.demo" in wrong(relup("verify", "--port-offset", "3", program=INV))
    assert "a whole number was given 'many'" in wrong(relup("lab.up", "--nodes", "many", program=INV))
    listed = relup("--list", program=INV).stdout
    assert re.search(r"^  logs-clear +Delete the hosts' history", listed, re.MULTILINE)
    assert "lab.up" in listed


@pytest.mark.parametrize("program", [RELUP, INV])
@pytest.mark.parametrize(
    "words",
    [
        ["--dry", "upgrade", "--tarball", "x", "--yes"],
        ["upgrade", "--tarball", "x", "--yes", "--dry"],
        ["-R", "upgrade", "--tarball", "x", "--yes"],
        ["-w", "hosts"],
        ["-p", "hosts"],
        ["hosts", "-e"],
        ["-T", "5", "hosts"],
        ["--hide", "out", "hosts"],
        ["--prompt-for-sudo-password", "hosts"],
    ],
)
def test_options_that_would_do_nothing_are_refused(program: str, words: list[str]) -> None:
    assert "means nothing to these commands; nothing was done" in wrong(relup(*words, program=program))


@pytest.mark.parametrize("words", [["--version"], ["status", "--version"], ["-V"]])
def test_the_version_is_shown_wherever_it_is_asked_for(words: list[str]) -> None:
    ended = relup(*words)
    assert (ended.returncode, ended.stdout) == (0, f"relup {version.installed()}\n")


@pytest.mark.parametrize("program", [RELUP, INV])
def test_without_a_command_the_commands_are_listed(program: str) -> None:
    ended = relup(program=program)
    assert ended.returncode == 0
    assert re.search(r"^  upgrade +", ended.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    "words",
    [
        ["hosts", "--nope", "--json"],
        ["hosts", "--host", "--json"],
        ["--dry", "hosts", "--json"],
        ["hosts", "--json=yes"],
    ],
)
def test_wrong_use_prints_a_document_where_one_is_wanted(words: list[str]) -> None:
    ended = relup(*words)
    assert ended.returncode == 2
    document = json.loads(ended.stdout)
    assert (document["command"], document["error"]["err_type"]) == ("hosts", "bad_option")


@pytest.mark.share(2)
@pytest.mark.parametrize("program", [RELUP, INV])
@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_output_does_not_fail_for_its_encoding(program: str, encoding: str, tmp_path: Path) -> None:
    (tmp_path / "1→2….relup").write_text("no hop", encoding="utf-8")
    ended = in_a_process("paths", "--catalogue", str(tmp_path), program=program, PYTHONIOENCODING=encoding)
    assert "1->2....relup" in ended.stdout
    assert "Traceback" not in ended.stderr


def test_options_have_help_and_no_short_forms_that_hide_invokes_own() -> None:
    for task in by_name().values():
        for argument in task.get_arguments():
            assert argument.nicknames == ()
            assert OPTIONS[str(argument.attr_name or argument.name)]


def test_wrong_use_with_json_is_one_document_and_the_line_still_on_stderr(inventory: str) -> None:
    ended = relup("status", "--inventory", inventory, "--host", "n3", "--json")
    document = json.loads(ended.stdout)
    assert (ended.returncode, document["ok"], document["hosts"]) == (2, False, [])
    assert document["error"]["err_type"] == "unknown_host"
    assert document["error"]["message"] in ended.stderr


def test_hosts_that_can_not_be_reached_are_rows_and_exit_status_1(inventory: str) -> None:
    ended = relup("status", "--inventory", inventory, "--json")
    document = json.loads(ended.stdout)
    assert ended.returncode == 1
    assert [(row["host"], row["outcome"], row["error"]["err_type"]) for row in document["hosts"]] == [
        ("n1", "failed", "host_unreachable"),
        ("n2", "failed", "host_unreachable"),
    ]
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("command", ["logs", "backup.list"])
def test_hosts_that_can_not_be_reached_are_not_said_to_have_nothing(command: str, inventory: str) -> None:
    ended = relup(command, "--inventory", inventory)
    assert (ended.returncode, "host_unreachable" in ended.stdout) == (1, True)
    assert not re.search(r"^no ", ended.stdout, re.MULTILINE)


def test_the_first_host_that_fails_is_the_last_contacted(inventory: str, tmp_path: Path) -> None:
    tarball = tmp_path / "emqx.tar.gz"
    tarball.write_bytes(b"no tarball, but a host that can't be reached never gets to know")
    ended = relup("stage", "--tarball", str(tarball), "--inventory", inventory, "--json")
    assert ended.returncode == 1
    assert [row["outcome"] for row in json.loads(ended.stdout)["hosts"]] == ["failed", "skipped"]


@pytest.mark.parametrize("command", ["plan", "stage", "prepare", "upgrade"])
def test_a_tarball_that_is_not_there_is_refused_by_every_host_and_none_is_contacted(
    command: str, inventory: str
) -> None:
    ended = relup(command, "--tarball", "/none.tar.gz", "--inventory", inventory, "--json")
    assert ended.returncode == 3
    for row in json.loads(ended.stdout)["hosts"]:
        assert (row["outcome"], row["steps"]) == ("refused", [])
        assert (row["error"]["err_type"], row["error"]["stage"]) == ("target_tarball_not_found", "stage")
    shown = relup(command, "--tarball", "/none.tar.gz", "--inventory", inventory)
    assert (shown.returncode, shown.stderr) == (3, "")
    assert "n1, n2: target_tarball_not_found at stage" in shown.stdout


def test_nobody_is_asked_where_hosts_can_not_be_reached(inventory: str) -> None:
    ended = relup("logs-clear", "--inventory", inventory)
    assert ended.returncode == 1
    assert "host_unreachable" in ended.stdout
    assert "Delete it?" not in ended.stderr


def test_paths_lists_hops_and_apart_from_them_what_can_not_be_used(tmp_path: Path) -> None:
    for name, text in {"a": HOP, "b": HOP, "c": "\n#{", "d": HOP.replace("1.1", "1.10-rc.1")}.items():
        (tmp_path / f"{name}.relup").write_text(text)
    (tmp_path / "helper.erl").write_text("")
    ended = relup("paths", "--catalogue", str(tmp_path))
    assert ended.returncode == 0
    assert ended.stdout.splitlines() == [
        "1.0 -> 1.1        a.relup",
        "1.0 -> 1.1        b.relup",
        "1.0 -> 1.10-rc.1  d.relup",
        "",
        "helper modules: helper.erl",
        "",
        "malformed:",
        "  c.relup: line 2, column 2: the file ends where '}' must close the '{' of line 2",
        "",
        "ambiguous_hop, keep one of each:",
        "  1.0 -> 1.1: a.relup, b.relup",
        "",
        "helper modules that no hop names:",
        "  helper.erl",
    ]
    document = json.loads(relup("paths", "--catalogue", str(tmp_path), "--json").stdout)
    assert document["hops"][0] == {"file": "a.relup", "from": "1.0", "target": "1.1", "catalogue": str(tmp_path)}
    assert document["malformed"][0]["line"] == 2
    assert document["ambiguous"][0]["files"] == ["a.relup", "b.relup"]


def test_malformed_hops_are_told_on_the_way_to_an_upgrade(inventory: str, tmp_path: Path) -> None:
    (tmp_path / "c.relup").write_text("#{")
    words = ["plan", "--tarball", "/none", "--inventory", inventory, "--catalogue", str(tmp_path)]
    said = "catalogue: c.relup is left out: line 1, column 2: the file ends where '}' must close the '{' of line 1\n"
    assert relup(*words).stderr == said
    assert relup(*words, "--quiet").stderr == said


@pytest.mark.share(3)
@pytest.mark.parametrize("words", [["paths"], ["paths", "--json"], ["--list"], ["paths", "--help"]])
@pytest.mark.parametrize("program", [RELUP, INV])
def test_a_disk_that_is_full_is_told_in_a_sentence(words: list[str], program: str) -> None:
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-m", program, *words]
        ended = subprocess.run(
            command, cwd=PROJECT, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60
        )
    assert ended.returncode == 1
    assert " ".join(ended.stderr.split()) == "The output could not be written: No space left on device."
    assert "Traceback" not in ended.stderr


def test_what_could_not_be_told_of_on_stderr_is_no_error() -> None:
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-m", RELUP, "paths"]
        ended = subprocess.run(
            command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=full, text=True, check=False, timeout=60
        )
    assert (ended.returncode, "->" in ended.stdout or "→" in ended.stdout) == (0, True)


def test_without_a_buffer_each_line_is_printed_at_once() -> None:
    """Many containers set PYTHONUNBUFFERED. A command that is killed must not keep its warnings to itself."""
    code = (
        "import os, sys; from relup_remote import streams; streams.prepare(); print('x', file=sys.stderr); os._exit(0)"
    )
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert ended.stderr == "x\n"


def test_a_reader_of_stderr_that_goes_away_changes_no_exit_status() -> None:
    """As in `2>&1 | head`: the stream is flushed once more when Python ends."""
    code = "import sys; from relup_remote import streams; streams.prepare(); print('x', file=sys.stderr, end='')"
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, stderr=writing, check=False, timeout=60)
    os.close(writing)
    assert ended.returncode == 0


def test_a_reader_that_does_not_wait_gets_all(tmp_path: Path) -> None:
    """A pipe that takes only a part at once, as that of another program that reads when it likes."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    command = [sys.executable, "-c", "from relup_remote import streams; streams.prepare(); print('x' * 1_000_000)"]
    with subprocess.Popen(command, cwd=PROJECT, stdout=writing) as process:
        os.close(writing)
        with os.fdopen(reading, "rb") as file:
            content = file.read()
        assert (process.wait(60), content) == (0, b"x" * 1_000_000 + b"\n")


@pytest.mark.parametrize(
    ("home", "words", "status", "said"),
    [
        ("FILE", ["paths"], 0, ""),
        ("FILE", ["runs"], 2, "Not a directory"),
        ("FILE", ["report"], 2, "Not a directory"),
        ("FILE", ["hosts", "--inventory", "~/hosts.yml"], 2, "hosts.yml"),
        ("FILE", ["plan", "--tarball", "~/release.tar.gz", "--inventory", "~/hosts.yml"], 2, "hosts.yml"),
        ("/nonexistent", ["runs"], 0, ""),
        ("/proc/1/mem", ["paths"], 0, ""),
    ],
)
def test_a_home_that_is_no_folder_is_no_traceback(
    tmp_path: Path, home: str, words: list[str], status: int, said: str
) -> None:
    (tmp_path / "file").touch()
    variables = {**_variables(), "HOME": str(tmp_path / "file") if home == "FILE" else home}
    for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        variables.pop(name, None)
    ended = run(RELUP, *words, cwd=PROJECT, variables=variables)
    assert (ended.returncode, "Traceback" in ended.stderr) == (status, False), ended.stderr
    assert said in ended.stderr


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(_uid: int) -> None:
        raise KeyError

    monkeypatch.setattr("pwd.getpwuid", nobody)
    without = {name: value for name, value in _variables().items() if name not in ("HOME", "XDG_STATE_HOME")}
    ended = run(RELUP, "runs", variables=without)
    assert (ended.returncode, "set HOME or XDG_STATE_HOME" in ended.stderr) == (2, True), ended.stderr


def test_what_nobody_foresaw_is_told_in_a_sentence_and_its_traceback_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with pytest.raises(Exit) as caught, Invocation("plan", None, "", json=True, quiet=False):
        raise ZeroDivisionError("oh")
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert (caught.value.code, document["ok"], document["error"]["err_type"]) == (1, False, "internal_error")
    assert "ZeroDivisionError: oh" in err
    assert "Traceback" not in err
    [kept] = (tmp_path / "relup_remote").iterdir()
    assert "ZeroDivisionError: oh" in kept.read_text()
    assert document["error"]["detail"]["traceback"] == str(kept)


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_a_standard_stream_that_is_closed_is_no_error(closed: str) -> None:
    command = f"exec {sys.executable} -m {RELUP} --list {closed}"
    ended = subprocess.run(["sh", "-c", command], cwd=PROJECT, capture_output=True, text=True, check=False, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")
