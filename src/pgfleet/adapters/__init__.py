"""One file a driver: how its connections are opened, handled, cut, and how its errors read."""
