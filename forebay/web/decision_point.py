"""The policy decision point over HTTP: which version of a policy is in force, now or at any time."""

from __future__ import annotations

from datetime import datetime, timedelta

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from forebay.app.context import Context
from forebay.app.policies import PolicyAnswer, policy_at
from forebay.domain.model import digest, to_utc
from forebay.web.answers import Refused

# An armed policy announces its switch, but it may be armed, deferred or cancelled at any moment. A copy that is kept
# longer than this would break "exact within 1 s".
LONGEST_AGE = timedelta(seconds=1)


def decision_point(ctx: Context) -> APIRouter:
    """`GET /v1/policies/{entity}/{policy}?at=`. Reads without the writers' lock."""
    router = APIRouter()

    @router.get("/v1/policies/{entity}/{policy}")
    def policy_in_force(entity: str, policy: str, request: Request, at: str | None = None) -> Response:
        """200: the version in force at `at` (default: now). 304: as you have it. 404: none. 400: `at` is no time."""
        answer = policy_at(ctx, entity, policy, None if at is None else _time(at))
        headers = {"Cache-Control": _cache_control(answer)}
        version = answer.version
        if version is None:
            raise Refused(404, _nothing(entity, policy, answer), headers=headers)
        next_switch = answer.next_switch_at and answer.next_switch_at.isoformat()
        content = version.model_dump(mode="json", include={"entity", "policy", "kind", "version", "document", "change"})
        content |= {"in_force_from": _iso(version.in_force_from), "next_switch_at": next_switch}
        # Weak: `at` differs in every answer, what it says does not.
        headers["ETag"] = f'W/"{digest(content)[:32]}"'
        if headers["ETag"] in [tag.strip() for tag in request.headers.get("if-none-match", "").split(",")]:
            return Response(status_code=304, headers=headers)
        return JSONResponse(content | {"at": _iso(answer.at)}, headers=headers)

    return router


def _cache_control(answer: PolicyAnswer) -> str:
    """Whole seconds are all that max-age can say: less than one left to the switch means not to be kept at all."""
    left = LONGEST_AGE
    if answer.next_switch_at is not None:
        left = min(left, answer.next_switch_at - answer.at)
    return f"max-age={left // timedelta(seconds=1)}"


def _time(text: str) -> datetime:
    """Raises Refused, naming the mend, for anything but an ISO 8601 time with a zone."""
    try:
        return to_utc(datetime.fromisoformat(text))
    except (ValueError, OverflowError) as error:
        mend = "write it as 2026-11-26T09:00:00Z, or with an offset, its + as %2B: 2026-11-26T09:00:00%2B01:00"
        raise Refused(400, f"at={text!r} is not a time with a zone", (str(error), mend)) from error


def _nothing(entity: str, policy: str, answer: PolicyAnswer) -> str:
    start = f"no version of policy {policy!r} of {entity!r} is in force at {_iso(answer.at)}"
    if answer.next_switch_at is None:
        return f"{start}, and none is armed"
    return f"{start}; the next one takes force at {_iso(answer.next_switch_at)}"


def _iso(at: datetime | None) -> str:
    assert at is not None, "a version in force has its start"
    return at.isoformat()
