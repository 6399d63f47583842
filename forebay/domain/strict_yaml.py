"""YAML, strictly: what people cannot have meant is refused by its line."""

from __future__ import annotations

from typing import Any

import yaml


class Refused(yaml.MarkedYAMLError):
    """What a YAML parser lets pass, or fails at with an error of Python's."""


class StrictLoader(yaml.SafeLoader):
    """Plain data that JSON has too, each key once."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge" or not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                raise Refused(problem=f"{key.value[:80]!r} is there twice: keep one", problem_mark=key.start_mark)
            seen.add(key.value)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        kind = node.tag.rpartition(":")[2]
        if kind in ("binary", "omap", "pairs", "set"):
            raise Refused(
                problem=f"there is no {kind} in JSON: write a text, list or mapping", problem_mark=node.start_mark
            )
        try:
            made = super().construct_object(node, deep)
            if isinstance(made, int | str):
                str(made).encode()  # fails for a hexadecimal number of too many digits, and for half a character
        except (ValueError, LookupError, AttributeError) as error:  # the makers of dates and numbers check little
            problem = f"{node.value[:80]!r} is read as {kind}, but is none: mend it, or quote it if it is a text"
            raise Refused(problem=problem, problem_mark=node.start_mark) from error
        return made
