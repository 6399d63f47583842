"""The policy decision point over HTTP: which version of a policy is in force, now or at any time."""

from __future__ import annotations

from datetime import datetime, timedelta

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse

from forebay.app.context import Context
from forebay.app.policies import PolicyAnswer, policies_changed, policy_at
from forebay.domain.access import Principal
from forebay.domain.model import digest, to_utc
from forebay.web.answers import Refused, problems
from forebay.web.auth import Doorkeeper, check_query, covering

# An armed policy announces its switch, but it may be armed, deferred or cancelled at any moment. A copy that is kept
# longer than this would break "exact within 1 s".
LONGEST_AGE = timedelta(seconds=1)


def decision_point(ctx: Context, doorkeeper: Doorkeeper) -> APIRouter:
    """`GET /v1/policies/{entity}/{policy}?at=`, `GET /v1/policies?changed_since=`. Without the writers' lock."""
    router = APIRouter()
    reader = Depends(doorkeeper.let("read"))

    def policy_in_force(request: Request) -> Response:
        """200: the version in force at `at` (default: now). 304: as you have it. 404: none. 400: `at` is no time.

        422: a parameter that is not heard, or given twice.
        """
        entity, policy = request.path_params["entity"], request.path_params["policy"]
        covering(doorkeeper.read(request), entity)
        check_query(request, ["at"])
        at = request.query_params.get("at")
        answer = policy_at(ctx, entity, policy, None if at is None else _time("at", at))
        headers = {"Cache-Control": _cache_control(answer)}
        if answer.version is None:
            raise Refused(404, answer.nothing, headers=headers)
        content = answer.content
        # Weak: `at` differs in every answer, what it says does not.
        headers["ETag"] = f'W/"{digest(content)[:32]}"'
        if headers["ETag"] in [tag.strip() for tag in request.headers.get("if-none-match", "").split(",")]:
            return Response(status_code=304, headers=headers)
        return JSONResponse(content | {"at": answer.at.isoformat()}, headers=headers)

    # A plain route: FastAPI's reading of parameters costs more than the answer.
    router.add_route("/v1/policies/{entity}/{policy}", policy_in_force, ["GET"])

    @router.get("/v1/policies", responses=problems(400, 401, 403, 422, 429, 500, 503))
    def policies_changed_since(changed_since: str, who: Principal = reader) -> Response:
        """200: what is in force of each policy whose answer changed since. 400: `changed_since` is no time."""
        now, answers = policies_changed(ctx, _time("changed_since", changed_since))
        content = {
            "at": now.isoformat(),
            "policies": [answer.content for answer in answers if who.covers(answer.entity)],
        }
        return JSONResponse(content, headers={"Cache-Control": "no-store"})

    return router


def _cache_control(answer: PolicyAnswer) -> str:
    """Whole seconds are all that max-age can say: less than one left to the switch means not to be kept at all."""
    left = LONGEST_AGE
    if answer.next_switch_at is not None:
        left = min(left, answer.next_switch_at - answer.at)
    return f"max-age={left // timedelta(seconds=1)}"


def _time(name: str, text: str) -> datetime:
    """Raises Refused, naming the mend, for anything but an ISO 8601 time with a zone."""
    try:
        return to_utc(datetime.fromisoformat(text))
    except (ValueError, OverflowError) as error:
        mend = "write it as 2026-11-26T09:00:00Z, or with an offset, its + as %2B: 2026-11-26T09:00:00%2B01:00"
        raise Refused(400, f"{name}={text!r} is not a time with a zone", (str(error), mend)) from error
