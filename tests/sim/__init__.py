"""The simulator: the real rollout engine on simulated hosts and a virtual clock. docs/testing.md tells how to use it.

::

    story ──┬─ kernel     virtual time; tasks, of which one runs at a time; processes that can be killed
            ├─ engine     has the engine wait by the kernel instead of by the machine
            ├─ hosts      nodes, the cores that work on them, the connections to them
            ├─ faults     what goes wrong, when, by the seed
            └─ rules      what must hold after every event
    bugs ── mistakes that can be put into the engine, to show that the rules find them
"""
