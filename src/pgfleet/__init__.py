"""Read replicas for Python applications on PostgreSQL: provision, route, watch."""

__version__ = "0.1.0"
