"""Payload, shipped to hosts (Python 3.6 and up, standard library only): the words controller and core speak.

One request goes in as a line of JSON on standard input; events come out as lines of JSON on standard output, the
last of them the result. Nothing secret is in either.

Request::

    {"protocol": 1, "run": "2026-11-24T08-15-03-k3f9", "command": "upgrade", "operator": "alice@desk",
     "node": {"root_dir": "/opt/emqx" | null, "name": "emqx@10.0.0.1" | null,
              "data_dir": null, "staging_dir": null, "backup_dir": null},
     "tarball": null | {"name": "emqx-5.10.5.tar.gz", "bytes": 71000000, "sha256": "<64 hex>",
                        "sidecar": {"status": "ok" | "missing" | "unreadable", "text": "…"},
                        "release": {"version": "5.10.5", "build_info": {"erlang": "27.3.4.2-8", "os": …, "arch": …},
                                    "mnesia_hook": true, "emqx_vars": "REL_VSN=…", "files": 3300, "bytes": 129000000,
                                    "code": "<base64 of a term: see relup_agent_target.erl>"}
                                   | {"error": {"err_type": "cannot_read_emqx_vars", "message": "…", "detail": {}}}},
     "target": "5.10.5" | null,
     "hop_value": null | {"sha256": "<64 hex>", "term": "<base64 of a term>"},
     "hops": [{"file": "5.10.4-to-5.10.5.relup", "from": "5.10.4", "target": "5.10.5", "text": "…"}],
     "paths": [{"from": "5.10.4", "target": "5.10.5"}, …],
     "helpers": [{"file": "my_helper.erl", "text": "…"}],
     "options": {<see OPTIONS>},
     "machine": null | {"id": "<32 hex>" | null, "boot": "<32 hex>" | null},
     "deadline": 300}

``machine`` is where the request is meant for, as a ``hello`` said before; see `machine`.
``deadline`` are the seconds after which the core ends by itself, once a step that must not be cut is done.
``hop_value`` is what the host's hop was found to be when it was planned, by the facts of that result; with one the file
is not evaluated again. ``hops`` are those of the catalogue whose target is the tarball's version; the core picks the
one from the running version. ``paths`` are all that the catalogue has. ``release`` holds for exactly the bytes with
that SHA-256; its ``code``, an external term, says of all modules and applications what the agent judges a hop by.
``helpers`` are the catalogue's helper modules, as sources; a beam file has ``"code": "<base64>"`` in place of ``text``.
A core that runs as the wrong user says so in its result and sends nothing before but ``hello`` and ``alive``, so that
it can be started again as the right one.

Events, each with a key ``event``:

    {"event": "hello", "pid": 4711, "python": "3.9.2", "user": "emqx",
     "machine": {"id": "<32 hex>", "boot": "<32 hex>"}}
    {"event": "step", "step": "extract", "status": "start"}
    {"event": "step", "step": "extract", "status": "ok", "seconds": 0.9, "detail": {}}
    {"event": "progress", "step": "stage", "done": 4194304, "total": 71000000, "unit": "bytes"}
    {"event": "want", "file": "tarball", "offset": 0, "bytes": 71000000}
    {"event": "has", "file": "tarball"}                the host has the file, as far as sizes tell
    {"event": "note", "message": "…"}                  a sentence for the operator
    {"event": "alive"}                                 every five seconds
    {"event": "result", …}                             the last one, see `Result`

After a ``want`` the controller writes exactly ``bytes`` bytes of the file, from ``offset``, to the core's standard
input.
"""

import json
import re
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Tuple

PROTOCOL_VERSION = 1

STEPS = ("stage", "checksum", "patches", "extract", "apply", "verify", "cleanup")
"""The steps of an upgrade, in order. A failure's stage may also be ``connect``, ``postcheck`` or a command."""

COMMANDS: Dict[str, Tuple[str, ...]] = {
    "status": (),
    "plan": (),
    "stage": ("stage", "checksum"),
    "prepare": ("stage", "checksum", "patches", "extract"),
    "upgrade": STEPS,
    "verify": ("verify",),
    "cleanup": ("cleanup",),
    "rollback": ("rollback",),
    "logs": (),
    "logs-clear": (),
    "backup": ("backup",),
    "backups": (),
    "backup-verify": (),
    "restore": ("restore",),
    "lock": (),
    "unlock": (),
}
"""What a request may ask for, and the steps each goes through."""

