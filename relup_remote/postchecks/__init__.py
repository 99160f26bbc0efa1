"""Checks of nodes from outside, over SSH alone: a second opinion on an upgrade that shares no code with the first.

They are testinfra checks. `inv postcheck` runs them and shows a row a host; pytest runs them as well::

    pytest relup_remote/postchecks --relup-inventory inventory/lab.yml [--relup-host n1] [--relup-target 5.10.5]
    pytest -p relup_remote.postchecks.plugin --pyargs relup_remote.postchecks …       (where it is installed)
"""
