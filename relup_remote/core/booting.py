"""Payload, shipped to hosts (Python 3.6 and up, standard library only): whether somebody is starting a node.

Between the command that starts a node and the VM that runs it lie seconds, in which a shell script and small programs
run. Their command lines tell::

    bash <root>/bin/emqx start           the wrapper, by hand or by a service
    sh <root>/releases/<v>/elixir --boot <root>/releases/<v>/start …       where it is built with Elixir
    <root>/erts-<v>/bin/erlexec … -boot <root>/releases/<v>/start …
    beam.smp … -boot <root>/releases/<v>/start …

What only asks a node (``ctl``, ``eval``, ``ping``) boots no release, and does not count.
"""

import os
from typing import List

from . import processes

_STARTING = ("start", "restart", "foreground", "console", "daemon", "console_clean", "daemon_attach")
"""The words after the wrapper's name, or that of a link to it, by which it starts a node."""


def starting(base: str, wrapper: str, proc: str = "/proc") -> List[int]:
    """The processes that start a node from the root `base`, or from a tree below it; `wrapper` is its ``bin/emqx``."""
    found = []
    for folder in processes.folders(proc):
        pid = int(os.path.basename(folder))
        try:
            words = processes.words_of(folder)
        except PermissionError:
            # Where those of others can't be seen, that is told before (see running_node.py).
            continue
        if pid != os.getpid() and boots(words, folder, base, wrapper):
            found.append(pid)
    return sorted(found)


def boots(words: List[str], folder: str, base: str, wrapper: str) -> bool:
    """Whether a command line is one that starts a node of that root; `folder` is its process's in /proc."""
    for word, after in zip(words, words[1:]):
        if word in ("-boot", "--boot") and after.startswith((base + "/releases/", base + "/relup/")):
            return True
        if after in _STARTING and _leads_to(word, folder, base, wrapper):
            return True
    return False


def _leads_to(word: str, folder: str, base: str, wrapper: str) -> bool:
    try:
        at = os.readlink(os.path.join(folder, "cwd"))
    except OSError:
        at = base
    path = os.path.realpath(os.path.join(at, word))
    ours = (os.path.realpath(base) + "/", os.path.realpath(wrapper))
    return os.path.basename(path) == "emqx" and path.startswith(ours)