OPTIONS: Dict[str, Tuple[Any, str]] = {
    "force": (False, "go on although the patches folder is not empty; recorded in the history"),
    "on_failure": (
        "stop",
        "what to do with a node if its hop failed and can't be undone: stop | restart",
    ),
    "kill_lingering": (False, "go on although processes run old code of what the hop replaces; they are killed"),
    "allow_calls": (
        "",
        "plan, upgrade: what the hop's file may call besides what is known to be harmless; module:function/arity, …",
    ),
    "strict": (False, "verify: fail, and not only warn, if the hop left modules out"),
    "purge": (False, "rollback: remove the deployed tree as well"),
    "clean_anyway": (False, "cleanup: even while nodes of the cluster are not on the target"),
    "limit": (0, "logs: at most so many rows, the newest; 0 is all"),
    "boot_timeout": (120, "seconds to wait for a node that restarts"),
    "stop_timeout": (180, "seconds to wait for a node to stop"),
    "boot_check_timeout": (90, "seconds for a release's wrapper to read the node's configuration"),
    "no_boot_check": (False, "do not check that the release's own wrapper can read the node's configuration"),
    "boot_proof": ("", "verify: the proof that the tree boots which was made before in the same wave of the run"),
    "settle": (5, "seconds for which a restarted node must go on answering"),
    "call_timeout": (30, "seconds for one call to the VM, other than the hop itself"),
    "hop_timeout": (900, "seconds for the hop"),
    "keep": (3, "backup: how many complete backups of the node to keep, the new one counted; 0 keeps all"),
    "backup": ("", "backup-verify, restore: name of the backup; empty is the newest"),
    "restore_force": (
        False,
        "restore: go on although the backup is of another release or root, or its file system is not mounted",
    ),
    "backup_age": (0, "upgrade, plan: refuse without a complete backup younger than so many seconds; 0 asks for none"),
    "look_for": (10, "verify: seconds for which a node is looked at again while all that is off may pass"),
    "step_timeout": (30, "seconds within the hop for a process to answer, or an application to stop or start"),
    "dry_run": (
        False,
        "cleanup, restore: only tell what would be done, or what keeps it from being done; "
        "logs, status: refuse what logs-clear, or rollback, would refuse",
    ),
    "trees": (False, "cleanup: deployed trees as well that neither the next boot nor the VM needs"),
    "why": ("", "lock: what the cluster is locked for, in words"),
    "by_hand": (False, "lock: for no run, until the operator removes it"),
    "lock_force": (False, "unlock: although the lock is of another run"),
    "restart_by": ("auto", "by what the node is restarted: auto | wrapper | service:<unit> (of systemd)"),
    "lock_blind": (False, "lock: also where a node that should tell of locks elsewhere does not answer"),
    "unlock_by": ("run", "unlock: what the lock must have in common with the request: run | operator"),
}
"""Options of a request: name, default, meaning."""

OUTCOMES = {
    "upgraded": 0,
    "unchanged": 0,
    "ready": 0,
    "staged": 0,
    "prepared": 0,
    "verified": 0,
    "cleaned": 0,
    "rolled back": 0,
    "ok": 0,
    "locked": 0,
    "unlocked": 0,
    "backed up": 0,
    "restored": 0,
    "skipped": 0,
    "refused": 3,
    "failed": 1,
}
"""How a command can end on a host, with the exit status each stands for (`exit_status` combines those of all hosts)."""


class ErrorSpec(NamedTuple):
    """What an ``err_type`` means, in one sentence, and what the operator can do next."""

    meaning: str
    hint: str


AGAIN = "Remove the cause and run the upgrade again."

