"""Loads the plugin where pytest is given this folder."""

pytest_plugins = ["relup_remote.postchecks.plugin"]
