"""Benchmarks, each against its baseline in the same run: ``python -m bench [name]``."""
