"""An example application, the rooms of many hotels, and what its users would notice of the fleet beneath it."""
