"""Asks every server of a fleet how it is, changes nothing, and hands what was seen to `core.diagnosis`."""
