"""What the tests of the web door share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from forebay.app.context import Context
from forebay.store import open_store
from tests.support.stores import sqlite_url
from tests.support.web import HandClock, a_context


@pytest.fixture
def ctx(tmp_path: Path) -> Iterator[Context]:
    """A context on a store of its own, whose clock is moved by hand."""
    store = open_store(sqlite_url(tmp_path))
    yield a_context(store, HandClock())
    store.close()
