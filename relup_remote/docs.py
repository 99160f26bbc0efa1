"""The pages of `docs/` that come from tables in the code: ``python -m relup_remote.docs`` writes them.

``--check`` writes nothing and exits with 1 if a page is out of date.
"""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING
from pathlib import Path

from relup_remote import calls, failures, faults, inventory
from relup_remote.commands import by_name
from relup_remote.core.protocol import ERRORS, ErrorSpec
from relup_remote.hops.check.findings import CHECK_ERRORS
from relup_remote.host.transport import options as ssh_options
from relup_remote.inventory import ansible_variables
from relup_remote.manual import page as manual
from relup_remote.rollout.endings import OUTCOMES, ROLLOUT_ERRORS
from relup_remote.summary.text import filled
from relup_remote.usage import USAGE_ERRORS

NOTE = "<!-- written by `python -m relup_remote.docs` -->\n"


def errors_page() -> str:
    """docs/errors.md: every ``err_type``."""
    return f"""\
# Errors

{NOTE}
A failure always has an `err_type`, a sentence, a hint, and the stage at which it happened; with `--json` they are the
`error` of a host. A host is `refused` (exit status 3) if a check there found a reason to change nothing, else `failed`
(exit status 1): also if it could not be reached. A host whose turn did not come is `skipped`.

## On a host

{_errors(ERRORS)}

## Before any host is contacted

Wrong use: exit status 2, and nothing was changed. Only `no_terminal` may come after hosts were contacted. Two
have another exit status: `declined` 3, `interrupted` 1. If hosts may have been changed, `interrupted` says so.

{_errors(USAGE_ERRORS)}

## How a run ends

`inv upgrade` and `inv rollback`. The outcome is the same word in the summary, in the document's `rollout`, in
`inv runs` and in reports. Other commands that change hosts have an `ending` of the same form in their document, if the
operator interrupted them.

{_outcomes()}

## Why a run ended before all was done

[rollout.md](rollout.md) says what each leaves on the hosts.

{_errors(ROLLOUT_ERRORS)}

## In a hop that is checked

`inv hop.check` reports what a node would refuse, under the same names as the node (above). The following are found
only by `inv hop.check`. Each finding says whether it is an error, a warning or a note.

{_errors(CHECK_ERRORS)}
"""


def commands_page() -> str:
    """docs/commands.md: the manual."""
    return manual.commands_page(by_name(), NOTE)


