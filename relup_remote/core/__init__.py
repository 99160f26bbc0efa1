"""Payload, shipped to hosts (Python 3.6 and up, standard library only): all that runs on a host for one request."""
