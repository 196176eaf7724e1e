"""JSON Schemas made ready for llguidance: what it would leave out is refused, what it reads otherwise is rewritten.

The keywords are those of draft 2020-12; what older drafts wrote in other words is translated. Keywords that a draft
does not know are annotations, as the specification has it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote

from core.decoding.masks.closing import IN_PLACE, Node, close_objects

Json = Any
"""A value as `json.loads` makes it."""

MOST_LEVELS: Final = 110
"""Levels that a schema may be nested; the library's reader of JSON stops at 128, and puts some around it."""
LARGEST_EXACT_INTEGER: Final = 2**53
"""The largest number up to which the library, which counts in doubles, tells all whole numbers apart."""
WRITABLE: Final = frozenset("\b\t\n\f\r")
"""Control characters that have an escape of one letter; the masks allow no `\\u` escapes, by which the name of a
member could be written in a second way."""
MOST_COMPARED_MEMBERS: Final = 300
"""Members of `oneOf` that are compared in pairs."""
MOST_COMPARED_LEVELS: Final = 4
DRAFTS: Final = frozenset(
    {
        *(f"json-schema.org/draft-0{number}/schema" for number in (3, 4, 6, 7)),
        *(f"json-schema.org/draft/{year}/schema" for year in ("2019-09", "2020-12")),
        "json-schema.org/schema",
    }
)

IN_ONE: Final = ("items", "additionalProperties")
IN_LISTS: Final = ("allOf", "anyOf", "oneOf", "prefixItems")
IN_MEMBERS: Final = ("properties", "patternProperties")
NUMERIC: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
UNSAID: Final = ("$schema", "$vocabulary", "$dynamicAnchor", "$recursiveAnchor", "additionalItems")
"""Keywords that hold nothing by themselves, once a schema has been rewritten."""
ANYTHING: Final[tuple[Json, ...]] = (True, {})


class SchemaRefused(Exception):
    """A schema that cannot be enforced; a sentence that names the keyword and where it stands."""

    def __init__(self, keyword: str, place: str, why: str) -> None:
        where = f" at {place}" if place else ""
        super().__init__(f"The schema's keyword `{keyword}`{where} {why}." if keyword else f"The schema{where} {why}.")


def prepare_schema(text: str) -> Json:
    """The schema as the library is to have it. Raises SchemaRefused."""
    try:
        root = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise SchemaRefused("", "", f"is nested more than {MOST_LEVELS} levels deep") from None
    except ValueError as error:
        raise SchemaRefused("", "", f"is no JSON: {error}") from error
    if root is True:
        return {}
    if not isinstance(root, dict):
        raise SchemaRefused("", "", "must be a JSON object")
    if _depth(root) > MOST_LEVELS:
        raise SchemaRefused("", "", f"is nested more than {MOST_LEVELS} levels deep")
    _SchemaPreparation(root).run()
    return root


