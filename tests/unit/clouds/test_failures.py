"""What the clouds refuse, in words that say what to do, and no secret in them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
    ProfileNotFound,
    UnauthorizedSSOTokenError,
)
from google.auth import exceptions

from pgfleet.clouds import aws_failures, google_failures
from pgfleet.clouds.aws_failures import explained
from pgfleet.clouds.failure import ApiFailure
from pgfleet.clouds.google_failures import failure_of, is_transient, refused, told_in, unknown_identity

of_google: Any = exceptions
"""They have no types."""


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("ExpiredTokenException", "expired"),
        ("SignatureDoesNotMatch", "does not know these credentials"),
        ("AccessDeniedException", "does not allow"),
        ("ThrottlingException", "throttles"),
        ("StorageQuotaExceeded", "quota"),
        ("InsufficientDBInstanceCapacity", "none of this class left"),
        ("DBParameterGroupNotFound", "no such parameter group"),
        ("KMSKeyNotAccessibleFault", "KMS key"),
        ("InvalidDBInstanceStateFault", "no state for it"),
        ("SomethingNew", "AWS refuses"),
    ],
)
def test_an_answer_of_aws(code: str, says: str) -> None:
    error = ClientError({"Error": {"Code": code, "Message": "the reason"}}, "CreateDBInstanceReadReplica")
    failure = explained(error)
    assert says in failure.message
    assert "the reason" in failure.message
    assert failure.hint
    assert failure.code == {"InvalidDBInstanceStateFault": "InvalidDBInstanceState"}.get(code, code)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (NoCredentialsError(), "there are no AWS credentials"),
        (ProfileNotFound(profile="x"), "there are no AWS credentials"),
        (UnauthorizedSSOTokenError(), "have expired"),
        (NoRegionError(), "no AWS region"),
        (EndpointConnectionError(endpoint_url="https://rds.example"), "does not answer"),
        (ConnectTimeoutError(endpoint_url="https://rds.example"), "does not answer"),
        (ParamValidationError(report="bad"), "cannot be asked so"),
    ],
)
def test_no_answer_of_aws(error: Exception, says: str) -> None:
    assert says in explained(error).message
    assert explained(error).hint


def body(reason: str, message: str = "the reason") -> str:
    return json.dumps({"error": {"message": message, "errors": [{"reason": reason}]}})


@pytest.mark.parametrize(
    ("status", "reason", "says", "code"),
    [
        (400, "invalid", "takes no such request", "invalid"),
        (401, "authError", "does not accept the credentials", "authError"),
        (403, "notAuthorized", "does not allow", "notAuthorized"),
        (403, "userRateLimitExceeded", "throttles", "rateLimitExceeded"),
        (429, "whatever", "throttles", "rateLimitExceeded"),
        (403, "quotaExceeded", "quota", "quotaExceeded"),
        (404, "instanceDoesNotExist", "no such thing", "instanceDoesNotExist"),
        (409, "instanceAlreadyExists", "name is taken", "instanceAlreadyExists"),
        (409, "operationInProgress", "another operation", "operationInProgress"),
        (412, "staleData", "somebody else", "staleData"),
        (503, "x", "answers 503", "backendError"),
    ],
)
def test_an_answer_of_google(status: int, reason: str, says: str, code: str) -> None:
    failure = refused(status, body(reason))
    assert says in failure.message
    assert "the reason" in failure.message
    assert failure.code == code
    assert failure.hint


def test_an_api_that_is_off_is_told_in_the_new_way_too() -> None:
    told = {
        "error": {"message": "m", "status": "PERMISSION_DENIED", "details": [{"reason": "SERVICE_DISABLED"}]}
    }
    assert "gcloud services enable" in refused(403, json.dumps(told)).hint


@pytest.mark.parametrize(
    "text", ["", "<html>", "[]", '{"error": "invalid_grant"}', '{"error": {"errors": null}}']
)
def test_an_answer_that_is_no_json_of_google_s(text: str) -> None:
    assert refused(400, text).message == "Google takes no such request: without a word of explanation (400)"


@pytest.mark.parametrize("text", ["", "<html>log in here</html>", "[]"])
def test_what_answers_in_google_s_place(text: str) -> None:
    """Such as a proxy that asks people to log in."""
    with pytest.raises(ApiFailure, match="what answers is not Google's API") as caught:
        told_in(text)
    assert "proxy" in caught.value.hint
    assert told_in('{"items": []}') == {"items": []}


def test_credentials_of_google() -> None:
    assert (
        "have expired"
        in unknown_identity(of_google.RefreshError("invalid_grant: gone\nmore", {"a": "secret"})).message
    )
    assert "secret" not in unknown_identity(of_google.RefreshError("gone", {"a": "secret"})).message
    assert "there are no Google" in unknown_identity(of_google.DefaultCredentialsError("none found")).message
    assert is_transient(unknown_identity(of_google.TransportError("no route")))


def test_an_operation_that_failed() -> None:
    assert failure_of({"status": "DONE"}) is None
    failure = failure_of({"error": {"errors": [{"code": "A", "message": "first"}, {"code": "B"}]}})
    assert failure
    assert failure.message == "the operation failed: first (A); no explanation (B)"


def test_a_hint_is_true_of_a_plan_a_destroy_and_a_discovery_too() -> None:
    """None of them has anything to apply, and a discovery has no file."""
    hints = {meaning.hint for meaning in aws_failures.MEANINGS.values()}
    hints |= {meaning.hint for meaning in google_failures.MEANINGS.values()}
    hints |= {meaning.hint for meaning in google_failures.STATUSES.values()}
    hints.add(explained(ParamValidationError(report="bad")).hint)
    assert not [hint for hint in hints if "apply" in hint or "file" in hint or "Plan again" in hint]
