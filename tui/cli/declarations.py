"""The load options as their source declares them, for the command line's options and its help.

Importing the structs would take as long as all the rest of `tui --help`, since msgspec comes with them. Their source
tells the same: a test compares it with what `core.contract.declared.list_fields` finds in the structs.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from typing import Any, Final

import core
from core.contract.declared import Declared

SOURCES: Final = (("settings/model.py", "ModelSettings"), ("contract/options.py", "LoadSettings"))
"""Files of the core with the classes that make up the section `[model]`, the class before its base."""
KINDS: Final[dict[str, type]] = {"int": int, "float": float, "bool": bool, "str": str, "tuple": tuple}


def load_declarations() -> list[Declared]:
    """All fields of the section `[model]`, without their bounds: the settings check those."""
    folder = os.path.dirname(core.__file__)  # noqa: PTH120 - pathlib is another tenth of the time that the help takes
    found: list[Declared] = []
    for path, name in SOURCES:
        with open(f"{folder}/{path}", encoding="utf-8") as file:  # noqa: PTH123 - as above
            found += read_declarations(file.read(), name)
    return found


def read_declarations(source: str, name: str) -> list[Declared]:
    """The fields of the class `name` in the text of a module, without those that it inherits."""
    body = ast.parse(source).body
    classes = {node.name: node for node in body if isinstance(node, ast.ClassDef)}
    aliases = {ast.unparse(node.targets[0]): node.value for node in body if isinstance(node, ast.Assign)}
    return [
        _declared(node.target.id, node.annotation, classes, aliases)
        for node in classes[name].body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    ]


def _declared(
    name: str, annotation: ast.expr, classes: dict[str, ast.ClassDef], aliases: dict[str, ast.expr]
) -> Declared:
    kind = _kind(annotation, aliases)
    choices = () if kind in KINDS else tuple(_values(classes[kind]))
    told: dict[str, Any] = {}
    for meta in _metas(annotation):
        told |= {"help": meta["description"]} if "description" in meta else {}
        told |= meta.get("extra", {})
    return Declared(name, KINDS.get(kind, str), choices, **told)


def _kind(node: ast.expr, aliases: dict[str, ast.expr]) -> str:
    """The name of the type, without what is annotated and what a union has besides."""
    match node:
        case ast.Subscript(value=ast.Name(id="Annotated"), slice=ast.Tuple(elts=[inner, *_])):
            return _kind(inner, aliases)
        case ast.Subscript(value=inner) | ast.BinOp(left=inner):
            return _kind(inner, aliases)
        case ast.Name(id=name) if name in aliases:
            return _kind(aliases[name], aliases)
    return ast.unparse(node)


def _metas(annotation: ast.expr) -> Iterator[dict[str, Any]]:
    for node in ast.walk(annotation):
        if isinstance(node, ast.Call):
            yield {word.arg: ast.literal_eval(word.value) for word in node.keywords if word.arg is not None}


def _values(enum: ast.ClassDef) -> Iterator[str]:
    for node in enum.body:
        if isinstance(node, ast.Assign):
            yield str(ast.literal_eval(node.value))
