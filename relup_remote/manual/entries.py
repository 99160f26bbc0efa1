"""The manual: of each command more than its one sentence, and the group that it is listed in."""

from collections.abc import Mapping
from dataclasses import dataclass, field

LOOK, UPGRADE, UNDO, HISTORY, AUTHOR, LAB = "Look", "Upgrade", "Undo and keep", "History", "Author hops", "Lab"

GROUPS = (LOOK, UPGRADE, UNDO, HISTORY, AUTHOR, LAB)
"""The groups in the order in which they are listed."""


@dataclass(frozen=True)
class Entry:
    """What the manual has on a command.

    ``about`` is paragraphs, with an empty line between. ``required`` are options without which it can't begin.
    ``statuses`` says what is special about its exit statuses; ``examples`` maps the words after `inv` to what they do;
    ``see`` names other commands.
    """

    group: str
    about: str = ""
    required: tuple[str, ...] = ()
    statuses: Mapping[int, str] = field(default_factory=dict)
    examples: Mapping[str, str] = field(default_factory=dict)
    see: tuple[str, ...] = ()


STATUSES: Mapping[int, str] = {
    0: "all fine",
    1: "something failed on a host",
    2: "wrong use: unknown host, unreadable inventory, bad option, or no terminal to ask on; nothing was changed",
    3: "refused before any change",
}
"""What the exit statuses mean to every command that goes to hosts."""

LOCAL_STATUSES: Mapping[int, str] = {
    0: STATUSES[0],
    1: "the command failed",
    2: "wrong use: bad option, unreadable file, or unknown name; nothing was changed",
}
"""What they mean to a command that goes to no host."""