class _SchemaPreparation:
    """Goes over every schema that can be reached from the root, and rewrites it in place."""

    def __init__(self, root: Node) -> None:
        self._root = root
        self._seen: set[int] = set()
        self._nodes: list[Node] = []
        self._waiting: list[tuple[Json, str]] = [(root, "")]
        self._anchors: dict[str, Node] | None = None

    def run(self) -> None:
        # A key of the library's own, by which a client could switch enforcing off.
        self._root.pop("x-guidance", None)
        self._root.pop("$id", None)
        while self._waiting:
            node, place = self._waiting.pop()
            if isinstance(node, dict) and id(node) not in self._seen:
                self._seen.add(id(node))
                self._nodes.append(node)
                self._rewrite(node, place)
                self._waiting.extend(self._within(node, place))
        close_objects(self._nodes, self._find_parts)

    def _find_parts(self, node: Node) -> Iterator[Json]:
        """The schemas that hold for the same value."""
        if "$ref" in node:
            yield self._target(node["$ref"], "")
        for keyword in IN_PLACE:
            members = node.get(keyword)
            yield from members if isinstance(members, list) else ()

    def _rewrite(self, node: Node, place: str) -> None:
        if str(node.get("$schema", "json-schema.org/schema")).split("://")[-1].rstrip("#/") not in DRAFTS:
            raise SchemaRefused("$schema", place, "names a dialect that is not known here")
        _rewrite_older_drafts(node)
        for keyword in UNSAID:
            node.pop(keyword, None)
        _rewrite_unevaluated(node)
        for keyword, is_vain in UNENFORCED.items():
            if keyword in node:
                if not is_vain(node):
                    raise SchemaRefused(keyword, place, "cannot be enforced here; leave it out")
                del node[keyword]
        _check_values(node, place)
        _settle_least_members(node, place)
        if "format" in node and "string" not in _types(node):
            # It says something of texts alone.
            del node["format"]
        self._settle_one_of(node)

    def _within(self, node: Node, place: str) -> Iterator[tuple[Json, str]]:
        """The schemas that stand in one, and the one that it refers to."""
        if "$ref" in node:
            yield self._target(node["$ref"], place), str(node["$ref"])
        for keyword in IN_ONE:
            yield node.get(keyword), _joined(place, keyword)
        for keyword in IN_LISTS:
            members = node.get(keyword)
            for number, member in enumerate(members if isinstance(members, list) else ()):
                yield member, _joined(place, f"{keyword}[{number}]")
        for keyword in IN_MEMBERS:
            named = node.get(keyword)
            for name, member in named.items() if isinstance(named, dict) else ():
                yield member, _joined(place, f"{keyword}.{name}")

    def _target(self, reference: Json, place: str) -> Json:
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise SchemaRefused("$ref", place, "may refer to a part of the same schema alone, with `#` in front")
        if reference[1:2] not in ("", "/"):
            return self._anchored(reference[1:], place)
        found: Json = self._root
        for step in filter(None, unquote(reference[1:]).split("/")):
            name = step.replace("~1", "/").replace("~0", "~")
            if isinstance(found, dict) and name in found:
                found = found[name]
            elif isinstance(found, list) and name.isdigit() and int(name) < len(found):
                found = found[int(name)]
            else:
                raise SchemaRefused("$ref", place, f"refers to {reference[:80]!r}, which is not in the schema")
        return found

    def _anchored(self, name: str, place: str) -> Json:
        if self._anchors is None:
            self._anchors = {
                str(node["$anchor"]): node
                for node in _values(self._root)
                if isinstance(node, dict) and "$anchor" in node
            }
        if name not in self._anchors:
            raise SchemaRefused("$ref", place, f"refers to {'#' + name[:80]!r}, which is not in the schema")
        return self._anchors[name]

    def _settle_one_of(self, node: Node) -> None:
        """Where no value is of two of them, one of them is any of them, which the library enforces."""
        members = node.get("oneOf")
        if not isinstance(members, list) or len(members) > MOST_COMPARED_MEMBERS:
            return
        views = [self._views(member) for member in members]
        pairs = ((mine, other) for place, mine in enumerate(views) for other in views[place + 1 :])
        if not all(self._are_apart(mine, other, MOST_COMPARED_LEVELS) for mine, other in pairs):
            return
        if "anyOf" in node or not members:
            node.setdefault("allOf", []).append({"anyOf": members})
            del node["oneOf"]
            return
        renamed = {("anyOf" if keyword == "oneOf" else keyword): value for keyword, value in node.items()}
        node.clear()
        node.update(renamed)

    def _views(self, member: Json) -> list[Json]:
        """Schemas that all hold for what a member describes: itself, and what it refers to."""
        views = [member]
        while isinstance(member, dict) and "$ref" in member and len(views) < MOST_COMPARED_LEVELS:
            member = self._target(member["$ref"], "")
            views.append(member)
        return views

    def _are_apart(self, mine: Sequence[Json], other: Sequence[Json], depth: int) -> bool:
        return any(self._differ(a, b, depth) for a in mine for b in other)

    def _differ(self, a: Json, b: Json, depth: int) -> bool:
        """Whether it is plain that no value is of both."""
        if a is False or b is False:
            return True
        if not isinstance(a, dict) or not isinstance(b, dict) or not depth:
            return False
        if not _types(a) & _types(b):
            return True
        values, others = _listed(a), _listed(b)
        if values is not None and others is not None:
            return not values & others
        if _types(a) & _types(b) != {"object"}:
            return False
        names = {name for node in (a, b) for name in _names(node.get("required"))}
        return any(
            self._are_apart(self._views(_member(a, name)), self._views(_member(b, name)), depth - 1) for name in names
        )