ERRORS: Dict[str, ErrorSpec] = {
    # connect
    "host_unreachable": ErrorSpec(
        "No SSH connection to the host could be made.",
        "Check the address and port in the inventory, and that the SSH server runs.",
    ),
    "host_key_unknown": ErrorSpec(
        "The host's SSH key is in no known_hosts file.",
        "Compare the fingerprint with the host's own. Then add the key with ssh-keyscan, or log in once with ssh.",
    ),
    "host_key_changed": ErrorSpec(
        "The host's SSH key is not the one in known_hosts.",
        "Find out why: the host was reinstalled, or somebody is in between. Only then replace the key (ssh-keygen -R).",
    ),
    "host_key_revoked": ErrorSpec(
        "The host's SSH key is revoked.",
        "Do not log in. Give the host a new key, or ask whoever keeps the list of revoked keys.",
    ),
    "host_certificate_invalid": ErrorSpec(
        "The host's SSH certificate is not valid.",
        "Have the authority certify the host's key anew, for the right name. Do not add the key to known_hosts.",
    ),
    "host_changed": ErrorSpec(
        "This is not the host that was looked at before.",
        "Find out where its name leads now. If the change is meant, start a new run.",
    ),
    "auth_failed": ErrorSpec(
        "The SSH server accepted none of the keys and passwords that were offered.",
        "Check user and key in the inventory, and try `ssh -v`. --ask-password asks for a password.",
    ),
    "key_unusable": ErrorSpec(
        "The private key of the inventory can't be used.",
        "Check that it exists and can be read. If it has a passphrase, use the SSH agent or --ask-passphrase.",
    ),
    "ssh_timeout": ErrorSpec(
        "The host did not answer in time.",
        "Check the host's load and network. connect_timeout and command_timeout of the inventory give it more time.",
    ),
    "connection_lost": ErrorSpec(
        "The SSH connection broke before the result came back.",
        "A hop that has begun goes on in the VM. See `inv status`, then run the same command again.",
    ),
    "no_shell": ErrorSpec(
        "The host lets the SSH user in, but runs no commands for it.",
        "Look at the user's login shell (nologin, rbash) and its start-up files, and at ForceCommand and MaxSessions "
        "of the SSH server. Or log in as another user.",
    ),
    "python_missing": ErrorSpec(
        "The host has no python3 of version 3.6 or newer.",
        "Install python3, or name one with `python` in the inventory.",
    ),
    "become_failed": ErrorSpec(
        "Our program could not be started on the host as the user that owns the node.",
        "Allow the SSH user to run python3 as that user with sudo (--ask-sudo-password if sudo asks), or log "
        "in as that user.",
    ),
    "wrong_user": ErrorSpec(
        "The node belongs to another user than the one that our program on the host runs as.",
        "Set `become` in the inventory to the node's user, or to auto.",
    ),
    "core_failed": ErrorSpec(
        "Our program on the host ended without a result.",
        "Read the detail. See `inv status`, then run the same command again.",
    ),
    "protocol_mismatch": ErrorSpec(
        "This command and our program on the host are of different versions.",
        "Use one version of relup_remote for both.",
    ),
    "deadline_exceeded": ErrorSpec(
        "The host did not finish in time. Steps that must not be cut off were finished first.",
        "See `inv status`. Then run the command again; --deadline gives it more time.",
    ),
    "malformed_answer": ErrorSpec(
        "The host sent something that our program on it never sends. None of it was used.",
        "Run `inv status` for this host. If it says the same, look at the host first: another program answers there.",
    ),
    "bad_request": ErrorSpec(
        "Our program on the host did not understand the request.",
        "This is a defect of relup_remote. Report it with the detail.",
    ),
    "internal_error": ErrorSpec(
        "Something happened that relup_remote did not expect.",
        "This is a defect of relup_remote. Report it with the detail. `inv status` shows the state of the node.",
    ),
    # finding and asking the node
    "node_not_running": ErrorSpec(
        "No running node was found on the host.",
        "Start the node, or check root_dir and node in the inventory.",
    ),
    "ambiguous_node": ErrorSpec(
        "More than one running node fits.",
        "Name one with root_dir or node in the inventory.",
    ),
    "node_name_differs": ErrorSpec(
        "The node of this root has another name than the one in the inventory.",
        "Correct node in the inventory. If several nodes run from one root, set data_dir for this one as well.",
    ),
    "data_dir_differs": ErrorSpec(
        "The running node has another data folder than the one in the inventory.",
        "Correct data_dir in the inventory, or leave it out: a running node says where its data is.",
    ),
    "data_dir_unknown": ErrorSpec(
        "The data folder of the stopped node is not known.",
        "Set data_dir in the inventory, or start the node.",
    ),
    "data_in_use": ErrorSpec(
        "No node seems to run from this root, but a process uses files of it.",
        "Look at the process named. If it is the node, correct root_dir and node in the inventory. If not, end it.",
    ),
    "node_in_container": ErrorSpec(
        "The node runs in a container: its files are not the host's files.",
        "Upgrade a container with a new image. relup_remote works on nodes that run on the host itself.",
    ),
    "slow_link": ErrorSpec(
        "The node could not be reached directly. Each call goes through its wrapper and takes a second or more.",
        "Remove the reason that the detail gives.",
    ),
    "root_dir_not_found": ErrorSpec(
        "The root directory is not an EMQX release.",
        "Check root_dir in the inventory.",
    ),
    "node_unreachable": ErrorSpec(
        "The VM runs, but neither the distribution protocol nor its wrapper could reach it.",
        "Check that the node answers `bin/emqx ping` on the host.",
    ),
    "call_timeout": ErrorSpec(
        "The VM did not answer a call in time.",
        "Check the node's load. `inv upgrade --call-timeout 120` gives each call more time.",
    ),
    "call_failed": ErrorSpec(
        "A call to the VM ended in an error.",
        "Read the detail: it is the VM's own error.",
    ),
    "node_not_ready": ErrorSpec(
        "The VM answers, but the broker in it does not run.",
        "Wait until the node has booted, or read its log.",
    ),
    "too_many_cores": ErrorSpec(
        "Too many commands look at this VM at the same time.",
        "Wait until the others end, then run the command again.",
    ),
    "upgrade_in_progress": ErrorSpec(
        "Another command works on this node.",
        "Wait until it ends (see `inv status`), or find out who runs it.",
    ),
    "untrusted_process": ErrorSpec(
        "A process of another user claims to be the node, or listens in its place.",
        "Find out who runs it, and end it. If it is the node, set data_dir in the inventory.",
    ),
    # stage and checksum
    "target_tarball_not_found": ErrorSpec("The tarball is not there.", "Check the path."),
    "bad_tarball": ErrorSpec(
        "The tarball can't be read: it is damaged, cut short, or of an unknown format.",
        "Fetch it again and compare its SHA-256.",
    ),
    "unsafe_tarball": ErrorSpec(
        "The tarball holds a member that would be written outside the tree.",
        "Do not use this file; fetch the release from its source.",
    ),
    "disk_full": ErrorSpec(
        "There is not enough space on the host.",
        "Free some space. The detail says how much, and where.",
    ),
    "cannot_write_file": ErrorSpec("A file could not be written.", "Check owner and mode of the folder named."),
    "cannot_create_dir": ErrorSpec("A folder could not be created.", "Check owner and mode of the parent folder."),
    "no_write_permission": ErrorSpec(
        "The node's user may not write to the folder of the release.",
        "Give the node's user write permission on the folder named.",
    ),
    "untrusted_dir": ErrorSpec(
        "A folder of relup_remote belongs to another user, or others may write in it.",
        "If the folder is yours, correct its owner and mode (at most 0755). Else find out who made it, and remove it.",
    ),
    "untrusted_file": ErrorSpec(
        "A file of relup_remote or of the node belongs to another user, is not a regular file, is far too large, "
        "or others may write to it.",
        "Find out who made it, and remove it.",
    ),
    "missing_sha256_sidecar": ErrorSpec(
        "There is no <tarball>.sha256 beside the tarball.",
        "Fetch it from where the tarball came from.",
    ),
    "cannot_read_sha256_sidecar": ErrorSpec("The .sha256 file can't be read.", "Check its mode."),
    "invalid_sha256_sidecar": ErrorSpec(
        "The .sha256 file names no SHA-256 of the tarball.",
        "Fetch it again. A bare digest of 64 hex digits and the formats of sha256sum are understood.",
    ),
    "sha256_mismatch": ErrorSpec(
        "The tarball's SHA-256 is not the one of its .sha256 file.",
        "Fetch both again; do not use this tarball.",
    ),
    # patches
    "patches_dir_not_empty": ErrorSpec(
        "The data folder has patches (patches/*.beam): the hop would replace them, or they would replace the hop.",
        "Remove the patches that the target contains. `inv upgrade --force` goes on with them.",
    ),
    # extract
    "cannot_read_emqx_vars": ErrorSpec(
        "The release has no readable releases/emqx_vars.", "Check that the tarball is an EMQX release."
    ),
    "rel_vsn_not_found": ErrorSpec(
        "releases/emqx_vars names no REL_VSN.", "Check that the tarball is an EMQX release."
    ),
    "cannot_read_build_info": ErrorSpec(
        "The release has no readable BUILD_INFO.", "Check that the tarball is an EMQX release."
    ),
    "duplicate_pending_target": ErrorSpec(
        "This target is deployed already. The next restart boots it.",
        "Nothing needs to be done.",
    ),
    "already_upgraded_to_target_vsn": ErrorSpec(
        "The node runs this version already.",
        "Nothing needs to be done.",
    ),
    "restart_differs": ErrorSpec(
        "The node runs the target, but its next restart boots another release, or fails.",
        "Do not restart the node now. Put the tree and the marker of the target back. Or restart it when that does no "
        "harm, and upgrade it again.",
    ),
    "otp_major_vsn_mismatch": ErrorSpec(
        "The target was built for another major version of Erlang/OTP.",
        "This upgrade can't be done hot. Upgrade with a restart.",
    ),
    "otp_compatible_mismatch": ErrorSpec(
        "One of the two releases is built on EMQX's fork of OTP, the other one is not.",
        "Use a tarball of the same edition and build.",
    ),
    "os_arch_mismatch": ErrorSpec(
        "The target was built for another operating system or processor.",
        "Use the tarball made for this host.",
    ),
    "would_not_boot": ErrorSpec(
        "A release would not boot: its wrapper does not find or can't read the node's configuration.",
        "The detail has each path, and what the wrapper says. Correct that first: a restart of the node would fail.",
    ),
    "boot_unclear": ErrorSpec(
        "releases/emqx_vars does more than set values, so it is not known where a wrapper looks for the node's files.",
        "Set EMQX_ETC_DIR to the folder of emqx.conf, as a plain value, in the last line of the file named.",
    ),
    "tree_replaced": ErrorSpec(
        "The target's tree was on the host, but not as it was unpacked. It was removed and unpacked again.",
        "Nothing needs to be done for this upgrade. Find out who changed the tree.",
    ),
    "boot_not_proven": ErrorSpec(
        "The release's wrapper did not read the node's configuration, so it is not known whether it can.",
        "If the wrapper has a command for that, run it by hand before the next restart.",
    ),
    "no_relup_entry": ErrorSpec(
        "The catalogue has no hop from the running version to the target.",
        "`inv paths` lists the hops of the catalogue.",
    ),
    "malformed_hop": ErrorSpec(
        "The hop file can't be evaluated, or is not a hop.",
        "Correct it; priv/relup/README.md of relup_remote describes the format.",
    ),
    "hop_call_not_allowed": ErrorSpec(
        "While the hop's file is evaluated, it calls a function that is not known to be harmless.",
        "Move the call into an instruction or a callback, which may call anything. `inv upgrade "
        "--allow-calls os:getenv/1` allows it.",
    ),
    "hop_too_costly": ErrorSpec(
        "The hop's file takes too long, or too much memory, to evaluate in a busy VM.",
        "Write the hop's instructions out instead of computing them.",
    ),
    "hop_changed": ErrorSpec(
        "The value of the hop is not the one that was planned.",
        "Plan the upgrade again, and look at what has changed.",
    ),
    "ambiguous_hop": ErrorSpec(
        "Two hop files are for the same pair of versions.", "Keep one of them in the catalogue."
    ),
    # apply
    "preflight_failed": ErrorSpec(
        "The VM can't run this hop.",
        "Each problem is listed with its instruction.",
    ),
    "invalid_instr": ErrorSpec("The hop has an instruction that is unknown or ill-formed.", "Correct the hop."),
    "module_not_found": ErrorSpec(
        "A module of the hop is neither in the target nor among the catalogue's helpers.", "Correct the hop."
    ),
    "no_such_file": ErrorSpec("A file that the hop needs is not there.", "Stage and extract again."),
    "bad_beam": ErrorSpec(
        "A beam file can't be loaded into this VM.", "Check that the tarball is made for this version of OTP."
    ),
    "helper_not_compiled": ErrorSpec(
        "A helper module of the catalogue does not compile, or can't be compiled in a VM that is at work.",
        "Correct the helper.",
    ),
    "helper_name_taken": ErrorSpec(
        "A helper of the catalogue has the name of a module that the node runs already.",
        "Rename the helper: loading and removing it would remove the node's own module.",
    ),
    "app_not_found": ErrorSpec("The target has no such application.", "Correct the hop."),
    "app_not_restartable": ErrorSpec("kernel, stdlib and compiler can't be restarted in a hop.", "Correct the hop."),
    "app_dependency_missing": ErrorSpec(
        "An application of the hop needs another one that is not there.",
        "Add it to the hop, or correct the target.",
    ),
    "app_dependency_not_started": ErrorSpec(
        "An application of the hop needs another one that is not started.",
        "Restart that one earlier in the hop, or start it on the node.",
    ),
    "function_not_exported": ErrorSpec(
        "The hop calls a function that the version loaded at that point does not export.", "Correct the hop."
    ),
    "release_not_reloaded": ErrorSpec(
        "The hop does not reload emqx_release, so the node would go on reporting the old version.",
        "Add {load_module, emqx_release} to the hop.",
    ),
    "version_not_reported": ErrorSpec(
        "The target's emqx_release reports another version than the hop's target.",
        "Check that hop and tarball belong together.",
    ),
    "sticky_module": ErrorSpec(
        "A module of the hop is in a sticky directory.",
        "Take it out of the hop: such a module can't be replaced in a running node.",
    ),
    "old_code_in_use": ErrorSpec(
        "Processes still run the old code of a module that the hop replaces. Loading the module would kill them.",
        "The detail names them. Wait until they end. `inv upgrade --kill-lingering` kills them.",
    ),
    "app_stopped": ErrorSpec(
        "An application that ran when the hop began does not run after it.",
        "Look at the node's log for why it ended, and start it or restart the node.",
    ),
    "no_process": ErrorSpec(
        "No process uses a module that the hop updates.", "Nothing needs to be done. load_module would do the same."
    ),
    "not_covered": ErrorSpec(
        "Modules of the target differ from the running ones, and the hop leaves them out.",
        "Add them to the hop. Without them the node reports a version that it does not run in full.",
    ),
    "not_verified": ErrorSpec(
        "Something on the node would make the verification after the hop fail, or its state is not known.",
        "Resume the processes named, or wait until they end, before the upgrade.",
    ),
    "code_left_old": ErrorSpec(
        "Modules of the node are older than those of its release: the hop left them out.",
        "The next restart brings the new ones. `inv verify --strict` fails for this.",
    ),
    "not_undoable": ErrorSpec(
        "No file has the running code of a module, so it can't be put back.",
        "If the hop fails, it can't be undone. Find out where that code came from.",
    ),
    "suspended_supervisor": ErrorSpec("A supervisor is suspended.", "Resume it, or find out who suspended it."),
    "which_children_failed": ErrorSpec(
        "A supervisor does not answer.",
        "Look at the node: it is not healthy.",
    ),
    "get_modules_failed": ErrorSpec(
        "An event manager does not say which handlers it has, and a module that the hop updates may be one of them.",
        "Find out what it waits for: it is busy, or suspended.",
    ),
    "code_change_failed": ErrorSpec(
        "A process could not change its state to the new version.",
        "Remove the cause, which is the process's own error, and run the upgrade again.",
    ),
    "suspend_failed": ErrorSpec(
        "A process could not be suspended in time.",
        "Look at what it does, and try again.",
    ),
    "failed_to_load": ErrorSpec("The VM refused to load a module.", AGAIN),
    "failed_to_stop_app": ErrorSpec("An application could not be stopped.", AGAIN),
    "failed_to_start_app": ErrorSpec("An application could not be started.", AGAIN),
    "apply_failed": ErrorSpec("A function called by the hop failed or did not return ok.", AGAIN),
    "post_upgrade_failed": ErrorSpec(
        "A post-upgrade callback failed; the code of the target is loaded, the marker is not written.",
        "Remove the cause and run the upgrade again: it goes on from the callbacks.",
    ),
    "post_upgrade_module_not_loaded": ErrorSpec(
        "The module with the post-upgrade callbacks is not loaded.", "Correct the hop or the target."
    ),
    "marker_failed": ErrorSpec(
        "The hop is done, but the marker could not be written. The next restart would boot the old release.",
        AGAIN,
    ),
    "hop_timeout": ErrorSpec(
        "The hop did not end in time. It goes on in the VM.",
        "See `inv status`. `inv upgrade --resume --hop-timeout 1800` goes on with the run and waits longer.",
    ),
    "interrupted": ErrorSpec(
        "Our program on the host ended before the hop began. The node was not changed.",
        "Run the same command again.",
    ),
    "hop_lost": ErrorSpec(
        "The hop ended without an outcome: the VM, or the agent in it, died.",
        "See `inv status`. The next boot is of one whole release.",
    ),
    # verify, cleanup, rollback, history
    "verify_failed": ErrorSpec(
        "The node is not what it should be after the upgrade.",
        "Look at each check that failed. `inv status` shows the state of the node.",
    ),
    "nothing_to_roll_back": ErrorSpec(
        "The node boots its base release: it has no marker.",
        "Nothing needs to be done.",
    ),
    "restart_failed": ErrorSpec(
        "The node could not be restarted.",
        "Read the node's log.",
    ),
    "node_not_back": ErrorSpec(
        "The restarted node did not come back in time, or went away again.",
        "Read the node's log.",
    ),
    "journal_unusable": ErrorSpec(
        "The history on the host can't be read or written.",
        "Check the file named.",
    ),
    "nodes_behind": ErrorSpec(
        "Not all nodes of the cluster are on the same release as this one, so the staged files may still be needed.",
        "The detail names them. Upgrade those first. `inv cleanup --anyway` removes the files all the same.",
    ),
    "service_not_permitted": ErrorSpec(
        "A service runs the node, and the node's user may not restart that service.",
        "Allow it in sudoers, or set `restart` to wrapper in the inventory.",
    ),
    "service_unknown": ErrorSpec(
        "It is not known whether a service runs the node: systemctl does not answer.",
        "Look at systemctl status on the host, or set `restart` to wrapper or to service:<unit> in the inventory.",
    ),
    "cluster_locked": ErrorSpec(
        "Another run has locked the cluster.",
        "Ask the operator who holds the lock. An interrupted run is resumed with `inv upgrade "
        "--resume` or `inv rollback --resume`. `inv unlock --force` removes a lock that was left behind.",
    ),
    # post-checks
    "checks_not_run": ErrorSpec(
        "Some post-checks did not run, so their result is not known.",
        "Run `inv postcheck` for this host, and see what kept them from running.",
    ),
    # backup and restore
    "no_backup": ErrorSpec(
        "The host has no complete backup of the node.",
        "`inv backup` makes one. With `--no-backup` an upgrade needs none.",
    ),
    "backup_too_old": ErrorSpec(
        "The newest complete backup of the node is too old.",
        "`inv backup` makes a new one. `inv upgrade --backup-age 48h` allows an older one.",
    ),
    "backup_failed": ErrorSpec(
        "The tables in the VM could not be saved.",
        "Read the detail: it is Mnesia's own reason. Then look at the node.",
    ),
    "backup_incomplete": ErrorSpec(
        "The folders of the node lack what a backup has to have: its settings, or the tables of a node that is down.",
        "Name the data folder by data_dir in the inventory. Where tables lie elsewhere, start the node for the backup.",
    ),
    "cannot_read_file": ErrorSpec(
        "A file that belongs to the node can't be read by the node's user.",
        "Check owner and mode of the files named.",
    ),
    "node_running": ErrorSpec(
        "The node runs. A backup can only be restored while it is stopped.",
        "Stop the node, then run the restore again.",
    ),
    "node_starting": ErrorSpec(
        "Somebody is starting the node. It must be stopped for this command.",
        "Wait until the node is up, or stop it. If a service starts it again and again, stop the service "
        "with systemctl.",
    ),
    "node_started": ErrorSpec(
        "The node was started while a restore moved its files. All of them were moved back; nothing is restored.",
        "Stop the node and keep it stopped. Then run the restore again.",
    ),
    "half_restored": ErrorSpec(
        "A restore was cut off while it moved files: the node has a part of the old files and a part of the backup's.",
        "Stop the node if it runs, and run `inv restore`: it goes on where the other one stopped. Do not "
        "start the node before that.",
    ),
    "mnesia_not_running": ErrorSpec(
        "The node's VM runs, but its Mnesia does not, or not yet. Its tables can't be saved, nor copied as files.",
        "Read the node's log. Wait until Mnesia is up, or stop the node and back it up then.",
    ),
    "backup_dated_ahead": ErrorSpec(
        "The newest complete backup is dated in the future, so its age is not known.",
        "Correct the host's clock, and make a backup with `inv backup`. With `--no-backup` an upgrade needs none.",
    ),
    "backup_of_another_node": ErrorSpec(
        "The backup is of another node or another root.",
        "Name a backup of this node. `inv restore --force` restores one of another root or data folder.",
    ),
    "not_mounted": ErrorSpec(
        "The file system that held the node's data or settings at the time of the backup is not mounted.",
        "Mount it, then run the restore again. `inv restore --force` restores into the folder as it is now.",
    ),
    "backup_version_differs": ErrorSpec(
        "The backup is of another release than the one that the root boots.",
        "Remove what leads to the other release first (relup/current). `inv restore --force` restores it all the same.",
    ),
    "backup_damaged": ErrorSpec(
        "A backup is not what was written when it was made.",
        "The detail names each file. Use another backup: `inv backup.list` shows all.",
    ),
}
"""Every ``err_type`` there is. The plugin's own words are used where it has one."""