MANUAL: Mapping[str, Entry] = {
    "hosts": Entry(
        LOOK,
        "Every host is asked, and none is changed. A host whose node is down can still be reached.",
        statuses={1: "a host can't be reached"},
        examples={
            "hosts": "all hosts of the inventory",
            "hosts --host cores --json": "those of a group, for a program",
        },
        see=("status", "verify"),
    ),
    "status": Entry(
        LOOK,
        "Also shows the marker, which says what the next restart boots; the connections; the size of the cluster as "
        "the node sees it; and how the node was asked, if not directly (`wrapper`: by its own script).",
        examples={"status --host n1": "one node"},
        see=("verify", "logs", "runs"),
    ),
    "verify": Entry(
        LOOK,
        "Asks the node itself. The code of every module is compared with the release: a module of the hop that "
        "differs is a failure; a module that the hop left out is a warning, and with `--strict` a failure. A node "
        "that was never upgraded passes if it runs the release that it boots. Processes that are suspended or run "
        "old code, and a broker that does not run, are checked again for up to 10 s. If only the verification of "
        "an upgrade failed, a later check that passes makes that attempt a success in the history. With `--watch` "
        "all hosts are checked again and again, until they have passed for `--stable` without a break or "
        "`--timeout` is over. Each change is shown. Ctrl-C ends it and shows the last results.",
        statuses={1: "a node is not what it should be; with --watch, also if the hosts did not pass for long enough"},
        examples={
            "verify": "check every node against its marker",
            "verify --target 5.10.5": "check that every node is on this version",
            "verify --strict": "fail also for modules that the hop left out",
            "verify --watch --stable 30s": "wait until all have passed for half a minute",
        },
        see=("postcheck", "status"),
    ),
    "postcheck": Entry(
        LOOK,
        "This is a second opinion: testinfra looks at the hosts directly, not through our program that upgraded them. "
        "You can add checks of your own; docs/postchecks.md shows how. `--watch` works as for `verify`.",
        statuses={1: "a check failed; with --watch, also if the hosts did not pass for long enough"},
        examples={
            "postcheck": "all checks on all hosts",
            "postcheck --watch --timeout 5m": "repeat the checks until they pass",
        },
        see=("verify",),
    ),
    "paths": Entry(
        UPGRADE,
        statuses={1: "with --strict: something is wrong with the catalogue"},
        examples={
            "paths": "the hops there are",
            "paths --from 5.10.4": "what can be reached from a version",
            "paths --graph mermaid": "a drawing of them",
        },
        see=("hop.show", "plan"),
    ),
    "plan": Entry(
        UPGRADE,
        "All hosts are asked at once. Nothing is changed, and nothing is staged. The plan shows everything that an "
        "upgrade would refuse, and what each instruction of the hop does. Modules that are loaded in one swap "
        "share a line; `--full` has a line for each.",
        required=("tarball",),
        statuses={
            0: "every host could be upgraded, or is on the target already",
            3: "a host would be refused",
        },
        examples={"plan --tarball emqx-5.10.5.tar.gz": "all that an upgrade would check"},
        see=("upgrade", "paths"),
    ),
    "stage": Entry(
        UPGRADE,
        "An upgrade stages the tarball by itself; this command does it in advance. An interrupted transfer continues.",
        required=("tarball",),
        examples={"stage --tarball emqx-5.10.5.tar.gz": "bring it to all hosts"},
        see=("prepare", "upgrade", "cleanup"),
    ),
    "prepare": Entry(
        UPGRADE,
        "Does on all hosts at once what an upgrade does before its first wave: the tarball is staged and checked, the "
        "release is unpacked beside the running one, its wrapper reads the node's configuration, and the hop is "
        "checked against the unpacked files. If a host is refused before that, nothing is "
        "brought to it. If it fails later, `cleanup --anyway` removes the tarball and the tree. Use it hours before "
        "the maintenance window: an upgrade after it finds the hosts prepared, checks that nothing has changed since, "
        "and goes on to its waves. It needs the same `--force` and `--kill-lingering` again. It does not change "
        "what the next restart of a node boots.",
        required=("tarball",),
        statuses={0: "every host is prepared, or is on the target already"},
        examples={
            "prepare --tarball emqx-5.10.5.tar.gz": "prepare all hosts",
            "prepare --tarball emqx-5.10.5.tar.gz --parallel 4": "four hosts at a time",
        },
        see=("upgrade", "plan", "cleanup"),
    ),
    "upgrade": Entry(
        UPGRADE,
        "Looks at all hosts, shows the plan and asks. Then all hosts are prepared at once, as by `prepare`, before "
        "any node is changed. The waves follow: the hosts of a wave are upgraded, and the next wave begins only when "
        "every gate has opened. "
        "Replicants come before cores. If a host fails, the run stops, unless `--max-failures` allows it. After "
        "Ctrl-C the hosts that have started are finished, and no more are started; a second Ctrl-C leaves at once. "
        "`--resume` goes on with exactly the hosts that are not done.\n\nThe outcome of a host that is on the "
        "target already is `nothing to do`. The others are upgraded.",
        required=("tarball",),
        statuses={
            0: "every host that was asked for is on the target, or was before",
            1: "partly done, stopped or interrupted: the summary says what remains and which command to run",
            3: "nothing was changed: refused, or you answered no",
        },
        examples={
            "upgrade --tarball emqx-5.10.5.tar.gz": "one canary, then the rest one by one",
            "upgrade --tarball emqx-5.10.5.tar.gz --check": "show the plan, and stop there",
            "upgrade --tarball emqx-5.10.5.tar.gz --waves 1,25%,100% --parallel 4 --soak 10m": "in growing waves",
            "upgrade --resume": "continue the last run",
            "upgrade --tarball emqx-5.10.5.tar.gz --yes --events": "for a program that follows it",
        },
        see=("plan", "prepare", "rollback", "runs", "report"),
    ),
    "cleanup": Entry(
        UPGRADE,
        "All hosts are asked first. The command shows what it would remove, with sizes, and asks. A deployed tree "
        "that neither the next boot nor the running node needs is shown too; it stays unless --trees is "
        "given. A tree that was prepared and that no upgrade has used is removed with the tarballs.\n\nAn upgrade "
        "removes its own tarball by itself, once every node of the cluster is on the target. It leaves what was "
        "prepared for another target.",
        statuses={
            0: "all hosts are clean",
            3: "nothing was removed: nodes are not on the target, another run works there, or you answered no",
        },
        examples={
            "cleanup --check": "show what would be removed",
            "cleanup": "on all hosts",
            "cleanup --trees --yes": "old trees as well, without being asked",
        },
        see=("stage", "upgrade"),
    ),
    "lock": Entry(
        UPGRADE,
        "Upgrades and rollbacks lock the cluster by themselves while they run.",
        statuses={
            1: "a host failed; the hosts that this command had locked are unlocked again",
            3: "another run has the lock on a host, or works there; nothing was changed",
        },
        examples={"lock --why 'moving the disks of n2'": "keep everybody from changing the cluster"},
        see=("unlock", "status"),
    ),
    "unlock": Entry(
        UPGRADE,
        "Your own locks are those of the same user on the same machine. An interrupted run keeps its lock: "
        "resume the run instead of unlocking.",
        examples={"unlock": "remove your own locks", "unlock --force": "remove all locks"},
        see=("lock", "upgrade"),
    ),
    "rollback": Entry(
        UNDO,
        "Each node restarts, so its connections drop. The command says what a rollback does not undo. All that a host "
        "would refuse is found before you are asked. Then it goes in waves with gates between them, as an upgrade "
        "does.",
        statuses={
            0: "every host that was asked for runs its base release, or did before",
            1: "partly done, stopped or interrupted: the summary says what remains and which command to run",
            3: "nothing was changed: refused, or you answered no",
        },
        examples={"rollback --host n1": "one node", "rollback --purge": "all nodes, the deployed trees removed"},
        see=("upgrade", "restore"),
    ),
    "backup": Entry(
        UNDO,
        "The node keeps running. A backup stays on the host, below the node's root or in `backup_dir` of the "
        "inventory. It needs room for a copy of the data. If a node is down, its files are copied as they are. "
        "docs/backup.md says what is in a backup and what is not.",
        statuses={3: "a host could not be backed up: no room, no permission, or another command works there"},
        examples={"backup": "all hosts at once", "backup --host n1 --keep 7": "one host, and keep its last seven"},
        see=("backup.list", "backup.verify", "restore"),
    ),
    "backup.list": Entry(
        UNDO,
        "A backup is complete if every file is there with its size. `backup.verify` reads the files too.",
        examples={"backup.list": "of all hosts", "backup.list --host n1 --json": "of one, for a program"},
        see=("backup", "backup.verify"),
    ),
    "backup.verify": Entry(
        UNDO,
        statuses={1: "a backup is not what was written, or there is none"},
        examples={"backup.verify": "the newest of each host"},
        see=("backup", "restore"),
    ),
    "restore": Entry(
        UNDO,
        "The node must be stopped, and the command does not start it. All that a host would refuse is found before "
        "you are asked. Then every file of the backup is read, and the present files are moved aside, not removed.",
        statuses={
            1: "a host failed on the way: run the command again before you start the node",
            3: "nothing was changed: the node runs, the backup is damaged or of something else, or you answered no",
        },
        examples={
            "restore --host n1": "the newest backup of a node that is stopped",
            "restore --host n1 --backup 2026-11-24T08-15-03-k3f9": "an older one",
        },
        see=("backup", "backup.verify", "rollback"),
    ),
    "runs": Entry(
        HISTORY,
        "Each run of `upgrade` and `rollback` is a folder below `~/.local/state/relup_remote/runs`. No host is "
        "contacted. The time of a run is counted from the beginning of its survey to its end, without the time that it "
        "waited for your answer. For a run that was resumed, the time until then is not counted either; "
        "it is shown after it.",
        examples={"runs": "all of them", "runs --limit 5": "the last five"},
        see=("report", "upgrade", "logs"),
    ),
    "report": Entry(
        HISTORY,
        "The page is one file that needs no network and no script; docs/report.md says what is on it. Without RUN "
        "it shows the last run. No host is contacted, so it works for a run that is under way, or whose command "
        "was killed.",
        statuses={0: "the report was made, whatever the outcome of the run"},
        examples={
            "report last": "a page on the last run",
            "report last --open": "the same, shown in the browser",
            "report 2026-11-24T08 --format md": "for a ticket",
            "report last --format junit -o report.xml": "for a CI system",
        },
        see=("runs", "upgrade"),
    ),
    "logs": Entry(
        HISTORY,
        "Each host keeps its own history. Everybody who asks sees it, also while the node is down.",
        examples={"logs": "all attempts on all hosts", "logs --host n1 --limit 5": "the last five of one host"},
        see=("runs", "logs-clear"),
    ),
    "logs-clear": Entry(
        HISTORY,
        "Shows how many attempts there are, and asks.",
        examples={"logs-clear --host n1": "one host's"},
        see=("logs",),
    ),
    "hop.show": Entry(
        AUTHOR,
        examples={"hop.show 5.10.4-lab 5.10.5-lab": "a hop of the catalogue"},
        see=("paths", "hop.check"),
    ),
    "hop.check": Entry(
        AUTHOR,
        "Each finding says what the author can do about it. docs/authoring.md shows how to make a tested hop from two "
        "tarballs.",
        required=("from_", "to"),
        statuses={1: "there are errors; with --strict also warnings"},
        examples={
            "hop.check 5.10.4-to-5.10.5.relup --from A.tar.gz --to B.tar.gz": "a file",
            "hop.check - --from A.tar.gz --to B.tar.gz --sarif out.sarif": "the catalogue's, for code review",
        },
        see=("hop.draft", "hop.show"),
    ),
    "hop.draft": Entry(
        AUTHOR,
        "Lines with REVIEW mark what only the author can decide.",
        required=("from_", "to"),
        statuses={1: "its check found errors"},
        examples={"hop.draft --from A.tar.gz --to B.tar.gz -o A-to-B.relup": "into a file"},
        see=("hop.check", "hop.show"),
    ),
}
"""The manual by the commands' names as they are typed."""


def entry(command: str) -> Entry:
    """What the manual has on a command. What it does not know is the lab's."""
    return MANUAL.get(command, Entry(LAB))


def statuses(command: str, *, is_local: bool) -> Mapping[int, str]:
    """What each exit status means to a command; one that ``is_local`` goes to no host."""
    return {**(LOCAL_STATUSES if is_local else STATUSES), **entry(command).statuses}


def place(command: str) -> tuple[int, int]:
    """Where a command is listed: by group, and there in the manual's order."""
    names = list(MANUAL)
    return GROUPS.index(entry(command).group), names.index(command) if command in names else len(names)
