"""How the parameters of a flow look in Prefect's run form."""

from typing import Any

from pydantic import Field


def shown(title: str, *examples: Any) -> Any:
    """For `Annotated`: a parameter's label, and what may stand in it. Its help is its line in the flow's docstring.

    Prefect titles every parameter by its name, and only what a schema holds beside that wins over it.
    """
    return Field(examples=list(examples), json_schema_extra={"title": title})
