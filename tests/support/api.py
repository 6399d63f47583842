"""The API as a program calls it: a client whose every request carries somebody's key."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from fastapi.testclient import TestClient

from forebay.app.keys import create_key
from forebay.web.app import create_app
from forebay.web.settings import WebSettings
from tests.support.world import World


def a_key(
    world: World, person: str, *roles: str, entities: Sequence[str] = (), valid: timedelta = timedelta(days=1)
) -> str:
    return create_key(world.ctx, person, roles, entities, valid, "root", "for a test")[0]


def a_caller(world: World, token: str | None = None, **settings: Any) -> TestClient:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return TestClient(create_app(world.ctx, WebSettings(**settings)), headers=headers, follow_redirects=False)


def calling(world: World, person: str, *roles: str, entities: Sequence[str] = (), **settings: Any) -> TestClient:
    """A client that carries a new key of `person`."""
    return a_caller(world, a_key(world, person, *roles, entities=entities), **settings)
