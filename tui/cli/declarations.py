"""The settings as their source declares them, for the command line's options and its help.

Importing the structs would take longer than all the rest of `tui --help`, since msgspec and the log come with them.
Their source tells the same: a test compares it with what `core.contract.declared.list_fields` finds in the structs.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

import core
from core.contract.declared import Declared

SCHEMA: Final = "core.settings.schema"
KINDS: Final[dict[str, type]] = {"int": int, "float": float, "bool": bool, "str": str, "tuple": tuple}


@cache
def load_declarations() -> dict[str, list[Declared]]:
    """The settings of each section that are options, without their bounds: the settings check those."""
    schema = _load_module(SCHEMA)
    sections = {
        name: annotation.id for name, annotation in schema.fields("Settings") if isinstance(annotation, ast.Name)
    }
    return {section: [each for each in schema.declared(kind) if each.help] for section, kind in sections.items()}


class SourceModule:
    """The classes and types that the text of a module declares."""

    def __init__(self, text: str) -> None:
        body = ast.parse(text).body
        self.classes = {node.name: node for node in body if isinstance(node, ast.ClassDef)}
        self.aliases = {ast.unparse(node.targets[0]): node.value for node in body if isinstance(node, ast.Assign)}
        self.imports = {
            name.name: node.module or "" for node in body if isinstance(node, ast.ImportFrom) for name in node.names
        }

    def fields(self, name: str) -> Iterator[tuple[str, ast.expr]]:
        """The names of the fields that the class itself declares, each with its type."""
        for node in self.classes[name].body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                yield node.target.id, node.annotation

    def declared(self, name: str) -> Iterator[Declared]:
        """The fields of a class, before those that it inherits from other classes of ours."""
        home = self.find_home(name)
        if home is None:
            return
        for field, annotation in home.fields(name):
            yield home.declare(field, annotation)
        for base in home.classes[name].bases:
            yield from home.declared(ast.unparse(base))

    def find_home(self, name: str) -> SourceModule | None:
        """The module of the class; None where it is none of ours."""
        if name in self.classes:
            return self
        module = self.imports.get(name, "")
        return _load_module(module).find_home(name) if module.startswith(f"{core.__name__}.") else None

    def declare(self, name: str, annotation: ast.expr) -> Declared:
        """A field of that type."""
        kind = self._kind(annotation)
        choices = () if kind in KINDS else tuple(self._values(kind))
        words = tuple(value for other in self._others(annotation) for value in self._values(other))
        told: dict[str, Any] = {}
        for meta in self._metas(annotation):
            told |= {"help": meta["description"]} if "description" in meta else {}
            told |= meta.get("extra", {})
        return Declared(name, KINDS.get(kind, str), choices, words, **told)

    def _kind(self, node: ast.expr) -> str:
        """The name of the type, without what is annotated and what a union has besides."""
        match node:
            case ast.Subscript(value=ast.Name(id="Annotated"), slice=ast.Tuple(elts=[inner, *_])):
                return self._kind(inner)
            case ast.Subscript(value=inner) | ast.BinOp(left=inner):
                return self._kind(inner)
            case ast.Name(id=name) if name in self.aliases:
                return self._kind(self.aliases[name])
        return ast.unparse(node)

    def _others(self, node: ast.expr) -> Iterator[str]:
        """The names of the other types in the union."""
        match node:
            case ast.Subscript(value=ast.Name(id="Annotated"), slice=ast.Tuple(elts=[inner, *_])):
                yield from self._others(inner)
            case ast.BinOp(left=left, right=right):
                yield from self._others(left)
                yield self._kind(right)

    def _metas(self, annotation: ast.expr) -> Iterator[dict[str, Any]]:
        for node in ast.walk(annotation):
            if isinstance(node, ast.Call):
                yield {word.arg: ast.literal_eval(word.value) for word in node.keywords if word.arg is not None}
            elif isinstance(node, ast.Name) and node.id in self.aliases:
                yield from self._metas(self.aliases[node.id])

    def _values(self, enum: str) -> Iterator[str]:
        """The values of an Enum."""
        if (home := self.find_home(enum)) is not None:
            for node in home.classes[enum].body:
                if isinstance(node, ast.Assign):
                    yield str(ast.literal_eval(node.value))


@cache
def _load_module(name: str) -> SourceModule:
    folder = os.path.dirname(core.__file__)  # noqa: PTH120 - pathlib is another tenth of the time that the help takes
    path = name.removeprefix(core.__name__).replace(".", "/")
    with open(f"{folder}{path}.py", encoding="utf-8") as file:  # noqa: PTH123 - as above
        return SourceModule(file.read())
