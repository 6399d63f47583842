"""The block that says which AWS region and endpoint Forebay works in."""

from prefect.blocks.core import Block
from pydantic import Field

from forebay.aws import AwsClients


class ForebayAws(Block):
    """Region and endpoint. Credentials come from the role or environment the runs have: none are stored here."""

    _block_type_name = "Forebay AWS"
    _block_type_slug = "forebay-aws"

    region: str | None = Field(default=None, title="Region", description="None: that of the AWS settings")
    endpoint_url: str | None = Field(default=None, title="Endpoint", description="Only for a stand-in of AWS")

    def clients(self) -> AwsClients:
        """Clients of the AWS services Forebay calls."""
        return AwsClients(self.region, self.endpoint_url)
