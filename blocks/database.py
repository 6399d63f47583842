"""The block that says where Forebay's store is."""

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from forebay.store import SqlStore, open_store


class ForebayDatabase(Block):
    """Where changes, plans, policies and the audit log are kept."""

    _block_type_name = "Forebay database"
    _block_type_slug = "forebay-database"

    url: SecretStr = Field(
        title="Database URL",
        description="postgresql+psycopg://user:password@host/forebay, or sqlite:///file.db for a trial",
    )

    def store(self) -> SqlStore:
        """The store, opened. Raises InputError and OutsideError."""
        return open_store(self.url.get_secret_value())