def inventory_page() -> str:
    """docs/inventory.md: the format of an inventory and every setting."""
    lines = [
        (f"`{name}`", setting.metadata["kind"].label, _default(setting.default), setting.metadata["description"])
        for name, setting in inventory.SETTINGS.items()
    ]
    variables = [(", ".join(f"`{name}`" for name in names), meaning) for names, meaning in ansible_variables.MEANINGS]
    only = [
        (f"`{name}`", option.why, ", ".join(f"`{plain}`" for plain in option.plain))
        for name, option in ssh_options.TABLE.items()
        if option.by is ssh_options.By.OPENSSH
    ]
    return f"""\
# The inventory

{NOTE}
A YAML file of our own, or an Ansible inventory as it is. It is checked before anything is contacted: unknown settings,
wrong types, keys given twice in YAML and groups with unknown members are errors (exit status 2) that name the place.

`--inventory` names it, or else `{inventory.VARIABLE}`. Without either, the first of these files that exists is used,
and named on stderr: `inventory/hosts.yml` and `inventory/lab.yml` in the working directory, the same two in the
checkout, and `~/.config/relup_remote/inventory.yml`.

## Our own

`inventory/example.yml` is one.

    defaults:                 # settings for all hosts
      user: emqx
      key: ~/.ssh/id_ed25519
    hosts:                    # settings of one host
      n1: {{address: 10.0.0.1, labels: {{rack: a}}}}
      n2: {{address: 10.0.0.2}}
    groups:
      all: [n1, n2]
      cores:                  # settings of a group
        hosts: [n1, n2]
        settings: {{role: core}}

A host's settings win over those of its groups, which win over the defaults. Groups have no order: if two groups of a
host set different things, that is an error, unless the host has the setting itself. Each label counts as a setting of
its own.

## Ansible's

`inventory/example.ini` is one. The content of a file decides, not its name. YAML or JSON with `all`, or with nothing
but groups, is Ansible's. A file that is not YAML is read as Ansible's INI. A folder is Ansible's. A byte order mark
does no harm. `ansible-inventory` reads them (`pip install 'relup_remote[ansible]'`, or any ansible-core on the PATH),
with groups, children, ranges, and `group_vars` and `host_vars` beside the inventory. The output of `ansible-inventory
--list` (JSON with `_meta`) is read without it.

Nothing is run for it: no plugin, no `ansible.cfg`, none of the variables of your environment. An inventory that is a
program (`#!` at its start), or the configuration of a plugin (`plugin:`), is refused, unless `--allow-inventory-code`
allows it: then `ansible-inventory` runs it as you would, with your `ansible.cfg` and environment.

The option is about programs and plugins that make an inventory. It is not about how hosts are reached: `ssh_args` are
your options for `ssh`, in an inventory of any kind, and may name programs that are then run, as with `ProxyCommand` or
`Match exec` of a file after `-F`. So take inventories only from those who may choose your `ssh` options.

{_table(("variable", "what is taken of it"), variables)}

- Every setting below may be given as a variable with `relup_` before its name: `relup_root_dir`, `relup_role`. These
  come before Ansible's own; an unknown one is an error.
- Passwords are not read, nothing encrypted is opened (encrypted files of variables are skipped and named), and Jinja
  templates are not evaluated. If a variable of the table is one of these, or has a wrong value, that is an error for a
  command that selects the host, and for no other.
- Hosts with an `ansible_connection` other than SSH and `local` are left out, and a note names them.
- These are about Ansible's own way to a host, and not used. A note names them where a host has them:
{chr(10).join(filled(", ".join(f"`{name}`" for name in ansible_variables.NOT_USED), 120, "  ", "  "))}

## Which hosts

`--host` takes a host, a group, a glob over both (`'n*'`), a regular expression for the beginning of a name
(`'~n[12]$'`), a label (`label:rack=a`, `'label:rack=*'`), or a list of these with commas or colons. It may be repeated.
As in Ansible's patterns, `!WORD` removes the hosts that the word means, and `&WORD` keeps only hosts that the word
means: `'cores:!n1'`, `'label:rack=a:&cores'`. `'cores[0]'`, `'cores[-1]'`, `'cores[1:]'` and `'cores[0:2]'` are some
of the hosts that a word means, by their numbers from 0, in the group's order. Such numbers are never part of a name:
for hosts n9 to n11 write `'~n(9|10|11)$'`. Hosts are always used in the order of the file, each once. A word that
matches nothing, or that is a host and a group, is an error that names the hosts and groups there are.

## Reaching them

OpenSSH itself (`ssh -G`) says what `~/.ssh/config` has for a host, `Include` and `Match` among it. What is set here
comes before it. Jump hosts are reached as `~/.ssh/config` has them; user and key of the inventory are the host's. Host
keys are always verified, whatever `StrictHostKeyChecking` says.

There are three ways to a host, by the setting `transport` or the option `--transport`:

- `fabric` is a library. It needs no other program for a connection, and `auto` uses it wherever it can.
- `openssh` runs the system's `ssh`, which honours everything in ssh_config. A command logs in once to each host, by a
  master connection of its own in a private folder. The master ends with the command, and some seconds after it if the
  command is killed. Where a master connection of yours stands (`ControlPath`), to the host or a jump host, that is used
  and never ended, as `ssh` does; but not if the inventory has `known_hosts`, since nobody knows which key it has seen.
  With a `key` of the inventory, keys that ssh_config names for the host are tried after it. Passwords need OpenSSH 8.5
  or newer.
- `local` uses no SSH: the node is on this machine. To become another user it uses sudo, as on any host.

`auto` uses `openssh` for one of these reasons, about the host or a jump host to it. A note says which. With `fabric`
the library is used in any case, and a note says what is not honoured.

- ssh_config has an option that the library can't honour, see the table.
- You have a master connection there (`ControlPath`).
- known_hosts has a certificate authority for the host.
- `UserKnownHostsFile` or `GlobalKnownHostsFile` is not ssh's own, and lists several files, or a name in it is relative
  or has a space, a `%` or a `$`: `ssh -G` does not tell one name with a space from two.
- `IdentityFile` or `IdentityAgent` has a token such as `%C` that only `ssh` can fill in, or `ProxyCommand` has one that
  `ssh` refuses there.
- The name in `RevokedHostKeys` has a `%`, a `$` or a `~`: only some versions of `ssh` fill anything in.
- Server and library have no cipher or key exchange in common, or the server says a hundred lines before its version.
- The agent does not sign for the library, as with a key that is bound to a host.

{_table(("option of ssh_config", "what it is about", "no reason if"), only)}

Both ways honour all other options, or the option has no effect here: nothing is forwarded, no terminal is used, and
no known_hosts file is changed. Of lists of algorithms (`Ciphers`, `KexAlgorithms`, `MACs`, `HostKeyAlgorithms`,
`PubkeyAcceptedAlgorithms`) the library uses those that it knows. If it knows none of them, `openssh` is used.

At most 8 logins go on at the same time (`--connects`). All hosts behind a jump host share one connection to it. A
server that hangs up before it has said anything, as one with too many logins does, is tried eight times, within about
ten seconds.

Keys are offered in this order: `key` alone where it is set; else the files of `~/.ssh/config`, then the agent's others
unless `IdentitiesOnly` is set. A certificate beside a key comes before the key. If a server hangs up after too many
keys, the rest are offered on a new connection. A private key of yours that others may read is not used (`chmod 600`).

Three secrets are asked for once, on a terminal, and kept nowhere. `--ask-passphrase` is for private keys, also those
for jump hosts; it never leaves this machine. `--ask-password` is the login password of the SSH user: it is offered
after the keys, or before them where the server or `PreferredAuthentications` (by `openssh`) wants it so, and jump hosts
get none. `--ask-sudo-password` is given to sudo, and only once sudo has asked for it.
A `ProxyCommand` is run by your shell (`SHELL`), and nothing can be asked in it: an `ssh` in it that asks for a password
is ended before it sends an empty one.

A password is the same for all hosts, so it is tried at one host first, and the others wait. If it is refused there, it
is given to no other host. A host that has refused it is not given it again. Hosts with another `user` count by
themselves, for it is another account that would be locked.

## Settings

In parentheses: what is used if a setting without a default is absent.

{_table(("setting", "type", "default", "meaning"), lines)}
"""


