"""Payload, shipped to hosts (Python 3.6 and up, standard library only): speaking with an Erlang VM."""
