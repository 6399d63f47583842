"""What /openapi.json says beyond what FastAPI finds out: bodies that are read by our own reader, and problems."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from forebay.domain.change import ChangeRequest
from forebay.domain.ticket import TicketDelivery
from forebay.web.answers import Problem, problems

BODIES: list[type[BaseModel]] = []
SUFFIX = "-Input"

# The decision point is a plain route, which FastAPI does not describe.
POLICY_IN_FORCE = {
    "summary": "Policy In Force",
    "description": "Which version of a policy is in force at `at`, by default now.",
    "parameters": [
        {"name": "entity", "in": "path", "required": True, "schema": {"type": "string"}},
        {"name": "policy", "in": "path", "required": True, "schema": {"type": "string"}},
        {"name": "at", "in": "query", "schema": {"type": "string"}, "example": "2026-11-26T09:00:00Z"},
    ],
    "security": [{"HTTPBearer": []}],
    "responses": {
        "200": {
            "description": "The version in force.",
            "content": {"application/json": {"schema": {"type": "object"}}},
        },
        "304": {"description": "As you have it."},
        **{str(status): answer for status, answer in problems(400, 401, 403, 404, 422, 429, 500, 503).items()},
    },
}


def body_of(model: type[BaseModel], example: dict[str, Any]) -> dict[str, Any]:
    """`openapi_extra` of a route that reads a `model`."""
    if model not in BODIES:
        BODIES.append(model)
    schema = {"$ref": f"#/components/schemas/{model.__name__}{SUFFIX}"}
    content = {"application/json": {"schema": schema, "examples": {"one": {"value": example}}}}
    return {"requestBody": {"required": True, "content": content}}


def describe(app: FastAPI) -> None:
    """Complete the application's OpenAPI document."""
    found = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            _add_models(found())
        return found()

    app.openapi = openapi  # type: ignore[method-assign]


def _add_models(document: dict[str, Any]) -> None:
    bodies: list[type[BaseModel]] = [*BODIES, TicketDelivery]
    models: list[tuple[type[BaseModel], Any]] = [(model, "validation") for model in bodies]
    _, definitions = models_json_schema(models, ref_template="#/components/schemas/{model}" + SUFFIX)
    schemas = document["components"]["schemas"]
    schemas |= {f"{name}{SUFFIX}": schema for name, schema in definitions["$defs"].items()}
    document["paths"]["/v1/policies/{entity}/{policy}"] = {"get": POLICY_IN_FORCE}
    schemas["Problem"] = Problem.model_json_schema(mode="serialization")
    # Whoever sends a change is who asks for it: the name comes from the key.
    asked = schemas[f"{ChangeRequest.__name__}{SUFFIX}"]
    asked["properties"].pop("requested_by", None)
    asked["required"].remove("requested_by")
