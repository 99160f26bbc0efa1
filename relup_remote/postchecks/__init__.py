"""Checks of nodes from outside, over SSH alone: a second opinion on an upgrade.

It shares no code with the first but for the connection.

They are testinfra checks, for which all hosts are asked beforehand (`ahead`). `inv postcheck` runs them and shows a row
a host; pytest runs them as well::

    pytest --pyargs relup_remote.postchecks --relup-inventory FILE [--relup-host n1] [--relup-target 5.10.5]

They use the fixture ``emqx_node``, which is there for checks of an operator's own too: docs/postchecks.md.
"""
