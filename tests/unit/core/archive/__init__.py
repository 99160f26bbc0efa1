"""Tests of the payload's archive reader."""
