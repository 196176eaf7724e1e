"""Requests and replies of the OpenAI dialect as they stand on the wire, with the bounds of every field.

Fields of requests do what OpenAI's reference (or llama.cpp's, for the extensions) says. Those that change nothing here
are not among them; `api.openai.fields` says what becomes of each.
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import UNSET, Meta, Struct, UnsetType

from api.http.field_rules import Json
from api.openai import fields
from api.openai.generation_fields import ONE_LIMIT, GenerationFields
from api.openai.message_wire import ChatMessage
from api.openai.reasoning_fields import ReasoningFields
from api.openai.template_arguments import TemplateArguments
from api.openai.tools_wire import MOST_TOOLS, Choice, FunctionChoice, FunctionSpec, Tools

Natural = Annotated[int, Meta(ge=1, le=2**31 - 1)]

_NEEDS_LOGPROBS: Final[Json] = {
    "anyOf": [
        {"properties": {"top_logprobs": {"enum": [None, 0]}}},
        {"required": ["logprobs"], "properties": {"logprobs": {"const": True}}},
    ]
}


class ChatRequest(ReasoningFields, frozen=True, kw_only=True):
    """The body of POST /v1/chat/completions."""

    rules = fields.CHAT
    bulky = ("tools", "functions")
    extra_neutral = {
        **GenerationFields.extra_neutral,
        "reasoning_effort": ("",),
        "reasoning_format": ("",),
        "think": ("",),
        "reasoning": ({},),
        "thinking": ({},),
        "tool_choice": ("", {}),
        "function_call": ("", {}),
        "continue_final_message": ("none",),
    }

    further_schema = {"allOf": [ONE_LIMIT, _NEEDS_LOGPROBS]}

    messages: Annotated[list[ChatMessage], Meta(min_length=1, max_length=65_536)]
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    chat_template_kwargs: TemplateArguments | None = None
    continue_final_message: bool | None = None
    """Whether the last message, which is the assistant's, is to be gone on with, as vLLM has it. It is unless this says
    no."""
    add_generation_prompt: bool | None = None
    """The opposite of the same; where there is nothing to go on with, false leaves the assistant's turn unbegun."""

    tools: Tools | None = None
    tool_choice: Choice | None = None
    parallel_tool_calls: bool | None = None
    reasoning_control: bool | None = None
    """llama.cpp's: /v1/chat/completions/control may end its thought."""
    parse_tool_calls: bool | None = None
    """llama.cpp's: false leaves calls in the answer's text."""
    functions: Annotated[list[FunctionSpec], Meta(max_length=MOST_TOOLS)] | None = None
    """The form before there were tools; so is the next."""
    function_call: FunctionChoice | None = None


class ChatTokenCount(Struct, frozen=True, kw_only=True):
    """The reply to a request to count the tokens of a conversation."""

    object: str = "chat.completion.input_tokens"
    input_tokens: int


class PromptDetails(Struct, frozen=True):
    cached_tokens: int


class CompletionDetails(Struct, frozen=True):
    reasoning_tokens: int


class WireUsage(Struct, frozen=True):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    completion_tokens_details: CompletionDetails


class WireTimings(Struct, frozen=True):
    """llama.cpp's field names; times in milliseconds, rates in tokens a second."""

    prompt_n: int
    """Prompt tokens that were computed."""
    cache_n: int
    """Prompt tokens that came from the prefix cache."""
    prompt_ms: float
    prompt_per_second: float
    predicted_n: int
    predicted_ms: float
    predicted_per_second: float
    queue_ms: float


class WireProgress(Struct, frozen=True):
    """llama.cpp's field names: tokens of the prompt, and milliseconds since it began to be computed."""

    total: int
    cache: int
    """Those that came from the prefix cache."""
    processed: int
    """Those that are in the KV cache by now, cached ones too."""
    time_ms: float


class WireTopLogprob(Struct, frozen=True):
    token: str
    logprob: float
    bytes: list[int]


class WireLogprob(Struct, frozen=True):
    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[WireTopLogprob]


class ChoiceLogprobs(Struct, frozen=True):
    content: list[WireLogprob]
    refusal: None = None


class FunctionDelta(Struct, frozen=True):
    name: str | UnsetType = UNSET
    arguments: str | UnsetType = UNSET


class CustomDelta(Struct, frozen=True):
    name: str | UnsetType = UNSET
    input: str | UnsetType = UNSET


class ChatCallDelta(Struct, frozen=True, kw_only=True):
    """A call's beginning, with id and name, or more of its arguments; of a custom tool, more of its input."""

    index: int
    id: str | UnsetType = UNSET
    type: str | UnsetType = UNSET
    function: FunctionDelta | UnsetType = UNSET
    custom: CustomDelta | UnsetType = UNSET


