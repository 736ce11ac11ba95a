"""A history of reads and writes under faults, and whether it kept the promises: `pgfleet drill consistency`."""
