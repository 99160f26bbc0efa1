"""Payload, shipped to hosts (Python 3.6 and up, standard library only): copies of a node's data and settings."""