def failures_page() -> str:
    """docs/failures.md: the state table, and every fault that is tried against it."""
    states = failures.states()
    modules = {state.failed_in: state.modules for state in states}
    places = [
        (
            f"`{kind}`, {point}",
            place.does,
            *(_tried(faults.Cell(kind, point, fault), modules) for fault in faults.FAULTS),
        )
        for (kind, point), place in faults.PLACES.items()
    ]
    return f"""\
# Failures

{NOTE}
This page says what a hop leaves on a node if it fails. That depends on the point at which it failed. Wherever that is,
no process stays suspended, the history has a row that names the error, and the report names the instruction.

{_table(failures.COLUMNS, states)}

- **undone**: everything that the hop did was reversed. The node has the same modules and the same processes as before,
  and no client noticed. Such a node is never restarted. One exception: a process that was asked to change its state and
  did not answer is ended, because its state may be old or new. Its supervisor starts it again.
- **modules**: the node runs the code from before (*old*), the code of the hop (*new*), or a part of each (*mixed*).
- **marker**: whether it is written. If it is, the next start boots the target.
- *goes on*: the VM stays up with its connections. If one process has changed its state and another one can't, the
  other one is ended and starts again with the new code. No supervisor gives up because of that; see
  [below](#states-that-can-not-change).
- *boots base*: with `--on-failure restart` the VM restarts. It boots the release that it booted before, because the
  marker does not name the target yet.
- *whole hop*: the next upgrade runs the whole hop again. It does not load modules that are loaded already, and it does
  not ask processes that have changed their state. It calls `apply` and the callbacks again, so that must be safe.
- *callbacks, marker*: the next upgrade only calls the callbacks and writes the marker.
- *waits for the hop*: when `--hop-timeout` is over, the command ends, but the hop does not. The next command finishes
  its row in the history.

## States that can not change

An `update` first asks one process to change its state. If that process fails, the update is undone. If it succeeds, all
others are asked. They are asked even if the hop's own process dies meanwhile. If one of them can't change its state, or
does not answer in time, this happens to it:

{_table(("it is", "what happens to it"), _LOST)}

The report names the processes that were ended (`killed`) and those that go on with their old state (`kept`). The next
upgrade asks only the kept ones, because the history knows which modules are done for as long as the VM lives. A process
that started after its module was loaded has the new state from the beginning, so it is not asked.

It can happen that the first process does not finish its change in time and can't be ended either. Then its state may be
new although it runs the old code. The hop does not count as undone then, and the report names the process (`left`).

A process has 5 s to be suspended, and `step_timeout` (30 s) to change its state. Both limits grow by 20 µs for every
process of the update.

## A restart

`inv rollback` and `--on-failure restart` stop the node and start it again. The marker says which release boots. It is
changed while the node is down. If systemd runs the node, it restarts it in one step. Then the marker is changed just
before that.

| fails | the node | the marker | error |
| --- | --- | --- | --- |
| the check that the release would boot | runs on | as it was | `would_not_boot`, `boot_unclear` |
| the stop | runs on | as it was | `restart_failed`; nothing was changed |
| the start | is down | moved | `restart_failed`, `node_not_back` |
| the service's restart, and the node runs on | runs on | as it was | `restart_failed` |
| the service's restart, and the node is down | is down | moved | `restart_failed`, `node_not_back` |

The error's detail has the process of the VM, the marker, what the next start boots, and the command that starts it. Run
the same `inv` command again to go on from there.

## What is tried

The fault matrix (`tests/lab/faults`) causes each of these on a real node, and compares the node with the table above.
Each row of that table is tried with both values of `--on-failure`, and once for each fault with clients on the node.
Where a restart boots the base, every cell is tried with both values.

{_table(("fault", ""), faults.MEANINGS.items())}

{_table(("instruction", "what happens there", *faults.FAULTS), places)}

A dash: this can't happen.

{_listed(_left_out())}
"""


