"""Objects of a JSON Schema that have the members it names and no others, where it does not say more of them.

By the specification an object may have any further member. Who writes a schema for an answer means those that stand
there, and llama.cpp and vLLM take it so; a small model would add members of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

Node = dict[str, Any]
"""A schema that is an object."""

TOLD: Final = (
    *("additionalProperties", "unevaluatedProperties", "patternProperties", "propertyNames"),
    *("minProperties", "maxProperties"),
)
"""Keywords by which a schema says what else an object may have."""
IN_PLACE: Final = ("$ref", "allOf", "anyOf", "oneOf")
"""Keywords whose schemas hold for the same value, and so may name members or items of it."""
ABOUT_MEMBERS: Final = ("properties", "required", *TOLD)


def close_objects(nodes: Sequence[Node], find_parts: Callable[[Node], Iterable[Any]]) -> None:
    """Rewrite those of the `nodes`, which are all schemas of one document, that can be closed without shutting out what
    another one names. `find_parts` gives the schemas that hold for the same value as a node, by `IN_PLACE`."""
    joined: set[int] = set()
    """Those that hold for a value together with others."""
    waiting = [node for node in nodes if _joins(node)]
    while waiting:
        for part in find_parts(waiting.pop()):
            if isinstance(part, dict) and id(part) not in joined:
                joined.add(id(part))
                waiting.append(part)
    for node in nodes:
        if id(node) not in joined and _names_all(node):
            node["additionalProperties"] = False


def _joins(node: Node) -> bool:
    """Whether several schemas hold for a value of this one."""
    there = [keyword for keyword in IN_PLACE if keyword in node]
    beside = any(keyword in node for keyword in ABOUT_MEMBERS)
    members = node.get("allOf")
    return bool(there) and (len(there) > 1 or beside or (isinstance(members, list) and len(members) > 1))


def _names_all(node: Node) -> bool:
    """Whether all that an object must have stands in it, and nothing is said of the rest."""
    named, required = node.get("properties"), node.get("required", [])
    if not isinstance(named, dict) or not named or not isinstance(required, list):
        return False
    return all(name in named for name in required) and not any(keyword in node for keyword in (*TOLD, *IN_PLACE))
