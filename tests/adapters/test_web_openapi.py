"""Every door against requests made up from /openapi.json: never a 5xx, never an answer the document does not name.

`FOREBAY_API_EXAMPLES=500` looks longer than the few requests a route that every run makes; so does `make api`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from forebay.web.app import create_app
from forebay.web.settings import WebSettings
from tests.support.api import a_key
from tests.support.world import World, a_request

EXAMPLES = int(os.environ.get("FOREBAY_API_EXAMPLES", "5"))
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
NAMES = ("CHG-1", "CHG-2")
bearer: dict[str, str] = {}


@pytest.fixture(scope="module")
def api() -> Iterator[Any]:
    """The application on a real store, with a change under way and one that waits for its plan."""
    with World() as world:
        world.submit()
        world.submit(a_request(change=NAMES[1], policy="tier"))
        bearer["Authorization"] = f"Bearer {a_key(world, 'root', 'admin')}"
        yield schemathesis.openapi.from_asgi(
            "/openapi.json", create_app(world.ctx, WebSettings(requests_per_minute=10**6))
        )


def test_no_answer_is_a_failure_or_undocumented(api: Any) -> None:
    operations = [result.ok() for result in api.get_all_operations()]
    assert len(operations) >= 18
    answers: Counter[int] = Counter()
    for operation in operations:
        valid, spoilt = (operation.as_strategy(generation_mode=mode) for mode in GenerationMode)

        @given(case=valid | spoilt)
        @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        def answers_as_documented(case: schemathesis.Case) -> None:
            # A made-up name is of no change: half of the requests go to one that is there.
            name = str(case.path_parameters.get("name", ""))
            if name and len(name) % 2:
                case.path_parameters["name"] = NAMES[len(name) // 2 % 2]
            answers[case.call_and_validate(checks=CHECKS, headers=bearer).status_code] += 1

        answers_as_documented()
    by_code = dict(sorted(answers.items()))
    print(f"\n{sum(answers.values())} requests to {len(operations)} operations; by answer {by_code}")
