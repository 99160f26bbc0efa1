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
    2: "wrong use: unknown host, unreadable inventory, bad option; nothing was contacted",
    3: "refused before any change",
}
"""What the exit statuses mean to every command."""

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
        "Asks the node itself. The code of every module is compared with the release's: a module of the hop that "
        "differs is a failure, one that the hop left out is a warning, or with `--strict` a failure. A node that was "
        "never upgraded is what it should be if it runs the release that it boots. A process that is suspended or in "
        "old code, and a broker that does not run, are looked at again for up to 10 s. Where only the verification of "
        "an upgrade had failed, a good look makes its row of the history a success. With `--watch` all hosts are "
        "looked at again and again until they have been good for `--stable` in a row, or `--timeout` is over; each "
        "change is told as it comes, and Ctrl-C ends it with what was seen last.",
        statuses={1: "a node is not what it should be; with --watch, also where hosts were not good for long enough"},
        examples={
            "verify": "is every node what its marker says",
            "verify --target 5.10.5": "is every node on this version",
            "verify --strict": "does every node run the release that it says, to the last module",
            "verify --watch --stable 30s": "wait until all have been good for half a minute",
        },
        see=("postcheck", "status"),
    ),
    "postcheck": Entry(
        LOOK,
        "A second opinion, by testinfra: it looks at the hosts, not through what upgraded them. Checks of your own run "
        "beside these; docs/postchecks.md shows how. `--watch` works as for `verify`.",
        statuses={1: "a check failed; with --watch, also where hosts were not good for long enough"},
        examples={
            "postcheck": "all checks on all hosts",
            "postcheck --watch --timeout 5m": "again and again until they hold",
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
        "All hosts are asked at once, and nothing is changed: not a byte is staged. Everything that an upgrade would "
        "refuse is shown at once, and the hop instruction by instruction. Modules that are loaded in one swap share a "
        "line; `--full` has a line for each.",
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
        "An upgrade stages the tarball by itself; this command does it beforehand. An interrupted transfer continues.",
        required=("tarball",),
        examples={"stage --tarball emqx-5.10.5.tar.gz": "bring it to all hosts"},
        see=("upgrade", "cleanup"),
    ),
    "upgrade": Entry(
        UPGRADE,
        "Looks at all hosts, shows the plan and asks. Then the tarball is staged everywhere, and the waves follow: "
        "the hosts of a wave are upgraded, and the next one begins only when every gate has opened. Replicants "
        "come before cores. If one host fails, the run stops, "
        "unless `--max-failures` allows it. Ctrl-C lets the hosts that have started finish, and starts no more; a "
        "second Ctrl-C leaves at once. `--resume` goes on with exactly the hosts that are not done.\n\n"
        "The outcome of a host that is on the target already is `nothing to do`. The others are upgraded.",
        required=("tarball",),
        statuses={
            0: "every host that was asked for is on the target, or was before",
            1: "partly done, stopped or interrupted: the summary says what remains and which command to run",
            3: "nothing was changed: refused, or not confirmed",
        },
        examples={
            "upgrade --tarball emqx-5.10.5.tar.gz": "one canary, then the rest one by one",
            "upgrade --tarball emqx-5.10.5.tar.gz --check": "show the plan, and stop there",
            "upgrade --tarball emqx-5.10.5.tar.gz --waves 1,25%,100% --parallel 4 --soak 10m": "in growing waves",
            "upgrade --resume": "go on where the last run was left",
            "upgrade --tarball emqx-5.10.5.tar.gz --yes --events": "for a program that follows it",
        },
        see=("plan", "rollback", "runs", "report"),
    ),
    "cleanup": Entry(
        UPGRADE,
        "All hosts are asked first: what would be removed is shown with its size. A deployed tree that neither the "
        "next boot nor the running node needs is shown too, and stays unless --trees is given.\n\n"
        "An upgrade cleans up by itself, once every node of the cluster is on the target.",
        statuses={
            0: "all hosts are clean",
            3: "nothing was removed: nodes are not on the target, another run works there, or declined",
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
        "Upgrades and rollbacks lock the cluster by themselves for as long as they take.",
        statuses={
            1: "a host failed; those that were locked are as before",
            3: "another run has the lock on a host, or works there; nothing was changed",
        },
        examples={"lock --why 'moving the disks of n2'": "keep everyone from changing the cluster"},
        see=("unlock", "status"),
    ),
    "unlock": Entry(
        UPGRADE,
        "Your own locks are those of the same user on the same machine. A run that was broken off keeps its lock: "
        "resume it rather than unlock.",
        examples={"unlock": "take your own locks off", "unlock --force": "take off whatever locks there are"},
        see=("lock", "upgrade"),
    ),
    "rollback": Entry(
        UNDO,
        "Each node restarts, so its connections drop. The command says what a rollback does not undo, and asks. Then "
        "it goes in waves with gates between them, as an upgrade does.",
        statuses={
            0: "every host that was asked for runs its base release, or did before",
            1: "partly done, stopped or interrupted: the summary says what remains and which command to run",
            3: "nothing was changed: refused, or not confirmed",
        },
        examples={"rollback --host n1": "one node", "rollback --purge": "all nodes, the deployed trees removed"},
        see=("upgrade", "restore"),
    ),
    "backup": Entry(
        UNDO,
        "The node goes on running. A backup stays on the host, below its root or where `backup_dir` of the inventory "
        "says; it needs room for a copy of the data. A node that is down is copied as it lies there. docs/backup.md "
        "tells what is in a backup and what is not.",
        statuses={3: "a host could not be backed up: no room, no permission, or another command works there"},
        examples={"backup": "all hosts at once", "backup --host n1 --keep 7": "one host, and keep its last seven"},
        see=("backup.list", "backup.verify", "restore"),
    ),
    "backup.list": Entry(
        UNDO,
        "A backup is whole if every file is there with its size. `backup.verify` reads the files too.",
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
        "The node must be stopped. It is not started. What a host would refuse is found before you are asked. Then "
        "every file of the backup is read, and the present files are moved aside, not removed.",
        statuses={
            1: "a host failed on the way: run it again before the node is started",
            3: "nothing was changed: the node runs, the backup is damaged or of something else, or declined",
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
        "contacted.",
        examples={"runs": "all of them", "runs --limit 5": "the last five"},
        see=("report", "upgrade", "logs"),
    ),
    "report": Entry(
        HISTORY,
        "The page is one file that needs no network and no script; docs/report.md says what is on it. Without RUN it "
        "is that of the last run. No host is contacted, so a run can be reported on while it is under way, or after "
        "its controller was killed.",
        statuses={0: "the report is made, however the run came out", 3: "never: no host is contacted"},
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
        "Each host keeps its own history, so it is known whoever asks, also of a node that is down.",
        examples={"logs": "all attempts on all hosts", "logs --host n1 --limit 5": "the last five of one host"},
        see=("runs", "logs-clear"),
    ),
    "logs-clear": Entry(
        HISTORY,
        "Says how much there is, and asks.",
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
        "What an author can do about each finding is told with it; docs/authoring.md goes from two tarballs to a "
        "tested hop.",
        required=("from_", "to"),
        statuses={1: "there are errors; with --strict also warnings", 3: "never: no host is contacted"},
        examples={
            "hop.check 5.10.4-to-5.10.5.relup --from A.tar.gz --to B.tar.gz": "a file",
            "hop.check - --from A.tar.gz --to B.tar.gz --sarif out.sarif": "the catalogue's, for code review",
        },
        see=("hop.draft", "hop.show"),
    ),
    "hop.draft": Entry(
        AUTHOR,
        "What only the author can decide stands in lines with REVIEW.",
        required=("from_", "to"),
        statuses={1: "its check found errors", 3: "never: no host is contacted"},
        examples={"hop.draft --from A.tar.gz --to B.tar.gz -o hops/A-to-B.relup": "into a file"},
        see=("hop.check", "hop.show"),
    ),
}
"""The manual by the commands' names as they are typed."""


def entry(command: str) -> Entry:
    """What the manual has on a command. What it does not know is the lab's."""
    return MANUAL.get(command, Entry(LAB))


def place(command: str) -> tuple[int, int]:
    """Where a command is listed: by group, and there in the manual's order."""
    names = list(MANUAL)
    return GROUPS.index(entry(command).group), names.index(command) if command in names else len(names)
