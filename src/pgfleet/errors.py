"""What can go wrong that is not the caller's SQL: few errors, each by whose fault, each with the next step.

Every error is a `PgfleetError` and the builtin that fits, survives pickling, and never holds a password.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pgfleet.core.explain import Explanation


class PgfleetError(Exception):
    """Base of every error that pgfleet raises.

    `hint` is the next step for the person who reads it; `str(error)` shows it on a line of its own.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message


class ConfigurationError(PgfleetError, ValueError):
    """The settings are wrong. `problems` lists every one found, a line each, naming its variable."""

    def __init__(self, problems: tuple[str, ...], hint: str = "") -> None:
        super().__init__("\n".join(problems), hint)
        self.problems = problems

    def __reduce__(self) -> tuple[type[ConfigurationError], tuple[tuple[str, ...], str]]:
        return type(self), (self.problems, self.hint)


class PrimaryUnavailable(PgfleetError, ConnectionError):
    """No primary takes writes now. Nothing was sent, or it is surely not committed: it is safe to try again."""


class SplitBrain(PgfleetError, ConnectionError):
    """Two servers claim to be the primary of one timeline. Nothing is written until one yields; nothing was sent."""


class OutcomeUnknown(PgfleetError, ConnectionError):
    """The connection was lost while the primary may have been committing: the write is done, or it is not."""


class LeaseTimeout(PgfleetError, TimeoutError):
    """No connection became free within `DB_CONNECTION_TIMEOUT` or the call's `timeout_s`. Nothing was sent."""


class Overloaded(PgfleetError, ConnectionError):
    """No replica serves the read, and the primary takes no more of such reads now. Nothing was sent."""


class ReadTimeout(PgfleetError, TimeoutError):
    """A read did not finish within its `timeout_s`, on any node."""


class NoReplica(PgfleetError, ConnectionError):
    """No replica qualifies for the read, and it was not to go to the primary. Nothing was sent.

    `explanation` says of each node why it does not.
    """

    def __init__(self, message: str, hint: str = "", explanation: Explanation | None = None) -> None:
        super().__init__(message, hint)
        self.explanation = explanation


class WritesLost(PgfleetError, ConnectionError):
    """A failover may have lost what this reader wrote. It is told once: the next read sees what there is."""


class TokenError(PgfleetError, ValueError):
    """A consistency token is not ours: malformed, signed by another secret, or of another cluster."""


class RouterClosed(PgfleetError, RuntimeError):
    """The router was used before it was opened or after it was closed."""

    def __init__(
        self,
        message: str = "the router is not open",
        hint: str = "Use it inside `with` or `async with`, or call open() first.",
    ) -> None:
        super().__init__(message, hint)


class UnknownNode(PgfleetError, KeyError):
    """The fleet has no node of this name."""


class DrainRefused(PgfleetError, ValueError):
    """This node cannot be drained: it is the primary."""


class DrainTimeout(PgfleetError, TimeoutError):
    """Something is still lent at the node that is being drained. It takes no new read, and nothing was cut."""


class DiscoveryError(PgfleetError, ConnectionError):
    """The servers of the fleet cannot be told now: nobody answers, or the answer names none."""


class LocalFleetError(PgfleetError, RuntimeError):
    """The embedded cluster could not do what was asked."""


class ProvisionError(PgfleetError, RuntimeError):
    """A step of provisioning could not be done. It names the step and the cause; nothing of another step is undone."""


class DriverMissing(PgfleetError, ImportError):
    """A driver or an extra that this call needs is not installed."""
