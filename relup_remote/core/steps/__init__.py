"""Payload, shipped to hosts (Python 3.6 and up, standard library only): the steps of a command, one module each."""
