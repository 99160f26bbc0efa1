"""Payload, shipped to hosts (Python 3.6 and up, standard library only): a module that is imported late."""

WORDS = "loaded late"
