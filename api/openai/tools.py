"""From the tools of a chat request to the core's, and who chooses among them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct, UnsetType
from msgspec.structs import replace

from api.openai.custom_tools import make_custom_tool
from api.openai.tools_wire import (
    AllowedTool,
    Choice,
    CustomChatTool,
    CustomSpec,
    FunctionChoice,
    FunctionSpec,
    NamedFunction,
    ToolChoiceBox,
    WireTool,
)
from core.errors import RequestError
from core.requests import Calling, CallOf, Tool, ToolChoice
from core.serving.ready import Traits

_TOLD: Final = re.compile(r"\b(?:tools|functions)\b")
"""Found in every chat template that tells of tools."""
NO_PARAMETERS: Final = '{"type":"object","properties":{}}'
WORDS: Final[Mapping[str, Calling]] = {
    "": Calling.AUTO,
    "auto": Calling.AUTO,
    "none": Calling.NONE,
    "required": Calling.REQUIRED,
    "any": Calling.REQUIRED,
}
"""What a choice says in one word; `any` is Mistral's for `required`."""


class ChosenTools(Struct, frozen=True):
    """The tools that the model is told of, and what it is to do with them."""

    tools: tuple[Tool, ...] = ()
    choice: ToolChoice = Calling.AUTO
    allowed: frozenset[str] | None = None
    """The names of those that may be called; None for all."""


def can_tell_tools(traits: Traits) -> bool:
    """Whether the model's chat template may tell it of tools."""
    return traits.template is None or bool(_TOLD.search(traits.template))


def read_tools(tools: Sequence[WireTool], choice: Choice | None) -> ChosenTools:
    """Raises RequestError, which names the tool or the choice."""
    read = _collect((_read_tool(tool, f"tools[{at}]"), f"tools[{at}].function.name") for at, tool in enumerate(tools))
    if choice is None:
        return ChosenTools(read)
    if isinstance(choice, str):
        return _with_word(read, choice, "tool_choice")
    if choice.type in WORDS:
        return _with_word(read, choice.type, "tool_choice.type")
    if choice.type == "allowed_tools":
        return _with_allowed(read, choice)
    if choice.type not in ("function", "tool", "custom"):
        raise RequestError(
            f"A tool of type {choice.type[:32]!r} cannot be called here; choose one that the client runs.",
            "tool_choice.type",
        )
    return ChosenTools(read, CallOf(_find(read, choice.function or choice.custom, choice.name, "tool_choice")))


def read_functions(functions: Sequence[FunctionSpec], choice: FunctionChoice | None) -> ChosenTools:
    """The same in the form before there were tools. Raises RequestError."""
    read = _collect(
        (_read_function(each, f"functions[{at}]"), f"functions[{at}].name") for at, each in enumerate(functions)
    )
    if isinstance(choice, NamedFunction):
        return ChosenTools(read, CallOf(_find(read, choice, None, "function_call")))
    return ChosenTools(read) if choice is None else _with_word(read, choice, "function_call")


def _collect(each: Iterable[tuple[Tool, str]]) -> tuple[Tool, ...]:
    """All of them once. Raises RequestError for two of one name that differ."""
    found: dict[str, Tool] = {}
    for tool, path in each:
        if found.setdefault(tool.name, tool) != tool:
            raise RequestError(f"There are two tools of the name {tool.name!r}; give each its own.", path)
    return tuple(found.values())


def _read_tool(tool: WireTool, path: str) -> Tool:
    if isinstance(tool, CustomChatTool):
        return _read_custom(tool.custom, f"{path}.custom")
    return _read_function(tool.function, f"{path}.function")


def _read_function(spec: FunctionSpec, path: str) -> Tool:
    return Tool(spec.name, spec.description or "", _read_parameters(spec, path), bool(spec.strict))


def _read_custom(spec: CustomSpec, path: str) -> Tool:
    wanted = spec.format
    if wanted is None or wanted.type == "text":
        return make_custom_tool(spec.name, spec.description or "")
    if wanted.grammar is None:
        raise RequestError(f"The field `{path}.format.grammar` is missing.", f"{path}.format.grammar")
    grammar = wanted.grammar
    return make_custom_tool(spec.name, spec.description or "", syntax=grammar.syntax, definition=grammar.definition)


def _read_parameters(spec: FunctionSpec, path: str) -> str:
    if isinstance(spec.parameters, UnsetType):
        return NO_PARAMETERS
    text = bytes(spec.parameters).strip()
    if text in (b"null", b"{}"):
        return NO_PARAMETERS
    if not text.startswith(b"{"):
        raise RequestError(f"The field `{path}.parameters` is wrong: expected an object.", f"{path}.parameters")
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise RequestError(f"The field `{path}.parameters` is not UTF-8.", f"{path}.parameters") from None


def _with_word(tools: tuple[Tool, ...], word: str, field: str) -> ChosenTools:
    calling = WORDS.get(word)
    if calling is None:
        raise RequestError(f"The field `{field}` is wrong: give `none`, `auto`, `required`, or name a function.", field)
    if calling is Calling.REQUIRED and not tools:
        raise RequestError(f"`{field}` asks for a tool to be called, and there is none that could be.", field)
    return ChosenTools(tools, calling)


def _with_allowed(tools: tuple[Tool, ...], choice: ToolChoiceBox) -> ChosenTools:
    """The model is told of all, so that its prompt stays the same, and may call those that are allowed."""
    box = choice.allowed_tools
    field = "tool_choice.tools" if box is None else "tool_choice.allowed_tools.tools"
    names = frozenset(_list_allowed(tools, (choice.tools or ()) if box is None else box.tools, field))
    mode = (choice.mode if box is None else box.mode) or "auto"
    callable_ = tuple(tool for tool in tools if tool.name in names)
    return replace(_with_word(callable_, mode, field), tools=tools, allowed=names)


def _list_allowed(tools: Sequence[Tool], allowed: Sequence[AllowedTool], field: str) -> Iterator[str]:
    for at, each in enumerate(allowed):
        if each.type in (None, "function", "custom"):
            yield _find(tools, each.function or each.custom, each.name, f"{field}[{at}]")


def _find(tools: Sequence[Tool], boxed: NamedFunction | None, flat: str | None, field: str) -> str:
    name = flat if boxed is None else boxed.name
    if name is None:
        raise RequestError(f"`{field}` does not say which tool; give its name in `function.name`.", field)
    if not any(tool.name == name for tool in tools):
        raise RequestError(f"`{field}` names {name[:64]!r}, which is none of the request's tools.", field)
    return name
