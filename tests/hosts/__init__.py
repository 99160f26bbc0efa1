"""Tests on machines in a box (`lab/hosts`)."""
