"""The go-live checklist as a program: what `pgfleet verify` gathers of a fleet, and what it makes of that."""
