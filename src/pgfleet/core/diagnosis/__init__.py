"""What the servers said of themselves -> what is wrong with the fleet, what it means, and how it is mended.

Values in, values out: who asks the servers is the room `doctor`.
"""