_LOST = (
    ("a supervisor", "goes on with its old state and specifications; its children are not touched"),
    (
        "a child that has an id",
        "its supervisor is asked to end it and start it again; that does not count as a restart",
    ),
    ("a child without an id, temporary", "is killed"),
    (
        "a child without an id, not temporary",
        "is killed as long as its supervisor allows a restart; the others go on with their old state",
    ),
)
"""What becomes of a process whose state can't change, as relup_agent_replace.erl has it."""


def _tried(cell: faults.Cell, modules: Mapping[str, str]) -> str:
    """What a cell of the fault matrix comes to, in words; ``modules`` by the rows of the state table."""
    if faults.meaningless(cell):
        return "–"
    end = faults.ending(cell)
    words = {"old": "undone", "mixed": "mixed", "new": "to be finished"}
    known = {faults.DONE: "no failure", faults.TOO_LONG: "the hop goes on"}
    return known.get(end) or f"{words[modules[end.failed_in]]}: `{end.result}`"


def _left_out() -> list[str]:
    """The combinations that are not tried, by why."""
    found: dict[str, list[str]] = {}
    for kind, point in faults.PLACES:
        for fault in faults.FAULTS:
            reason = faults.meaningless(faults.Cell(kind, point, fault))
            if reason:
                found.setdefault(reason, []).append(f"`{kind}` {point}, {fault}")
    return [f"{reason}: {'; '.join(cells)}" for reason, cells in found.items()]


def _listed(items: Iterable[str]) -> str:
    return "\n".join(f"- {item}." for item in items)


PAGES: Mapping[str, Callable[[], str]] = {
    "errors.md": errors_page,
    "commands.md": commands_page,
    "inventory.md": inventory_page,
    "failures.md": failures_page,
    "calls.md": lambda: f"{NOTE}\n{calls.page()}",
}
"""The pages by file name."""


def _errors(errors: Mapping[str, ErrorSpec]) -> str:
    lines = [(f"`{name}`", spec.meaning, spec.hint) for name, spec in errors.items()]
    return _table(("err_type", "meaning", "what to do"), lines)


def _outcomes() -> str:
    lines = [(f"`{name}`", outcome.meaning, str(outcome.exit_status)) for name, outcome in OUTCOMES.items()]
    return _table(("outcome", "meaning", "exit status"), lines)


def _default(value: object) -> str:
    if value is MISSING or not value:
        return ""
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _table(headers: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    cells = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in (headers, ["---"] * len(headers), *cells))


def main(arguments: Sequence[str]) -> int:
    """Write the pages, or with ``--check`` compare them; returns the exit status."""
    folder = Path(__file__).parent.parent / "docs"
    stale = [name for name, page in PAGES.items() if not _is_current(folder / name, page())]
    for name in stale:
        print(f"{'out of date' if '--check' in arguments else 'written'}: docs/{name}")
        if "--check" not in arguments:
            (folder / name).write_text(PAGES[name](), encoding="utf-8")
    return 1 if stale and "--check" in arguments else 0


def _is_current(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
