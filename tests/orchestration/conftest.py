"""One stack for the whole session: starting it takes longer than most tests on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.stack import LiveStack, live_stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[LiveStack]:
    assert pytestconfig.cache is not None
    with live_stack(tmp_path_factory.mktemp("stack"), pytestconfig.cache.mkdir("prefect-server")) as running:
        yield running
