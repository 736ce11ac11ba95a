"""A PostgreSQL cluster without PostgreSQL, in virtual time."""
