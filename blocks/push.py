"""The block that says where policies that came into force are pushed to."""

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from forebay.aws import AwsClients
from forebay.ports import Enforcer
from forebay.wiring import make_enforcers


class ForebayPush(Block):
    """SSM parameter, EventBridge event, SNS topic, HTTP callback: each that is filled in gets every policy."""

    _block_type_name = "Forebay push"
    _block_type_slug = "forebay-push"

    ssm_prefix: str | None = Field(default=None, title="SSM prefix", description="For example /forebay/policies")
    event_bus: str | None = Field(default=None, title="EventBridge bus", description="Its name, for example default")
    sns_topic: str | None = Field(default=None, title="SNS topic", description="Its ARN")
    callback_url: str | None = Field(default=None, title="Callback", description="https://host/path")
    callback_secret: SecretStr | None = Field(default=None, title="Callback secret", description="Signs the posts")
    callback_inside: list[str] = Field(
        default=[], title="Inside hosts", description="Hosts that may be private and unencrypted"
    )

    def enforcers(self, aws: AwsClients) -> tuple[Enforcer, ...]:
        """Raises InputError for a callback that may not be made."""
        return make_enforcers(
            aws,
            ssm_prefix=self.ssm_prefix,
            event_bus=self.event_bus,
            sns_topic=self.sns_topic,
            callback_url=self.callback_url,
            callback_secret=self.callback_secret,
            callback_inside=self.callback_inside,
        )