def _rewrite_older_drafts(node: Node) -> None:
    if isinstance(node.get("items"), list):
        renamed = {("prefixItems" if keyword == "items" else keyword): value for keyword, value in node.items()}
        if "additionalItems" in node:
            renamed["items"] = node["additionalItems"]
        node.clear()
        node.update(renamed)
    for exclusive, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if node.get(exclusive) is True and bound in node:
            node[exclusive] = node.pop(bound)
        elif isinstance(node.get(exclusive), bool):
            del node[exclusive]


def _rewrite_unevaluated(node: Node) -> None:
    """Without schemas that hold for the same value, what is not evaluated is what is additional."""
    for unevaluated, additional in (("unevaluatedProperties", "additionalProperties"), ("unevaluatedItems", "items")):
        if unevaluated in node and not any(keyword in node for keyword in IN_PLACE):
            node.setdefault(additional, node[unevaluated])
            del node[unevaluated]


def _is_unique_already(node: Node) -> bool:
    most = node.get("maxItems")
    return node["uniqueItems"] is False or (isinstance(most, int) and most <= 1)


UNENFORCED: Final[Mapping[str, Callable[[Node], bool]]] = {
    "not": lambda node: node["not"] is False,
    "if": lambda node: "then" not in node and "else" not in node,
    "then": lambda node: "if" not in node,
    "else": lambda node: "if" not in node,
    "dependentSchemas": lambda node: node["dependentSchemas"] == {},
    "dependentRequired": lambda node: node["dependentRequired"] == {},
    "dependencies": lambda node: node["dependencies"] == {},
    "propertyNames": lambda node: node["propertyNames"] in (*ANYTHING, {"type": "string"}),
    "contains": lambda node: node.get("minContains") == 0 and "maxContains" not in node,
    "minContains": lambda node: "contains" not in node,
    "maxContains": lambda node: "contains" not in node,
    "uniqueItems": _is_unique_already,
    "unevaluatedProperties": lambda node: node["unevaluatedProperties"] in ANYTHING,
    "unevaluatedItems": lambda node: node["unevaluatedItems"] in ANYTHING,
    "$dynamicRef": lambda _: False,
    "$recursiveRef": lambda _: False,
    "$id": lambda _: False,
    "extends": lambda _: False,
    "disallow": lambda _: False,
    "divisibleBy": lambda _: False,
}
"""Keywords that no mask enforces, with what tells that one changes nothing in its schema."""


def _check_values(node: Node, place: str) -> None:
    """Raises SchemaRefused for numbers and texts that the masks would not write as they stand."""
    for keyword in NUMERIC:
        if keyword in node and not _is_exact(node[keyword]):
            raise SchemaRefused(keyword, place, "holds a number that cannot be enforced exactly; keep to 2^53")
    _check_narrow_range(node, place)
    for keyword in ("const", "enum"):
        for value in _values(node.get(keyword)):
            if not _is_exact(value):
                raise SchemaRefused(keyword, place, "holds a number that cannot be enforced exactly; keep to 2^53")
            if not all(map(_is_writable, (value, *value) if isinstance(value, dict) else (value,))):
                raise SchemaRefused(keyword, place, "holds a control character that the masks do not write")
    for keyword in ("properties", "required"):
        if not all(map(_is_writable, _names(node.get(keyword)))):
            raise SchemaRefused(keyword, place, "names a member with a control character, which the masks do not write")