NOTHING_LEFT = ("already_upgraded_to_target_vsn", "duplicate_pending_target", "nothing_to_roll_back")
"""Refusals of a host that is where it was to go already: they keep no other host from going there."""


class Failure(Exception):
    """Why a step, or a whole command, did not succeed on a host.

    `err_type` is a key of `ERRORS`; `message` one sentence for the operator (the meaning from `ERRORS` unless
    given); `detail` facts as JSON; `stage` the step, filled in where it is caught if not given. `changed` says
    whether the node or its tree was changed before: it decides between the outcomes ``refused`` and ``failed``.
    """

    def __init__(
        self,
        err_type: str,
        message: Optional[str] = None,
        *,
        detail: Optional[Dict[str, Any]] = None,
        stage: Optional[str] = None,
        hint: Optional[str] = None,
        changed: bool = False,
    ) -> None:
        spec = ERRORS[err_type]
        self.err_type = err_type
        self.message = message or spec.meaning
        self.hint = hint or spec.hint
        self.detail = detail or {}
        self.stage = stage
        self.changed = changed
        super().__init__("{}: {}".format(err_type, self.message))

    def to_json(self) -> Dict[str, Any]:
        """The ``error`` object of the commands' contract."""
        return {
            "stage": self.stage,
            "err_type": self.err_type,
            "message": self.message,
            "hint": self.hint,
            "detail": self.detail,
        }


