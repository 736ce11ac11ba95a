"""From one primary to a fleet: reads a declaration, compares it with what is there, and makes the difference."""
