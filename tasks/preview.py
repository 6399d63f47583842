"""The plan as a Prefect artifact: what a person sees in the UI before anything moves."""

from collections.abc import Sequence

from prefect import task
from prefect.artifacts import create_markdown_artifact

from forebay.domain.change import PolicyChange
from forebay.domain.plan import PlanRefusal, ShapingPlan
from tasks.policy import ONCE


@task(name="preview", **ONCE)
def preview(change: PolicyChange, plans: Sequence[ShapingPlan | PlanRefusal]) -> None:
    """A markdown artifact with every workload's plan."""
    from forebay.report.markdown import plan_markdown

    key = "plan-" + "".join(c if c.isalnum() else "-" for c in change.change.lower()).strip("-")
    text = "\n\n".join(plan_markdown(change, plan) for plan in plans)
    create_markdown_artifact(
        text, key=key, description=f"{change.title}, effective {change.effective_at:%Y-%m-%d %H:%M:%S} UTC"
    )
