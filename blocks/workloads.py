"""The block that holds the workloads Forebay may shape."""

from prefect.blocks.core import Block
from pydantic import Field

from forebay.domain.workload import WorkloadCatalog


class ForebayWorkloads(Block):
    """The workloads file as a block: targets, units, objectives, limits, prices."""

    _block_type_name = "Forebay workloads"
    _block_type_slug = "forebay-workloads"

    yaml: str = Field(
        title="Workloads (YAML)", description="As in docs/workloads.md", json_schema_extra={"format": "text"}
    )

    def catalog(self) -> WorkloadCatalog:
        """Raises InputError naming field, value and mend."""
        return WorkloadCatalog.parse(self.yaml, "block forebay-workloads")
