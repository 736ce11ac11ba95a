"""Faults under load, and what the callers noticed of them: `pgfleet drill`."""
