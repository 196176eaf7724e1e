"""Tools of a request for a response: those that clients run become the core's, others are left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Final

import msgspec
from msgspec import Raw, Struct, UnsetType

from api.http.settle import JsonBody, Wire
from api.openai.custom_tools import make_custom_tool
from api.openai.responses.kinds import KIND
from api.openai.responses.wire import AllowedTools, CustomFormat, CustomTool, FunctionTool, NamedTool, ToolNamespace
from core.errors import RequestError
from core.requests import Calling, CallOf, Tool, ToolChoice

KINDS: Final[Mapping[str, JsonBody[Wire]]] = {
    "function": JsonBody(FunctionTool),
    "custom": JsonBody(CustomTool),
    "namespace": JsonBody(ToolNamespace),
}
NAMED: Final = JsonBody(NamedTool)
ALLOWED: Final = JsonBody(AllowedTools)
MOST_TOOLS: Final = 10_000
MODES: Final[Mapping[str, Calling]] = {"": Calling.AUTO, **{each.value: each for each in Calling}}


class ToolKind(Enum):
    FUNCTION = "function"
    CUSTOM = "custom"


class KnownTool(Struct, frozen=True):
    """A tool under the name that the model knows, as the client has it."""

    kind: ToolKind
    name: str
    namespace: str | None = None


class ReadTools(Struct, frozen=True):
    tools: tuple[Tool, ...] = ()
    known: Mapping[str, KnownTool] = {}
    """By the name that the model knows."""
    choice: ToolChoice = Calling.AUTO
    allowed: frozenset[str] | None = None
    """The names of those that may be called, as the model knows them; None for all."""
    ignored: tuple[str, ...] = ()


def name_model_tool(name: str, namespace: str | None) -> str:
    """What the model calls a tool."""
    return f"{namespace}__{name}" if namespace else name


def read_tools(given: Sequence[Raw], choice: Raw | UnsetType) -> ReadTools:
    """Raises RequestError, which names the tool or the choice."""
    reading = _Reading()
    for at, raw in enumerate(given):
        reading.take(raw, f"tools[{at}]", None)
    calling, allowed = _read_choice(choice, reading.known)
    return ReadTools(tuple(reading.tools), reading.known, calling, allowed, tuple(dict.fromkeys(reading.ignored)))


class _Reading:
    def __init__(self) -> None:
        self.tools: list[Tool] = []
        self.known: dict[str, KnownTool] = {}
        self.ignored: list[str] = []

    def take(self, raw: Raw, path: str, namespace: str | None) -> None:
        kind = KIND.decode(bytes(raw), path).body.type
        if kind is None or kind not in KINDS or (kind == "namespace" and namespace is not None):
            # A tool that nobody here runs, and no client either.
            self.ignored.append(f"tools.{_make_short(kind)}")
            return
        settled = KINDS[kind].decode(bytes(raw), path, "tools")
        self.ignored.extend(settled.ignored)
        match settled.body:
            case FunctionTool() as tool:
                self._add(
                    _translate_function(tool, namespace), KnownTool(ToolKind.FUNCTION, tool.name, namespace), path
                )
            case CustomTool() as tool:
                made = _translate_custom(tool, namespace)
                if tool.format is not None and tool.format.definition and not made.enforced:
                    # The model is told of the grammar, but not held to it.
                    self.ignored.append("tools.format")
                self._add(made, KnownTool(ToolKind.CUSTOM, tool.name, namespace), path)
            case ToolNamespace(name=name, tools=tools):
                for at, each in enumerate(tools):
                    self.take(each, f"{path}.tools[{at}]", name)

    def _add(self, tool: Tool, known: KnownTool, path: str) -> None:
        if len(self.tools) >= MOST_TOOLS:
            raise RequestError(f"There are more than {MOST_TOOLS} tools; send fewer.", "tools")
        if tool.name in self.known:
            raise RequestError(
                f"There are two tools of the name {tool.name[:64]!r}; give each its own.", f"{path}.name"
            )
        self.tools.append(tool)
        self.known[tool.name] = known


def _translate_function(tool: FunctionTool, namespace: str | None) -> Tool:
    parameters = tool.parameters
    given = None if isinstance(parameters, UnsetType) else bytes(parameters).decode()
    return Tool(
        name=name_model_tool(tool.name, namespace),
        description=tool.description or "",
        parameters=given or '{"type":"object","properties":{}}',
        strict=bool(tool.strict),
    )


def _translate_custom(tool: CustomTool, namespace: str | None) -> Tool:
    wanted = tool.format or CustomFormat("text")
    return make_custom_tool(
        name_model_tool(tool.name, namespace),
        tool.description or "",
        syntax=wanted.syntax or "",
        definition=wanted.definition or "",
    )


def _read_choice(raw: Raw | UnsetType, known: Mapping[str, KnownTool]) -> tuple[ToolChoice, frozenset[str] | None]:
    """The choice, and the names of the tools that may be called where not all of them may."""
    if isinstance(raw, UnsetType):
        return Calling.AUTO, None
    data = bytes(raw).strip()
    if not data.startswith(b"{"):
        return _read_mode(data, known), None
    looked_at = KIND.decode(data, "tool_choice").body
    if looked_at.type == "allowed_tools":
        return _read_allowed(data, known)
    if looked_at.type not in ("function", "custom"):
        raise RequestError(
            f"A tool of type {_make_short(looked_at.type)!r} cannot be called here; choose one that the client runs.",
            "tool_choice",
        )
    return CallOf(_find_named(data, "tool_choice", known)), None


def _read_mode(data: bytes, known: Mapping[str, KnownTool]) -> Calling:
    try:
        mode = MODES["" if data == b"null" else msgspec.json.decode(data, type=str)]
    except (msgspec.MsgspecError, UnicodeError, KeyError):
        raise RequestError(
            "The field `tool_choice` is wrong: give `none`, `auto`, `required`, or an object.", "tool_choice"
        ) from None
    if mode is Calling.REQUIRED and not known:
        raise RequestError("`tool_choice` asks for a tool to be called, and there is none in `tools`.", "tool_choice")
    return mode


def _read_allowed(data: bytes, known: Mapping[str, KnownTool]) -> tuple[Calling, frozenset[str]]:
    wish = ALLOWED.decode(data, "tool_choice", "tool_choice").body
    assert isinstance(wish, AllowedTools)
    names = frozenset(_list_allowed(wish.tools, known))
    if not names and wish.mode == "required":
        raise RequestError("`tool_choice` asks for a tool to be called, and allows none.", "tool_choice.tools")
    return MODES[wish.mode], names


def _list_allowed(tools: Sequence[Raw], known: Mapping[str, KnownTool]) -> Iterator[str]:
    for at, raw in enumerate(tools):
        path = f"tool_choice.tools[{at}]"
        if KIND.decode(bytes(raw), path).body.type in ("function", "custom"):
            yield _find_named(bytes(raw), path, known)


def _find_named(data: bytes, path: str, known: Mapping[str, KnownTool]) -> str:
    wish = NAMED.decode(data, path, "tool_choice").body
    assert isinstance(wish, NamedTool)
    name = name_model_tool(wish.name, wish.namespace)
    if name not in known or known[name].kind.value != wish.type:
        raise RequestError(f"There is no {wish.type} tool of the name {wish.name[:64]!r} in `tools`.", f"{path}.name")
    return name


def _make_short(kind: str | None) -> str:
    return "untyped" if kind is None else kind[:32]
