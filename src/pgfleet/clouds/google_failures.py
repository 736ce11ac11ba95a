"""What Google refuses, in words that say what to do."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from google.auth.exceptions import RefreshError, TransportError

from pgfleet.clouds.failure import AGAIN, CHECK, LOOK, ApiFailure

GIVE = (
    "Run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS;"
    " `gcloud auth application-default print-access-token` must answer."
)
ROLE = "Give the one who asks the role of the guide to Cloud SQL in this project."

NOT_THERE = "instanceDoesNotExist"
THERE_ALREADY = "instanceAlreadyExists"
BUSY = "operationInProgress"
NOT_FOUND = "notFound"
RATE = "rateLimitExceeded"
UNANSWERED = "unanswered"
UNAVAILABLE = "backendError"


class _Meaning(NamedTuple):
    says: str
    hint: str


MEANINGS = {
    RATE: _Meaning("Google throttles the calls of this project, and did so until the last attempt", AGAIN),
    "quotaExceeded": _Meaning(
        "the project's quota is used up", "Ask for more under IAM & Admin, Quotas, or remove an instance."
    ),
    "accessNotConfigured": _Meaning(
        "the Cloud SQL Admin API is off in this project", "gcloud services enable sqladmin.googleapis.com"
    ),
    THERE_ALREADY: _Meaning(
        "the name is taken, by an instance or by one that was deleted in the last week", "Write another name."
    ),
    BUSY: _Meaning("another operation is under way", AGAIN),
    "failedPrecondition": _Meaning("the instance is in no state for it", LOOK),
    "staleData": _Meaning("somebody else has changed it in between", AGAIN),
}
"""By the reason of an error."""
STATUSES = {
    400: _Meaning("Google takes no such request", CHECK),
    401: _Meaning("Google does not accept the credentials, they may have expired", GIVE),
    403: _Meaning("Google does not allow it", ROLE),
    404: _Meaning("there is no such thing", CHECK),
    409: _Meaning("it conflicts with what is there", LOOK),
    412: _Meaning("the instance is in no state for it", LOOK),
}
"""By status, for reasons that are not listed."""
RATE_REASONS = (RATE, "userRateLimitExceeded", "RATE_LIMIT_EXCEEDED")
OFF_REASONS = ("accessNotConfigured", "SERVICE_DISABLED")
NOT_THERE_REASONS = (NOT_THERE, NOT_FOUND)


def refused(status: int, body: str) -> ApiFailure:
    """An answer other than 200."""
    told = _error(body)
    reason = _reason(status, told)
    meaning = MEANINGS.get(reason) or STATUSES.get(status) or _Meaning(f"Google answers {status}", AGAIN)
    message = str(told.get("message") or "without a word of explanation")
    return ApiFailure(f"{meaning.says}: {message} ({reason or status})", meaning.hint, reason)


def told_in(body: str) -> dict[str, Any]:
    """An answer of 200. Raises ApiFailure when it is none of the API."""
    try:
        told = json.loads(body)
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise ApiFailure(
            "what answers is not Google's API: no JSON object",
            "Check the endpoint, and the proxy on the way to it.",
        )
    return told


def unanswered(error: Exception) -> ApiFailure:
    """No answer."""
    return ApiFailure(
        f"Google does not answer: {type(error).__name__}",
        "Check the way to sqladmin.googleapis.com.",
        UNANSWERED,
    )


def unknown_identity(error: Exception) -> ApiFailure:
    """google-auth has no credentials, or cannot make a token of them."""
    if isinstance(error, TransportError):
        return unanswered(error)
    if isinstance(error, RefreshError):
        return ApiFailure(f"the Google credentials have expired, or were revoked: {_first_line(error)}", GIVE)
    return ApiFailure(f"there are no Google credentials: {_first_line(error)}", GIVE)


def is_transient(failure: ApiFailure) -> bool:
    """Whether the same call may do in a moment."""
    return failure.code in (RATE, UNANSWERED, UNAVAILABLE)


def failure_of(operation: dict[str, Any]) -> ApiFailure | None:
    """What an operation that is DONE failed with."""
    errors = (operation.get("error") or {}).get("errors") or ()
    if not errors:
        return None
    told = "; ".join(f"{error.get('message') or 'no explanation'} ({error.get('code')})" for error in errors)
    return ApiFailure(f"the operation failed: {told}", LOOK, str(errors[0].get("code") or ""))


def _reason(status: int, told: dict[str, Any]) -> str:
    given = [str(error.get("reason", "")) for error in told.get("errors") or ()]
    given += [str(detail.get("reason", "")) for detail in told.get("details") or () if detail.get("reason")]
    if status == 429 or any(reason in RATE_REASONS for reason in given):
        return RATE
    if any(reason in OFF_REASONS for reason in given):
        return "accessNotConfigured"
    if status >= 500:
        return UNAVAILABLE
    return next((reason for reason in given if reason), "")


def _error(body: str) -> dict[str, Any]:
    try:
        told = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        return {}
    return told if isinstance(told, dict) else {}


def _first_line(error: Exception) -> str:
    """google-auth puts whole answers behind it."""
    if isinstance(error, OSError):
        return str(error)
    said = str(error.args[0]) if error.args else type(error).__name__
    return said.splitlines()[0] if said else type(error).__name__
