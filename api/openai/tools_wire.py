"""Tools of a chat request as they stand on the wire, and which of them are to be called."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import UNSET, Meta, Raw, UnsetType

from api.http.settle import Wire
from api.openai import fields

MOST_TOOLS: Final = 10_000
_NAME: Final = r"^[\w.:/@-]+(?!\n)$"
ToolName = Annotated[str, Meta(min_length=1, max_length=128, pattern=_NAME)]
"""Letters, digits and a few signs: names stand in prompts and in grammars."""
Named = Annotated[str, Meta(max_length=256)]
Parameters = Annotated[Raw, Meta(extra_json_schema={"type": ["object", "null"]})]


class FunctionSpec(Wire, frozen=True):
    """A function that the client runs."""

    rules = fields.FUNCTION

    name: ToolName
    description: str | None = None
    parameters: Parameters | UnsetType = UNSET
    """The JSON Schema of its arguments; a function without it takes none."""
    strict: bool | None = None
    """Whether calls must keep to the schema."""


class FunctionChatTool(Wire, frozen=True, tag="function"):
    others_dropped = True
    rules = fields.TOOL

    function: FunctionSpec


class CustomGrammar(Wire, frozen=True):
    definition: str
    syntax: Literal["lark", "regex"]


class CustomChatFormat(Wire, frozen=True):
    """What a custom tool's input must be."""

    type: Literal["text", "grammar"]
    grammar: CustomGrammar | None = None


class CustomSpec(Wire, frozen=True):
    """A tool that the client runs, which takes a text."""

    rules = fields.FUNCTION

    name: ToolName
    description: str | None = None
    format: CustomChatFormat | None = None


class CustomChatTool(Wire, frozen=True, tag="custom"):
    others_dropped = True
    rules = fields.TOOL

    custom: CustomSpec


WireTool = FunctionChatTool | CustomChatTool
Tools = Annotated[list[WireTool], Meta(max_length=MOST_TOOLS)]


class NamedFunction(Wire, frozen=True):
    name: Named


class AllowedTool(Wire, frozen=True):
    """One of the tools that may be called."""

    type: Named | None = None
    function: NamedFunction | None = None
    custom: NamedFunction | None = None
    name: Named | None = None


class AllowedChatTools(Wire, frozen=True, kw_only=True):
    mode: Literal["auto", "required"] = "auto"
    tools: Annotated[list[AllowedTool], Meta(max_length=MOST_TOOLS)]


class ToolChoiceBox(Wire, frozen=True):
    """A choice that names tools, or says in an object what others say in a word."""

    rules = fields.TOOL_CHOICE

    type: Named
    function: NamedFunction | None = None
    custom: NamedFunction | None = None
    name: Named | None = None
    """The same as of `function`, where the Responses of OpenAI have it."""
    allowed_tools: AllowedChatTools | None = None
    mode: Literal["auto", "required"] | None = None
    tools: Annotated[list[AllowedTool], Meta(max_length=MOST_TOOLS)] | None = None
    """Of `allowed_tools`, without a box around them."""


Choice = Annotated[str, Meta(max_length=64)] | ToolChoiceBox
"""`none`, `auto`, `required`, or a box."""
FunctionChoice = Annotated[str, Meta(max_length=64)] | NamedFunction
"""`none`, `auto`, or the name of a function: the form before there were tools."""
