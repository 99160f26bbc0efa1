"""The lab's release: its sources, and the parts of its builder. `lab.build` puts them together."""
