"""What AWS refuses, in words that say what to do."""

from __future__ import annotations

from typing import NamedTuple

from botocore import exceptions
from botocore.exceptions import ClientError

from pgfleet.clouds.failure import AGAIN, CHECK, LOOK, ApiFailure

WHO_AM_I = "`aws sts get-caller-identity` must answer"
GIVE = f"Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; {WHO_AM_I}."
RENEW = f"Log in again (`aws sso login`), or renew the keys; {WHO_AM_I}."
POLICY = "Give the one who asks the policy of the guide to RDS, which lists the action that is missing."
QUOTA = "Ask for more under Service Quotas, Amazon RDS, or remove an instance."


class _Meaning(NamedTuple):
    says: str
    hint: str


MEANINGS = {
    **dict.fromkeys(
        ("ExpiredToken", "ExpiredTokenException", "RequestExpired"),
        _Meaning("the AWS credentials have expired", RENEW),
    ),
    **dict.fromkeys(
        ("InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch", "AuthFailure"),
        _Meaning("AWS does not know these credentials", GIVE),
    ),
    **dict.fromkeys(
        ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation"),
        _Meaning("AWS does not allow it", POLICY),
    ),
    **dict.fromkeys(
        ("Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequestsException"),
        _Meaning("AWS throttles the calls of this account, and did so until the last attempt", AGAIN),
    ),
    **dict.fromkeys(
        ("InstanceQuotaExceeded", "StorageQuotaExceeded", "DBInstanceReadReplicaQuotaExceeded"),
        _Meaning("the account's quota is used up", QUOTA),
    ),
    "InsufficientDBInstanceCapacity": _Meaning(
        "AWS has none of this class left there", "Write another class or zone, or wait."
    ),
    "DBParameterGroupNotFound": _Meaning(
        "there is no such parameter group",
        "Make it first, in the region of the replica: aws rds create-db-parameter-group.",
    ),
    "DBSubnetGroupNotFoundFault": _Meaning(
        "there is no such subnet group",
        "Make it first, in the region of the replica: aws rds create-db-subnet-group.",
    ),
    "KMSKeyNotAccessibleFault": _Meaning(
        "the KMS key cannot be used", "Write a key of the replica's region that RDS may use."
    ),
    "InvalidDBInstanceState": _Meaning("the instance is in no state for it", LOOK),
}
"""By the code of an error."""
NOT_THERE = "DBInstanceNotFound"
THERE_ALREADY = "DBInstanceAlreadyExists"
WRONG_STATE = "InvalidDBInstanceState"
_ALIASES = {"DBInstanceNotFoundFault": NOT_THERE, "InvalidDBInstanceStateFault": WRONG_STATE}

NO_IDENTITY = (
    exceptions.NoCredentialsError,
    exceptions.PartialCredentialsError,
    exceptions.CredentialRetrievalError,
    exceptions.ProfileNotFound,
)
STALE_IDENTITY = (
    exceptions.SSOError,
    exceptions.TokenRetrievalError,
    exceptions.RefreshWithMFAUnsupportedError,
)


def explained(error: Exception) -> ApiFailure:
    """A failure of botocore, or an answer of AWS that refuses."""
    if isinstance(error, ClientError):
        return _refused(error)
    if isinstance(error, NO_IDENTITY):
        return ApiFailure(f"there are no AWS credentials: {error}", GIVE)
    if isinstance(error, STALE_IDENTITY):
        return ApiFailure(f"the AWS credentials have expired: {error}", RENEW)
    if isinstance(error, exceptions.NoRegionError):
        return ApiFailure("no AWS region is named", "Name it, or set AWS_REGION.")
    if isinstance(error, (exceptions.HTTPClientError, exceptions.ConnectionError)):
        return ApiFailure(
            f"AWS does not answer: {error}", "Check the region's name and the way to its endpoint."
        )
    return ApiFailure(f"AWS cannot be asked so: {error}", CHECK)


def _refused(error: ClientError) -> ApiFailure:
    told = error.response.get("Error", {})
    code = str(told.get("Code", ""))
    code = _ALIASES.get(code, code)
    meaning = MEANINGS.get(code, _Meaning("AWS refuses", LOOK))
    return ApiFailure(f"{meaning.says}: {told.get('Message', '')} ({code})", meaning.hint, code)
