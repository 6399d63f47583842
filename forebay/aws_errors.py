"""What an AWS failure means: whether trying again can help, and what a person has to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from forebay.domain.errors import OutsideError

if TYPE_CHECKING:
    from botocore.exceptions import BotoCoreError, ClientError


@dataclass(frozen=True)
class Kind:
    """A group of error codes with one consequence. `mend` is an imperative for people. `lapses`: no use to try it again
    at once, and once it is mended, nobody has to be asked whether to go on.
    """

    what: str
    retryable: bool
    mend: str
    codes: frozenset[str] = frozenset()
    lapses: bool = False


THROTTLED = Kind(
    "was throttled",
    True,
    "wait and try again; if it lasts, other callers of this account use up the same call rate",
    frozenset(
        {
            "EC2ThrottledException",
            "PriorRequestNotComplete",
            "RequestLimitExceeded",
            "RequestThrottled",
            "RequestThrottledException",
            "SlowDown",
            "Throttling",
            "ThrottlingException",
            "ThrottledException",
            "TooManyRequestsException",
        }
    ),
)
BUSY = Kind(
    "met a resource that is being changed",
    True,
    "try again when the change under way has ended",
    frozenset(
        {
            "ConcurrentModificationException",
            "ConcurrentUpdateException",
            "ResourceContention",
            "ResourceContentionFault",
            "ScalingActivityInProgress",
            "ScalingActivityInProgressFault",
            "TooManyUpdates",
            "UpdateInProgressException",
        }
    ),
)
TRANSIENT = Kind(
    "failed on the side of AWS",
    True,
    "try again; look at the AWS health page if it lasts",
    frozenset(
        {
            "InternalError",
            "InternalException",
            "InternalFailure",
            "InternalServerError",
            "InternalServiceError",
            "InternalServiceFault",
            "InternalServiceException",
            "RequestTimeout",
            "RequestTimeoutException",
            "ServerException",
            "ServiceUnavailable",
            "ServiceUnavailableException",
        }
    ),
)
NO_CAPACITY = Kind(
    "found no capacity",
    True,
    "wait for capacity, or allow more zones or instance types",
    frozenset({"Capacity", "InsufficientCapacity", "InsufficientInstanceCapacity"}),
)
QUOTA = Kind(
    "exceeds a quota of the account",
    False,
    "ask for a higher quota in Service Quotas, or lower the workload's limits",
    frozenset(
        {
            "InstanceLimitExceeded",
            "LimitExceeded",
            "LimitExceededException",
            "LimitExceededFault",
            "ParameterLimitExceeded",
            "ParameterMaxVersionLimitExceeded",
            "ServiceQuotaExceededException",
            "VcpuLimitExceeded",
        }
    ),
)
NOT_FOUND = Kind(
    "found nothing of that name",
    False,
    "check the name, the region and the account",
    frozenset(
        {
            "ClusterNotFoundException",
            "ObjectNotFoundException",
            "ParameterNotFound",
            "ResourceNotFound",
            "ResourceNotFoundException",
            "ServiceNotActiveException",
            "ServiceNotFoundException",
        }
    ),
)
DENIED = Kind(
    "was not permitted",
    False,
    "allow the action to the role that Forebay runs as (deployments/iam/policy.json lists all it needs)",
    frozenset({"AccessDenied", "AccessDeniedException", "NotAuthorized", "UnauthorizedOperation"}),
    lapses=True,
)
EXPIRED = Kind(
    "had credentials that are no longer or not valid",
    False,
    "renew the AWS credentials (and check this machine's clock)",
    frozenset(
        {
            "AuthFailure",
            "ExpiredToken",
            "ExpiredTokenException",
            "IncompleteSignature",
            "InvalidClientTokenId",
            "InvalidSignatureException",
            "MissingAuthenticationToken",
            "MissingAuthenticationTokenException",
            "RequestExpired",
            "RequestTimeTooSkewed",
            "SignatureDoesNotMatch",
            "TokenRefreshRequired",
            "UnrecognizedClientException",
        }
    ),
    lapses=True,
)
REFUSED = Kind("was refused", False, "mend what the message names; the same call will be refused again")
UNREADABLE = Kind(
    "was answered with something that is not an AWS answer",
    True,
    "try again; if it lasts, check the endpoint (AWS_ENDPOINT_URL) and proxies between here and there",
)
UNREACHABLE = Kind(
    "got no answer", True, "check the network and the endpoint (AWS_ENDPOINT_URL); the call may or may not have arrived"
)
NO_SETTINGS = Kind(
    "could not be made", False, "set the AWS credentials and region (AWS_PROFILE, AWS_REGION) of Forebay's processes"
)
# Nobody has set any, or the metadata service that hands out a role's did not answer this time: botocore says the same.
NO_CREDENTIALS = Kind(
    "could not be made", True, "set the AWS credentials (AWS_PROFILE), or see why the role's are not handed out"
)

KINDS = (THROTTLED, BUSY, TRANSIENT, NO_CAPACITY, QUOTA, NOT_FOUND, DENIED, EXPIRED)


def kind_of_code(code: str, http_status: int) -> Kind:
    """The meaning of an error code; by the HTTP status where the code is not known."""
    for kind in KINDS:
        if code in kind.codes:
            return kind
    if http_status == 429:
        return THROTTLED
    return TRANSIENT if http_status >= 500 else REFUSED


@contextmanager
def aws_call(call: str, resource: str) -> Iterator[None]:
    """Turns what botocore raises inside the block into OutsideError. `call` as `ecs:UpdateService`."""
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    try:
        yield
    except ClientError as error:
        raise _outside(_kind_of_answer(error), call, resource, _said(error)) from error
    except ResponseParserError as error:
        # An HTML page (of a proxy, or of a service that lacks the operation) where XML was due.
        raise _outside(UNREADABLE, call, resource, str(error).splitlines()[0].rstrip(": ")) from error
    except BotoCoreError as error:
        raise _outside(_kind_of_failure(error), call, resource, str(error)) from error


def not_found(call: str, resource: str) -> OutsideError:
    """For calls that answer an unknown name with an empty list instead of an error."""
    return _outside(NOT_FOUND, call, resource, "empty answer")


def _outside(kind: Kind, call: str, resource: str, said: str) -> OutsideError:
    text = f"{call} on {resource} {kind.what} ({said}): {kind.mend}"
    return OutsideError(text, retryable=kind.retryable, lapses=kind.lapses)


def _said(error: ClientError) -> str:
    answer = error.response.get("Error", {})
    return ": ".join(part for part in (answer.get("Code", ""), answer.get("Message", "")) if part)


def _kind_of_answer(error: ClientError) -> Kind:
    code = error.response.get("Error", {}).get("Code", "")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    message = error.response.get("Error", {}).get("Message", "").lower()
    # Auto Scaling has no code of its own for an unknown group.
    if code == "ValidationError" and "not found" in message:
        return NOT_FOUND
    return kind_of_code(code, status)


def _kind_of_failure(error: BotoCoreError) -> Kind:
    from botocore import exceptions

    settings = (
        exceptions.PartialCredentialsError,
        exceptions.NoRegionError,
        exceptions.InvalidRegionError,
        exceptions.ProfileNotFound,
        exceptions.ConfigNotFound,
        exceptions.SSOError,
        exceptions.TokenRetrievalError,
    )
    # The metadata service that hands out a role's credentials is a network call like any other.
    passing = (
        exceptions.HTTPClientError,
        exceptions.ConnectionError,
        exceptions.IncompleteReadError,
        exceptions.CredentialRetrievalError,
        exceptions.MetadataRetrievalError,
    )
    if isinstance(error, passing):
        return UNREACHABLE
    if isinstance(error, exceptions.NoCredentialsError):
        return NO_CREDENTIALS
    return NO_SETTINGS if isinstance(error, settings) else REFUSED
