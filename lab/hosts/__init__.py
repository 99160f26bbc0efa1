"""Machines in a box: each boots a real systemd from a file system of its own, and has an address of its own.

The lab beside this folder has hosts that share one file system and one user. What only shows between real machines is
tried here: services, users and sudo, lost power, links that break.
"""
