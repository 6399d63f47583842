"""The stack, shared by the whole session: a fixture that two modules import would be two stacks."""

from tests.support.stack import stack

__all__ = ["stack"]
