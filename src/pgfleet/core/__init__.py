"""Pure values and functions: no clock, random, environment, logging, socket, asyncio or driver in here."""
