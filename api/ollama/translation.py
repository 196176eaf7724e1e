"""From requests of Ollama's API for text to the core's. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from api.ollama.past import decode_past
from api.ollama.wire import AskedAnswer, OllamaCall, OllamaChat, OllamaGenerate, OllamaMessage, OllamaOptions
from api.openai.constraints import ConstraintFields, read_constraint
from api.openai.messages import read_arguments
from api.openai.tools import read_tools
from core.errors import RequestError
from core.requests import (
    Caller,
    Conversation,
    Generation,
    Infill,
    Message,
    Prompt,
    RawText,
    ReasoningWish,
    Role,
    SamplingWish,
    TextPart,
    ToolCall,
)


def translate_chat(body: OllamaChat, *, caller: Caller = Caller(), request_id: str = "") -> Generation:
    """The canonical request, without its model. Raises RequestError, which names the field."""
    messages = body.messages or ()
    last = messages[-1] if messages else None
    prompt = Conversation(
        messages=tuple(read_turns(messages)),
        tools=read_tools(body.tools or (), None).tools,
        continued=last is not None and last.role == "assistant" and not last.tool_calls,
    )
    return replace(_translate_answer(body, caller, request_id), prompt=prompt)


def translate_generate(body: OllamaGenerate, *, caller: Caller = Caller(), request_id: str = "") -> Generation:
    """As `translate_chat`."""
    return replace(_translate_answer(body, caller, request_id), prompt=_read_prompt(body))


def _translate_answer(body: AskedAnswer, caller: Caller, request_id: str) -> Generation:
    options = body.options or OllamaOptions()
    limit = options.num_predict
    stop = (options.stop,) if isinstance(options.stop, str) else tuple(options.stop or ())
    return Generation(
        model="",
        prompt=RawText(""),
        sampling=_read_sampling(options, (body.top_logprobs or 0) if body.logprobs else None),
        max_tokens=limit if limit is not None and limit > 0 else None,
        stop=tuple(text for text in stop if text),
        constraint=read_constraint(ConstraintFields(format=body.format)),
        reasoning=_read_thinking(body),
        caller=caller,
        request_id=request_id,
    )


def _read_sampling(options: OllamaOptions, logprobs: int | None) -> SamplingWish:
    return SamplingWish(
        temperature=options.temperature,
        top_k=None if options.top_k is None else max(options.top_k, 0),
        top_p=options.top_p,
        min_p=options.min_p,
        typical_p=options.typical_p,
        repeat_penalty=options.repeat_penalty,
        repeat_last_n=options.repeat_last_n,
        frequency_penalty=options.frequency_penalty,
        presence_penalty=options.presence_penalty,
        seed=None if options.seed == -1 else options.seed,
        logprobs=logprobs,
    )


def _read_thinking(body: AskedAnswer) -> ReasoningWish:
    if isinstance(body.think, str):
        return ReasoningWish(effort=body.think)
    return ReasoningWish(think=body.think)


def read_turns(messages: Sequence[OllamaMessage]) -> Iterator[Message]:
    """Calls without ids get some, and a result is that of the first call of its tool that has none yet. Raises
    RequestError."""
    open_calls: list[ToolCall] = []
    for at, message in enumerate(messages):
        path = f"messages[{at}]"
        if message.tool_calls and message.role != "assistant":
            raise RequestError("Messages of the assistant alone have `tool_calls`.", f"{path}.tool_calls")
        calls = tuple(
            _read_call(call, f"{path}.tool_calls[{n}]", f"call_{at}_{n}")
            for n, call in enumerate(message.tool_calls or ())
        )
        answered = _find_call(message, open_calls) if message.role == "tool" else None
        if message.role == "assistant":
            open_calls = list(calls)
        elif answered in open_calls:
            open_calls.remove(answered)
        yield Message(
            role=Role(message.role),
            parts=() if message.content is None else (TextPart(message.content),),
            name=message.tool_name or (answered.name if answered is not None else None),
            tool_calls=calls,
            tool_call_id=message.tool_call_id or (answered.id if answered is not None else None),
            reasoning=message.thinking or "",
        )


def _find_call(message: OllamaMessage, open_calls: Sequence[ToolCall]) -> ToolCall | None:
    """The call that a tool's message answers."""
    if message.tool_call_id:
        return next((call for call in open_calls if call.id == message.tool_call_id), None)
    named = (call for call in open_calls if message.tool_name in (None, "", call.name))
    return next(named, None)


def _read_call(call: OllamaCall, path: str, otherwise: str) -> ToolCall:
    """`otherwise`: its id where it has none."""
    arguments = read_arguments(call.function.arguments, f"{path}.function")
    return ToolCall(call.id or otherwise, call.function.name, arguments)


def _read_prompt(body: OllamaGenerate) -> Prompt:
    text = body.prompt or ""
    if body.raw:
        for name in ("system", "context", "suffix"):
            if getattr(body, name):
                raise RequestError(f"With `raw` the prompt stands as it is, so there can be no `{name}`.", name)
        return RawText(text)
    if body.suffix:
        for name in ("system", "context"):
            if getattr(body, name):
                raise RequestError(f"`suffix` asks for a gap to be filled, so there can be no `{name}`.", name)
        return Infill(text, body.suffix)
    past = decode_past(body.context) if body.context else ()
    return Conversation(messages=(*_with_system(past, body.system), Message(Role.USER, (TextPart(text),))))


def _with_system(past: Sequence[Message], system: str | None) -> Sequence[Message]:
    """What is said now of the system goes before what was said then."""
    if not system:
        return past
    others = past[1:] if past and past[0].role is Role.SYSTEM else past
    return (Message(Role.SYSTEM, (TextPart(system),)), *others)