class ChatDelta(Struct, frozen=True):
    role: str | UnsetType = UNSET
    content: str | UnsetType | None = UNSET
    reasoning_content: str | UnsetType = UNSET
    reasoning: str | UnsetType = UNSET
    """The same by OpenRouter's and vLLM's name."""
    tool_calls: list[ChatCallDelta] | UnsetType = UNSET
    function_call: FunctionDelta | UnsetType = UNSET


class ChunkChoice(Struct, frozen=True):
    index: int
    delta: ChatDelta
    logprobs: ChoiceLogprobs | None = None
    finish_reason: str | None = None
    stop_reason: str | UnsetType = UNSET
    """`loop` where the loop guard ended the answer, which `finish_reason` calls `length`."""


class ChatChunk(Struct, frozen=True, kw_only=True):
    id: str
    object: str = "chat.completion.chunk"
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChunkChoice]
    usage: WireUsage | UnsetType | None = UNSET
    """Unset where the client did not ask for usage; null on every chunk but the last where it did."""
    timings: WireTimings | UnsetType = UNSET
    prompt_progress: WireProgress | UnsetType = UNSET


class ReplyFunction(Struct, frozen=True):
    name: str
    arguments: str
    """A JSON object."""


class ReplyCustom(Struct, frozen=True):
    name: str
    input: str


class ReplyCall(Struct, frozen=True, kw_only=True):
    id: str
    type: str = "function"
    function: ReplyFunction | UnsetType = UNSET
    custom: ReplyCustom | UnsetType = UNSET


class AssistantMessage(Struct, frozen=True, kw_only=True):
    role: str = "assistant"
    content: str | None
    """Null where nothing was said beside calls."""
    refusal: None = None
    reasoning_content: str | UnsetType = UNSET
    reasoning: str | UnsetType = UNSET
    """The same by OpenRouter's and vLLM's name."""
    tool_calls: list[ReplyCall] | UnsetType = UNSET
    function_call: ReplyFunction | UnsetType = UNSET
    """For requests in the form before there were tools."""


class ChatChoice(Struct, frozen=True):
    index: int
    message: AssistantMessage
    finish_reason: str
    logprobs: ChoiceLogprobs | None = None
    stop_reason: str | UnsetType = UNSET


class ChatCompletion(Struct, frozen=True, kw_only=True):
    id: str
    object: str = "chat.completion"
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChoice]
    usage: WireUsage
    timings: WireTimings


class DraftPosition(Struct, frozen=True, kw_only=True):
    """The first guess of a step, the second, and so on."""

    guessed: int
    kept: int
    """Of those, the ones that came true, with all before them."""


class DraftCard(Struct, frozen=True, kw_only=True):
    by: str
    """`prompt-lookup`, or the model that drafts."""
    guessed: int
    """Tokens that were guessed and verified."""
    kept: int
    """Of those, the ones that came true."""
    wasted: int
    """The others: they were computed in vain."""
    positions: list[DraftPosition]
    seconds_lost: float
    """That steps with guesses took beyond what their tokens would have taken without; searching in vain included."""
    seconds_gained: float
    """That steps with guesses took less."""
    problem: str | None = None
    """Why nothing is guessed any more."""


class ModelMeta(Struct, frozen=True, kw_only=True):
    """llama.cpp's field names; null where the number is unknown."""

    n_ctx: int | None = None
    n_ctx_train: int | None = None
    n_params: int | None = None
    size: int | None = None
    """Bytes."""
    n_vocab: int | None = None
    n_embd: int | None = None
    vocab_type: int | None = None
    kv_type: str | None = None
    """Of the KV cache, as the option `kv_type`; not llama.cpp's, as the field below."""
    kv_bytes_per_token: int | None = None


class ModelCard(Struct, frozen=True, kw_only=True):
    id: str
    object: str = "model"
    created: int
    owned_by: str
    engine: str | None = None
    """Null while unknown, as are the fields below: before the model is loaded, or where its engine does not tell."""
    state: str
    """`ready`, `loading`, `restarting`, `failed`, or `broken` and `unloaded`: then a request for it loads it."""
    architecture: str | None = None
    quantization: str | None = None
    parameters: int | None = None
    context_length: int | None = None
    max_model_len: int | None = None
    """The same by vLLM's name."""
    meta: ModelMeta = ModelMeta()
    pinned: bool = False
    resident_bytes: int = 0
    """What loading it was measured to take."""
    requests: int = 0
    """That hold it now."""
    idle_seconds: float = 0.0
    draft: DraftCard | None = None
    """What guesses ahead for it; null where nothing does."""
    notes: list[str] = []
    """What a user should know about how it was loaded, in sentences."""


class ModelList(Struct, frozen=True, kw_only=True):
    object: str = "list"
    data: list[ModelCard]
