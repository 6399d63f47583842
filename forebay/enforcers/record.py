"""What is pushed of a policy version in force: the same JSON to every enforcer. Pure."""

from __future__ import annotations

import json

from forebay.domain.policy import PolicyVersion


def delivery_id(version: PolicyVersion) -> str:
    """The same for every delivery of it, so that receivers can drop what they know."""
    return f"{version.entity}/{version.policy}/{version.version}"


def to_json(version: PolicyVersion) -> str:
    """Keys sorted, so that the same version always gives the same text. Raises ValueError if it never takes force."""
    if version.in_force_from is None:
        raise ValueError(
            f"{version.entity}/{version.policy} version {version.version} is not armed or was withdrawn: "
            "only a version in force may be pushed"
        )
    return json.dumps(
        {
            "entity": version.entity,
            "policy": version.policy,
            "version": version.version,
            "change": version.change,
            "document": version.document,
            "in_force_from": version.in_force_from.isoformat(),
        },
        sort_keys=True,
        default=dict,
    )
