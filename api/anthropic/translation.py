"""From a request of Anthropic's Messages to a `Generation`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final

from msgspec import UnsetType
from msgspec.structs import replace

from api.anthropic.thoughts import read_thought
from api.anthropic.wire import (
    BlockSource,
    ChoiceAny,
    ChoiceNone,
    ChoiceTool,
    CountRequest,
    DocumentBlock,
    HostedBlock,
    MessageBlock,
    MessageParam,
    MessagesRequest,
    OutputFormat,
    RedactedThinkingBlock,
    ResultPart,
    SearchResultBlock,
    TextBlock,
    TextSource,
    ThinkingAdaptive,
    ThinkingBetweenTools,
    ThinkingBlock,
    ThinkingDisabled,
    ThinkingEnabled,
    ToolParam,
    ToolReferenceBlock,
    ToolResultBlock,
    ToolUseBlock,
)
from api.openai.template_arguments import read_template_arguments
from api.openai.tools import can_tell_tools
from core.errors import RequestError
from core.names import clean_name
from core.requests import (
    Caller,
    Calling,
    CallOf,
    Constraint,
    Conversation,
    Generation,
    JsonSchema,
    Message,
    Priority,
    ReasoningWish,
    Role,
    SamplingWish,
    TextPart,
    Tool,
    ToolCall,
    ToolChoice,
)
from core.serving.ready import Traits

WISHES: Final = {"effort": "output_config.effort", "think": "thinking", "budget": "thinking.budget_tokens"}
"""The fields from which wishes about thinking come."""
ROLES: Final = {"user": Role.USER, "assistant": Role.ASSISTANT, "system": Role.SYSTEM}
ASSISTANTS: Final = (ThinkingBlock, RedactedThinkingBlock, ToolUseBlock)
"""Blocks that only the assistant's messages have."""
NOTHING: Final = (b"null", b"{}")
"""Values of a field that say nothing."""


def translate_messages(body: MessagesRequest, *, caller: Caller = Caller(), request_id: str = "") -> Generation:
    """The canonical request. Raises RequestError, which names the field, for what cannot be done.

    The model is empty where the request names none. Raises ModelNotFound for a name of blanks alone.
    """
    return replace(
        translate_counted(body, caller=caller),
        sampling=SamplingWish(
            temperature=body.temperature,
            top_k=None if body.top_k is None else max(body.top_k, 0),
            top_p=body.top_p,
            min_p=body.min_p,
            repeat_penalty=body.repeat_penalty,
            frequency_penalty=body.frequency_penalty,
            presence_penalty=body.presence_penalty,
            seed=body.seed,
        ),
        # A prompt is computed for the sake of a token; `MessagesDialect` says nothing of one that nobody asked for.
        max_tokens=max(body.max_tokens, 1),
        # An empty text stands everywhere, and so marks nothing.
        stop=tuple(text for text in body.stop_sequences or () if text),
        constraint=_read_constraint(body),
        ignore_eos=bool(body.ignore_eos),
        cache=body.cache_prompt is not False,
        cache_salt=body.cache_salt or None,
        reproducible=bool(body.reproducible),
        # The first event of a stream tells what the prompt has taken.
        tell_prefill=bool(body.stream),
        priority=body.priority or Priority.NORMAL,
        request_id=request_id,
    )


def translate_counted(body: CountRequest, *, caller: Caller = Caller()) -> Generation:
    """A request as far as its prompt depends on it. Raises as `translate_messages` does."""
    messages = _read_messages(body)
    tools = tuple(_read_tools(body.tools or ()))
    return Generation(
        model=clean_name(body.model) if body.model else "",
        prompt=Conversation(
            messages, read_template_arguments(body.chat_template_kwargs), tools, continued=_is_continued(messages)
        ),
        tool_choice=_read_choice(body, tools),
        parallel_calls=not (body.tool_choice and body.tool_choice.disable_parallel_tool_use),
        reasoning=_read_thinking(body, messages),
        caller=caller,
    )


def count_blocks(body: CountRequest) -> int:
    """Blocks of content, and tools."""
    messages = sum(1 if isinstance(message.content, str) else 1 + len(message.content) for message in body.messages)
    return messages + len(body.tools or ())


def list_dropped(body: CountRequest) -> Iterator[str]:
    """Fields that nothing comes of, whatever the model."""
    if any(tool.hosted for tool in body.tools or ()):
        yield "tools"
    for name, said in (("context_management", body.context_management), ("metadata", body.metadata)):
        if not isinstance(said, UnsetType) and bytes(said).strip() not in NOTHING:
            yield name
    blocks = (block for message in body.messages for block in message.content if not isinstance(block, str))
    if any(isinstance(block, HostedBlock | RedactedThinkingBlock) for block in blocks):
        yield "messages.content"


