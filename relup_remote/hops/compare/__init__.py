"""What two releases differ in, read from their tarballs: for checking a hop between them, and for drafting one."""

from relup_remote.hops.compare.difference import Application, Difference
from relup_remote.hops.compare.reading import read_both, read_release
from relup_remote.hops.compare.release import App, Call, Function, Module, Release, by_app

__all__ = [
    "App",
    "Application",
    "Call",
    "Difference",
    "Function",
    "Module",
    "Release",
    "by_app",
    "read_both",
    "read_release",
]
