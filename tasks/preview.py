"""The plan as a Prefect artifact: what a person sees in the UI before anything moves."""

from collections.abc import Sequence

from prefect import task
from prefect.artifacts import create_markdown_artifact

from blocks.context import context
from forebay.app.plan import standing
from forebay.domain.change import PolicyChange
from forebay.domain.plan import PlanRefusal, ShapingPlan
from tasks.policy import ONCE


@task(name="preview", **ONCE)
def preview(change: PolicyChange, plans: Sequence[ShapingPlan | PlanRefusal]) -> None:
    """A markdown artifact with every workload's plan, as far as it stands in the store."""
    from forebay.report.markdown import plan_markdown

    plans = standing(context(), change.change, plans)
    if not plans:
        return
    key = "plan-" + "".join(c if c.isalnum() else "-" for c in change.change.lower()).strip("-")
    text = "\n\n".join(plan_markdown(change, plan) for plan in plans)
    create_markdown_artifact(
        text, key=key, description=f"{change.title}, effective {change.effective_at:%Y-%m-%d %H:%M:%S} UTC"
    )