class Step(NamedTuple):
    """How a step went: `status` is ok | unchanged | skipped | failed; `seconds` wall time; `detail` facts as JSON."""

    step: str
    status: str
    seconds: float
    detail: Dict[str, Any]

    def to_json(self) -> Dict[str, Any]:
        """The step as an element of a result's ``steps``."""
        return {
            "step": self.step,
            "status": self.status,
            "seconds": round(self.seconds, 4),
            "detail": self.detail,
        }


class Result:
    """What a request came to on a host; `to_json` gives the last event.

    `problems` are all the refusals found, `error` the first of them or the failure. `facts` depends on the command:
    the node's state (status, plan), rows of history (logs), the hop's report (upgrade).
    """

    def __init__(self) -> None:
        self.outcome = "ok"
        self.node: Optional[str] = None
        self.from_vsn: Optional[str] = None
        self.target: Optional[str] = None
        self.running: Optional[str] = None
        self.seconds = 0.0
        self.steps: List[Step] = []
        self.error: Optional[Failure] = None
        self.problems: List[Failure] = []
        self.warnings: List[Dict[str, Any]] = []
        self.facts: Dict[str, Any] = {}

    def to_json(self) -> Dict[str, Any]:
        """The result as the event ``result``; the controller adds ``host``."""
        return {
            "event": "result",
            "node": self.node,
            "outcome": self.outcome,
            "from": self.from_vsn,
            "target": self.target,
            "running": self.running,
            "seconds": round(self.seconds, 3),
            "steps": [step.to_json() for step in self.steps],
            "error": None if self.error is None else self.error.to_json(),
            "problems": [problem.to_json() for problem in self.problems],
            "warnings": self.warnings,
            "facts": self.facts,
        }


def exit_status(outcomes: Iterable[str]) -> int:
    """The exit status for a command whose hosts ended with `outcomes`: a failure outweighs a refusal."""
    codes = {OUTCOMES[outcome] for outcome in outcomes}
    return 1 if 1 in codes else 3 if 3 in codes else 0


def encode(message: Dict[str, Any]) -> bytes:
    """One line of the protocol, newline included. Bytes of file names that are no text are told as ``\\xff``."""
    line = json.dumps(message, separators=(",", ":"), sort_keys=True)
    if "\\ud" in line:
        line = json.dumps(_as_text(message), separators=(",", ":"), sort_keys=True)
    return line.encode("utf-8") + b"\n"


_NO_TEXT = re.compile("[\ud800-\udfff]")


def _as_text(value: Any) -> Any:
    """The value, with what stands for bytes that are no text made legible (PEP 383)."""
    if isinstance(value, str):
        return _NO_TEXT.sub(lambda found: "\\x{:02x}".format(ord(found.group()) & 0xFF), value)
    if isinstance(value, dict):
        return {_as_text(name): _as_text(item) for name, item in value.items()}
    return [_as_text(item) for item in value] if isinstance(value, (list, tuple)) else value