def list_vain(body: CountRequest, wish: ReasoningWish, traits: Traits) -> Iterator[str]:
    """Fields that nothing comes of with a model of these traits. `wish`: what the request says of thinking."""
    if body.tools and not can_tell_tools(traits):
        yield "tools"
    if traits.voice is not None:
        yield from map(WISHES.__getitem__, traits.voice.list_ignored(wish))


# --- messages --------------------------------------------------------------------------------------------------------


def _read_messages(body: CountRequest) -> tuple[Message, ...]:
    """All turns in order; those of one role that follow each other are one, as templates want it."""
    turns = [_join_turns([*run]) for _, run in groupby(_read_all_turns(body), key=_tell_apart)]
    if len(turns) > 1 and turns[-1] == Message(Role.ASSISTANT, turns[-1].parts) and not turns[-1].text:
        # The beginning of an answer that says nothing.
        turns.pop()
    if turns[-1].tool_calls:
        where = f"messages[{len(body.messages) - 1}]"
        raise RequestError(f"`{where}` ends with a `tool_use`; send its `tool_result` behind it.", where)
    return tuple(turns)


def _read_all_turns(body: CountRequest) -> Iterator[Message]:
    if system := tuple(_read_system(body.system)):
        yield Message(Role.SYSTEM, system)
    for number, message in enumerate(body.messages):
        yield from _read_turns(message, f"messages[{number}]")


def _tell_apart(message: Message) -> object:
    """Turns that follow each other with the same of it are one; a tool's result is always one of its own."""
    return object() if message.role is Role.TOOL else message.role


def _read_system(system: str | Sequence[TextBlock] | None) -> Iterator[TextPart]:
    texts = (system,) if isinstance(system, str) else (block.text for block in system or ())
    return (TextPart(text) for text in texts if text)


def _read_turns(message: MessageParam, path: str) -> Iterator[Message]:
    """One message of this API has what are several for templates: each result of a tool is one of its own."""
    role = ROLES[message.role]
    if isinstance(message.content, str):
        yield Message(role, (TextPart(message.content),))
        return
    parts: list[TextPart] = []
    for number, block in enumerate(message.content):
        where = f"{path}.content[{number}]"
        _check_role(block, role, where)
        match block:
            case ToolResultBlock():
                if parts:
                    yield Message(role, tuple(parts))
                    parts = []
                yield _read_result(block, where)
            case TextBlock() | DocumentBlock() | SearchResultBlock() | ToolReferenceBlock():
                parts += _read_part(block, where)
            case ThinkingBlock() | RedactedThinkingBlock() | ToolUseBlock() | HostedBlock():
                pass
            case _:
                raise _refuse_block(block, where)
    calls = tuple(_read_calls(message.content, path))
    thoughts = [read_thought(block) for block in message.content if isinstance(block, ThinkingBlock)]
    reasoning = "\n".join(filter(None, thoughts))
    results = any(isinstance(block, ToolResultBlock) for block in message.content)
    if parts or calls or reasoning or not results:
        yield Message(role, tuple(parts), tool_calls=calls, reasoning=reasoning)


def _check_role(block: MessageBlock, role: Role, where: str) -> None:
    """Raises RequestError for a block that a message of this role cannot have."""
    misplaced = (
        (isinstance(block, ASSISTANTS) and role is not Role.ASSISTANT)
        or (isinstance(block, ToolResultBlock) and role is not Role.USER)
        or (role is Role.SYSTEM and not isinstance(block, TextBlock))
    )
    if misplaced:
        kind = str(block.__struct_config__.tag)
        raise RequestError(f"A message of the role `{role.value}` cannot have a block of type `{kind}`.", where)


def _read_result(block: ToolResultBlock, where: str) -> Message:
    if isinstance(block.content, str):
        parts = [TextPart(block.content)]
    else:
        each = enumerate(block.content or ())
        parts = [part for number, item in each for part in _read_part(item, f"{where}.content[{number}]")]
    if block.is_error and not any("error" in part.text.lower() for part in parts):
        # Chat templates have no other way to say so.
        parts = [TextPart("Error:"), *parts]
    return Message(Role.TOOL, tuple(parts), tool_call_id=block.tool_use_id)


def _read_part(block: ResultPart, where: str) -> Iterator[TextPart]:
    match block:
        case TextBlock(text=text):
            yield TextPart(text)
        case DocumentBlock(source=TextSource(data=text)) | DocumentBlock(source=BlockSource(content=str(text))):
            yield from (TextPart(said) for said in (block.title, block.context, text) if said)
        case DocumentBlock(source=BlockSource(content=list(blocks))):
            yield from (TextPart(said) for said in (block.title, block.context) if said)
            for number, item in enumerate(blocks):
                yield from _read_part(item, f"{where}.source.content[{number}]")
        case SearchResultBlock(title=title, source=source, content=blocks):
            yield from map(TextPart, (title, source, *(item.text for item in blocks)))
        case ToolReferenceBlock(tool_name=name):
            yield TextPart(name)
        case _:
            raise _refuse_block(block, where)


