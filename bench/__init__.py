"""Measures pgfleet against a hand-written round robin, the drivers' own pools and hasql: `python -m bench`."""
