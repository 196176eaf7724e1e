"""Custom tools, which take a text of any form. The model is told of one as of a function with that text as its only
argument."""

from __future__ import annotations

from typing import Final

import msgspec

from core.decoding.masks.lark_pattern import LarkUnfit, convert_lark
from core.requests import Tool

CUSTOM_PARAMETERS: Final = (
    '{"type":"object","properties":{"input":{"type":"string"}},"required":["input"],"additionalProperties":false}'
)


def make_custom_tool(name: str, description: str, *, syntax: str = "", definition: str = "") -> Tool:
    """A tool whose input must match a regular expression, or be a text of a Lark grammar, as `syntax` says; any text
    where there is no `definition`. The model is told of a grammar that cannot be enforced, and the tool has no
    `enforced` then."""
    pattern = _find_pattern(syntax, definition)
    words = (description, _describe(syntax, definition))
    return Tool(
        name=name,
        description="\n\n".join(word for word in words if word),
        parameters=CUSTOM_PARAMETERS,
        strict=bool(pattern),
        enforced=_hold_to(pattern) if pattern else "",
    )


def _find_pattern(syntax: str, definition: str) -> str:
    """A regular expression that the input must match; empty where it may be anything, or none can hold it."""
    if syntax == "regex" or not definition:
        return definition
    try:
        return convert_lark(definition)
    except LarkUnfit:
        return ""


def _describe(syntax: str, definition: str) -> str:
    if not definition:
        return ""
    what = "match this regular expression" if syntax == "regex" else "be a text of this Lark grammar"
    return f"Its input must {what}:\n{definition}"


def _hold_to(pattern: str) -> str:
    held = b'"string","pattern":' + msgspec.json.encode(f"^(?:{pattern})$")
    return CUSTOM_PARAMETERS.encode().replace(b'"string"', held).decode()
