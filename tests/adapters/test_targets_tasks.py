"""What the tasks of an ECS service tell of why they stopped, as named rows."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from forebay.targets.causes import newest_first
from forebay.targets.tasks import stop_reasons

AT = datetime(2026, 3, 2, tzinfo=UTC)


def stopped(code, reason, **more):
    return {"stoppedAt": AT, "stopCode": code, "stoppedReason": reason, **more}


@pytest.mark.parametrize(
    ("task", "cause"),
    [
        pytest.param(
            stopped("TaskFailedToStart", "CannotPullContainerError: failed to resolve ref web:2: not found"),
            "image pull failed: CannotPullContainerError: failed to resolve ref web:2: not found",
            id="an image that is not there",
        ),
        pytest.param(
            stopped(
                "TaskFailedToStart", "Task failed to start", containers=[{"reason": "CannotPullContainerError: no"}]
            ),
            "image pull failed: Task failed to start; CannotPullContainerError: no",
            id="on an instance its container says why",
        ),
        pytest.param(
            stopped(
                "EssentialContainerExited",
                "Essential container in task exited",
                containers=[{"exitCode": 0}, {"exitCode": 137, "reason": "OutOfMemoryError: killed"}],
            ),
            "Essential container in task exited; exit code 137; OutOfMemoryError: killed",
            id="one that dies",
        ),
        pytest.param(
            stopped("ServiceSchedulerInitiated", "Task failed ELB health checks in (target-group web)"),
            "health checks failed: Task failed ELB health checks in (target-group web)",
            id="one that is not healthy",
        ),
        pytest.param(
            stopped("ServiceSchedulerInitiated", "Scaling activity initiated by (deployment fail/1)"),
            None,
            id="fewer are wanted",
        ),
        pytest.param(stopped("UserInitiated", "Task stopped by user"), None, id="somebody stopped it"),
        pytest.param({"stopCode": "TaskFailedToStart", "stoppedReason": "x"}, None, id="it is about to stop"),
    ],
)
def test_why_a_task_stopped(task, cause):
    assert newest_first(stop_reasons([task]), AT) == (() if cause is None else (cause,))
