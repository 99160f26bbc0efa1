"""Payload, shipped to hosts (Python 3.6 and up, standard library only): a core for tests of the way there and back."""