def _refuse_block(block: MessageBlock | ResultPart, where: str) -> RequestError:
    kind = str(block.__struct_config__.tag)
    if isinstance(block, DocumentBlock):
        kind = f"{kind}` with a source of type `{block.source.__struct_config__.tag}"
    return RequestError(f"The model takes text alone, so a content block of type `{kind}` cannot be used.", where)


def _read_calls(content: Iterable[MessageBlock], path: str) -> Iterator[ToolCall]:
    for number, block in enumerate(content):
        if isinstance(block, ToolUseBlock):
            arguments = bytes(block.input).strip().decode()
            if not arguments.startswith("{"):
                where = f"{path}.content[{number}].input"
                raise RequestError(f"The field `{where}` is wrong: expected an object.", where)
            yield ToolCall(block.id, block.name, arguments)


def _join_turns(turns: Sequence[Message]) -> Message:
    """`turns` are of one role."""
    if len(turns) == 1:
        return turns[0]
    return replace(
        turns[0],
        parts=tuple(part for turn in turns for part in turn.parts),
        tool_calls=tuple(call for turn in turns for call in turn.tool_calls),
        reasoning="\n".join(turn.reasoning for turn in turns if turn.reasoning),
    )


def _is_continued(messages: Sequence[Message]) -> bool:
    return messages[-1].role is Role.ASSISTANT


# --- tools, thinking, form -------------------------------------------------------------------------------------------


def _read_tools(tools: Sequence[ToolParam]) -> Iterator[Tool]:
    """Those that the client runs."""
    seen: set[str] = set()
    for number, tool in enumerate(tools):
        if tool.hosted:
            continue
        where = f"tools[{number}]"
        if tool.name is None:
            raise RequestError(f"The field `{where}.name` is missing.", f"{where}.name")
        if tool.name in seen:
            raise RequestError(f"`{where}` has the name of a tool before it; send each once.", f"{where}.name")
        seen.add(tool.name)
        if known := tool.known:
            yield replace(known, name=tool.name)
            continue
        if isinstance(tool.input_schema, UnsetType):
            raise RequestError(f"The field `{where}.input_schema` is missing.", f"{where}.input_schema")
        schema = bytes(tool.input_schema).strip().decode()
        if not schema.startswith("{"):
            field = f"{where}.input_schema"
            raise RequestError(f"The field `{field}` is wrong: expected an object.", field)
        yield Tool(tool.name, tool.description or "", schema, bool(tool.strict))


def _read_choice(body: CountRequest, tools: Sequence[Tool]) -> ToolChoice:
    match body.tool_choice:
        case ChoiceNone():
            return Calling.NONE
        case ChoiceAny():
            if not tools:
                raise RequestError(
                    "`tool_choice` asks for a tool, and the request has none that its client runs.", "tool_choice"
                )
            return Calling.REQUIRED
        case ChoiceTool(name=name):
            if any(tool.name == name for tool in tools):
                return CallOf(name)
            hosted = any(tool.name == name for tool in body.tools or ())
            why = "is none that its client runs" if hosted else "is not in `tools`"
            raise RequestError(f"`tool_choice` names the tool {name[:64]!r}, which {why}.", "tool_choice.name")
        case _:
            return Calling.AUTO


def _read_thinking(body: CountRequest, messages: Sequence[Message]) -> ReasoningWish:
    effort = body.output_config.effort if body.output_config else None
    wish = ReasoningWish(effort=effort)
    match body.thinking:
        case ThinkingEnabled(budget_tokens=budget):
            return replace(wish, think=True, budget=budget)
        case ThinkingAdaptive():
            return replace(wish, think=True)
        case ThinkingBetweenTools():
            return replace(wish, think=messages[-1].role is Role.TOOL)
        case ThinkingDisabled():
            return replace(wish, think=False)
        case None:
            return wish


def _read_constraint(body: CountRequest) -> Constraint | None:
    new = body.output_config.format if body.output_config else None
    old = body.output_format
    if new is not None and old is not None:
        raise RequestError(
            "`output_config.format` and `output_format` both say what the answer must be; send one of them.",
            "output_format",
        )
    for said, field in ((new, "output_config.format"), (old, "output_format")):
        if said is not None:
            return Constraint(_read_form(said, f"{field}.schema"), field)
    return None


def _read_form(said: OutputFormat, field: str) -> JsonSchema:
    schema = bytes(said.schema).strip().decode()
    if not schema.startswith("{"):
        raise RequestError(f"The field `{field}` is wrong: expected an object.", field)
    return JsonSchema(schema)
