"""Plans and refusals as JSON, for machines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from forebay.domain.plan import PlanRefusal, ShapingPlan


def document(result: ShapingPlan | PlanRefusal) -> dict[str, Any]:
    """Everything the plan says, its hash, and which of the two it is (`plan` or `refusal`). Times are ISO, UTC."""
    body = result.model_dump(mode="json")
    if isinstance(result, ShapingPlan):
        return {"result": "plan", "hash": result.hash} | body
    return {"result": "refusal", "text": result.text} | body


def documents_json(
    results: Sequence[ShapingPlan | PlanRefusal],
    what_if: Sequence[ShapingPlan | PlanRefusal] = (),
    refused: Mapping[str, str] = {},
) -> str:
    """`{"workloads": [...]}`, one document a workload of the change; with a what-if also `"what_if": [...]`.

    `refused`: which of the two the change rules say no to (`workloads`, `what_if`), in words; given where there is one.
    """
    documents: dict[str, Any] = {"workloads": [document(result) for result in results]}
    if what_if:
        documents["what_if"] = [document(result) for result in what_if]
    if refused:
        documents["refused"] = dict(refused)
    return json.dumps(documents, indent=2, ensure_ascii=False)
