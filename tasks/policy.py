"""How every task meets the outside: nothing is cached, and only what can heal is tried again."""

from typing import Any

from prefect.cache_policies import NO_CACHE

from forebay.domain.errors import OutsideError


def can_heal(_task: Any, _run: Any, state: Any) -> bool:
    """Retry condition: the error's own word decides."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, OutsideError) and error.retryable


# Done again, these do no harm: what they write is one transaction that looks at what the store holds first, or a run
# under a key that makes one. Writes to a target are the controller's, which retries them itself, after reading.
REPEATABLE: dict[str, Any] = {
    "cache_policy": NO_CACHE,
    "persist_result": False,
    "retries": 3,
    "retry_delay_seconds": [2, 5, 15],
    "retry_condition_fn": can_heal,
    # Well above a forecast's time budget: only what hangs is ended, so that it does not keep one of the runner's slots.
    "timeout_seconds": 600,
}
ONCE: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False}
