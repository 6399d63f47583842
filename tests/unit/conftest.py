"""What the tests of a change's life start from."""

from collections.abc import Iterator

import pytest

from tests.support.world import World


@pytest.fixture
def world() -> Iterator[World]:
    """A service of 4 units under a count lever."""
    with World() as made:
        yield made
