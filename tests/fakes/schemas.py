"""JSON Schemas of the kinds that public benchmarks of structured output hold, made at random."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Final

Schema = dict[str, Any]

WORDS: Final = (
    "name",
    "id",
    "title",
    "city",
    "tags",
    "price",
    "when",
    "é",
    "first name",
    "a/b",
    'say "x"',
    "$ref",
    "type",
)
PATTERNS: Final = (
    "^[A-Z]{2}-[0-9]{3,5}$",
    "^(red|green|blue)$",
    "^[a-z_][a-z0-9_]{0,15}$",
    "[0-9]",
    r"^\d{4}-\d{2}$",
    "^x|y$",
)
FORMATS: Final = ("date", "time", "date-time", "email", "uuid", "ipv4", "hostname", "uri")


class SchemaMaker:
    """Makes schemas of bounded depth; every keyword that is enforced turns up."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)

    def make(self) -> Schema:
        """An object at the root, as tools and answers have, with definitions where one is drawn."""
        kind = self._random.randrange(8)
        if kind == 0:
            return self._tree()
        if kind == 1:
            return self._union()
        return self._object(3)

    def _any(self, depth: int) -> Schema:
        kinds: list[Callable[[int], Schema]] = [self._text, self._number, self._whole, self._listed, self._flag]
        if depth > 0:
            kinds += [self._object, self._object, self._array, self._tuple, self._any_of, self._all_of, self._map]
        return self._random.choice(kinds)(depth)

    def _text(self, _: int) -> Schema:
        made: Schema = {"type": "string"}
        match self._random.randrange(5):
            case 0:
                made["pattern"] = self._random.choice(PATTERNS)
            case 1:
                made["format"] = self._random.choice(FORMATS)
            case 2:
                made["minLength"] = self._random.randrange(4)
                made["maxLength"] = made["minLength"] + self._random.randrange(20)
        return made

    def _number(self, _: int) -> Schema:
        low = self._random.randrange(-50, 50)
        made: Schema = {"type": "number"}
        if self._random.random() < 0.6:
            made[self._random.choice(("minimum", "exclusiveMinimum"))] = low
        if self._random.random() < 0.6:
            made[self._random.choice(("maximum", "exclusiveMaximum"))] = low + self._random.choice((1, 3.5, 1000))
        return made

    def _whole(self, _: int) -> Schema:
        low = self._random.randrange(-50, 50)
        made: Schema = {"type": self._random.choice(("integer", ["integer", "null"]))}
        if self._random.random() < 0.6:
            made |= {"minimum": low, "maximum": low + self._random.randrange(8, 200)}
        if self._random.random() < 0.2:
            made["multipleOf"] = self._random.choice((2, 5))
        return made

    def _listed(self, _: int) -> Schema:
        values = ["a", "b\n", "ü", 1, -2.5, True, None, {"k": [1]}, []]
        if self._random.random() < 0.3:
            return {"const": self._random.choice(values)}
        return {"enum": self._random.sample(values, self._random.randrange(1, len(values)))}

    def _flag(self, _: int) -> Schema:
        return {"type": self._random.choice(("boolean", "null"))}

    def _object(self, depth: int) -> Schema:
        names = self._random.sample(WORDS, self._random.randrange(1, 6))
        made: Schema = {"type": "object", "properties": {name: self._any(depth - 1) for name in names}}
        made["required"] = [name for name in names if self._random.random() < 0.6]
        match self._random.randrange(4):
            case 0:
                made["additionalProperties"] = self._any(0)
            case 1:
                pass
            case _:
                made["additionalProperties"] = False
        return made

    def _map(self, depth: int) -> Schema:
        made: Schema = {"type": "object"}
        if self._random.random() < 0.5:
            made["patternProperties"] = {"^x[a-z]*$": self._any(depth - 1)}
            made["additionalProperties"] = False
        else:
            made["additionalProperties"] = self._any(depth - 1)
        if self._random.random() < 0.5:
            made["maxProperties"] = self._random.randrange(1, 4)
        if self._random.random() < 0.3:
            made["minProperties"] = 1
        return made

    def _array(self, depth: int) -> Schema:
        made: Schema = {"type": "array", "items": self._any(depth - 1)}
        if self._random.random() < 0.6:
            made["minItems"] = self._random.randrange(3)
            made["maxItems"] = made["minItems"] + self._random.randrange(3)
        return made

    def _tuple(self, depth: int) -> Schema:
        count = self._random.randrange(1, 3)
        items = self._random.choice((False, self._any(0)))
        return {
            "type": "array",
            "prefixItems": [self._any(depth - 1) for _ in range(count)],
            "items": items,
            "minItems": 1,
        }

    def _any_of(self, depth: int) -> Schema:
        return {"anyOf": [self._any(depth - 1) for _ in range(self._random.randrange(1, 4))]}

    def _all_of(self, depth: int) -> Schema:
        parts = [
            {"type": "object", "properties": {name: self._any(depth - 1)}, "required": [name]}
            for name in self._random.sample(WORDS, 2)
        ]
        return {"allOf": parts}

    def _union(self) -> Schema:
        """Told apart by a constant, as models of Python's libraries are."""
        kinds = {
            kind: {
                "type": "object",
                "properties": {"kind": {"const": kind}, "value": self._any(1)},
                "required": ["kind", "value"],
                "additionalProperties": False,
            }
            for kind in ("cat", "dog", "newt")
        }
        members = [{"$ref": f"#/$defs/{kind}"} for kind in kinds]
        return {"$defs": kinds, "type": "object", "properties": {"pet": {"oneOf": members}}, "required": ["pet"]}

    def _tree(self) -> Schema:
        node = self._object(1)
        node["properties"] = {**node["properties"], "next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/node"}]}}
        node["required"] = [*node["required"], "next"]
        return {"$defs": {"node": node}, "$ref": "#/$defs/node"}
