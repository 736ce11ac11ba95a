"""What tests of an application with read replicas need: a real fleet as a fixture, and patience with a deadline."""

from pgfleet.testing.waiting import eventually, eventually_async

__all__ = ["eventually", "eventually_async"]