def _check_narrow_range(node: Node, place: str) -> None:
    """Between two bounds of less than one the library lets a whole number through that is excluded."""
    if node.get("type") == "integer":
        return
    bounds = {keyword: node[keyword] for keyword in NUMERIC[:4] if isinstance(node.get(keyword), int | float)}
    lower = [value for keyword, value in bounds.items() if "inimum" in keyword]
    upper = [value for keyword, value in bounds.items() if "aximum" in keyword]
    if not lower or not upper or min(upper) - max(lower) >= 1:
        return
    for keyword, value in bounds.items():
        if keyword.startswith("exclusive") and value == int(value):
            raise SchemaRefused(keyword, place, "cannot be enforced so near to the other bound")


def _settle_least_members(node: Node, place: str) -> None:
    """The library counts a name twice that is written twice, so that two members may turn out to be one."""
    least = node.get("minProperties")
    if not isinstance(least, int):
        return
    if least <= len(set(_names(node.get("required")))):
        del node["minProperties"]
    elif least > 1:
        raise SchemaRefused("minProperties", place, "cannot be enforced beyond the members that are `required`")


def _types(node: Node) -> frozenset[str]:
    """The types that a value of the schema may have; a whole number is a number."""
    said = node.get("type")
    names = [said] if isinstance(said, str) else said if isinstance(said, list) else None
    listed = _listed(node)
    if names is None and listed is not None:
        names = [kind for kind, _ in listed]
    if names is None:
        return frozenset({"null", "boolean", "number", "string", "array", "object"})
    return frozenset("number" if name == "integer" else str(name) for name in names)


def _listed(node: Node) -> frozenset[tuple[str, str]] | None:
    """The values that the schema lists, each with its type; None where it lists none."""
    values = [node["const"]] if "const" in node else node.get("enum")
    return frozenset(map(_told_apart, values)) if isinstance(values, list) else None


def _told_apart(value: Json) -> tuple[str, str]:
    match value:
        case bool():
            return "boolean", str(value)
        case int() | float():
            return "number", repr(float(value))
        case str():
            return "string", value
        case None:
            return "null", ""
        case list():
            return "array", json.dumps([_told_apart(each) for each in value])
        case _:
            return "object", json.dumps(sorted((name, _told_apart(each)) for name, each in value.items()))


def _member(node: Node, name: str) -> Json:
    named = node.get("properties")
    return named.get(name, True) if isinstance(named, dict) else True


def _names(value: Json) -> list[str]:
    return [name for name in value if isinstance(name, str)] if isinstance(value, list | dict) else []


def _values(value: Json) -> Iterator[Json]:
    """The value and all that is in it."""
    waiting = [value]
    while waiting:
        yield (each := waiting.pop())
        waiting.extend(each.values() if isinstance(each, dict) else each if isinstance(each, list) else ())


def _is_exact(value: Json) -> bool:
    match value:
        case bool():
            return True
        case int():
            return abs(value) <= LARGEST_EXACT_INTEGER
        case float():
            return math.isfinite(value)
        case _:
            return True


def _is_writable(value: Json) -> bool:
    return not isinstance(value, str) or all(
        letter in WRITABLE or (letter >= " " and letter != "\x7f") for letter in value
    )


def _depth(value: Json) -> int:
    deepest, level = 0, [value]
    while level:
        deepest += 1
        if deepest > MOST_LEVELS:
            break
        level = [
            inner
            for each in level
            for inner in (each.values() if isinstance(each, dict) else each if isinstance(each, list) else ())
            if isinstance(inner, dict | list)
        ]
    return deepest


def _joined(place: str, step: str) -> str:
    return f"{place}.{step}" if place else step


def _refuse_constant(name: str) -> Json:
    raise ValueError(f"{name} is no number")
