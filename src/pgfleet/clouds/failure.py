"""What goes wrong at a cloud's API."""

from __future__ import annotations

AGAIN = "Wait a minute and try again: what is done stays done."
LOOK = "Look at it in the console, mend it, and try again: what is done stays done."
CHECK = "Check the names and values that were given."


class ApiFailure(Exception):
    """A call that failed for good: retries are over. Whoever asked makes an error of pgfleet of it."""

    def __init__(self, message: str, hint: str, code: str = "") -> None:
        super().__init__(message, hint, code)
        self.message = message
        self.hint = hint
        self.code = code
        """The API's own name for it, such as `DBInstanceNotFound`; empty when it never answered."""

    def __str__(self) -> str:
        return self.message
