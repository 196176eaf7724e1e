"""Requests and replies of the OpenAI dialect as they stand on the wire, with the bounds of every field.

Fields are of three kinds. Those with a type do what OpenAI's reference (or llama.cpp's, for the extensions) says.
Those of type `Ignored` change no answer, so they are taken and forgotten. Those of type `Unsupported` would change the
answer; a request that uses one is refused by name. Any other field is refused too: it may be a mistyped one.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from core.requests import Role, Scalar

Ignored = Raw | UnsetType
Unsupported = Raw | UnsetType

Natural = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Share = Annotated[float, Meta(ge=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Bias = Annotated[float, Meta(ge=-100, le=100)]
StopText = Annotated[str, Meta(min_length=1, max_length=1024)]


class Wire(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of a request."""


class TextPart(Wire, frozen=True, tag="text"):
    text: str
    cache_control: Ignored = UNSET


class RefusalPart(Wire, frozen=True, tag="refusal"):
    refusal: str


class ImagePart(Wire, frozen=True, tag="image_url"):
    image_url: Unsupported = UNSET


class AudioPart(Wire, frozen=True, tag="input_audio"):
    input_audio: Unsupported = UNSET


class VideoPart(Wire, frozen=True, tag="video_url"):
    video_url: Unsupported = UNSET


class FilePart(Wire, frozen=True, tag="file"):
    file: Unsupported = UNSET


ContentPart = TextPart | RefusalPart | ImagePart | AudioPart | VideoPart | FilePart
Content = str | Annotated[list[ContentPart], Meta(max_length=4096)] | None


class ChatMessage(Wire, frozen=True):
    role: Role
    content: Content = None
    name: Annotated[str, Meta(max_length=256)] | None = None
    refusal: str | None = None
    tool_calls: list[Raw] | None = None
    function_call: Unsupported = UNSET
    audio: Unsupported = UNSET
    tool_call_id: Ignored = UNSET
    annotations: Ignored = UNSET
    reasoning: Ignored = UNSET
    reasoning_content: Ignored = UNSET


class StreamOptions(Wire, frozen=True):
    include_usage: bool | None = None
    include_obfuscation: Ignored = UNSET


class ResponseFormat(Struct, frozen=True):
    """Only `text` yet; the other fields belong to the types that are refused."""

    type: str


class ChatRequest(Wire, frozen=True):
    """The body of POST /v1/chat/completions."""

    model: Annotated[str, Meta(min_length=1, max_length=1024)]
    messages: Annotated[list[ChatMessage], Meta(min_length=1, max_length=65_536)]

    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Meta(ge=1, le=16)] | None = None
    stop: StopText | Annotated[list[StopText], Meta(max_length=16)] | None = None
    max_tokens: Natural | None = None
    max_completion_tokens: Natural | None = None

    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Share | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    logit_bias: Annotated[dict[str, Bias], Meta(max_length=1024)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None

    # llama.cpp's extensions
    top_k: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | None = None
    min_p: Share | None = None
    typical_p: Share | None = None
    repeat_penalty: Annotated[float, Meta(gt=0, le=10)] | None = None
    repeat_last_n: Annotated[int, Meta(ge=-1, le=2**20)] | None = None
    ignore_eos: bool | None = None
    cache_prompt: bool | None = None
    chat_template_kwargs: Annotated[dict[str, Scalar], Meta(max_length=64)] | None = None

    # would change the answer
    tools: list[Raw] | None = None
    tool_choice: Unsupported = UNSET
    functions: list[Raw] | None = None
    function_call: Unsupported = UNSET
    response_format: ResponseFormat | None = None
    modalities: list[str] | None = None
    audio: Unsupported = UNSET
    web_search_options: Unsupported = UNSET

    # change no answer
    metadata: Ignored = UNSET
    moderation: Ignored = UNSET
    parallel_tool_calls: Ignored = UNSET
    prediction: Ignored = UNSET
    prompt_cache_key: Ignored = UNSET
    prompt_cache_options: Ignored = UNSET
    prompt_cache_retention: Ignored = UNSET
    reasoning_effort: Ignored = UNSET
    return_progress: Ignored = UNSET
    safety_identifier: Ignored = UNSET
    service_tier: Ignored = UNSET
    store: Ignored = UNSET
    timings_per_token: Ignored = UNSET
    user: Ignored = UNSET
    verbosity: Ignored = UNSET


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


class TopLogprob(Struct, frozen=True):
    token: str
    logprob: float
    bytes: list[int]


class WireLogprob(Struct, frozen=True):
    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[TopLogprob]


class ChoiceLogprobs(Struct, frozen=True):
    content: list[WireLogprob]
    refusal: None = None


class Delta(Struct, frozen=True):
    role: str | UnsetType = UNSET
    content: str | UnsetType = UNSET


class ChunkChoice(Struct, frozen=True):
    index: int
    delta: Delta
    logprobs: ChoiceLogprobs | None = None
    finish_reason: str | None = None


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


class AssistantMessage(Struct, frozen=True, kw_only=True):
    role: str = "assistant"
    content: str
    refusal: None = None


class ChatChoice(Struct, frozen=True):
    index: int
    message: AssistantMessage
    finish_reason: str
    logprobs: ChoiceLogprobs | None = None


class ChatCompletion(Struct, frozen=True, kw_only=True):
    id: str
    object: str = "chat.completion"
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChoice]
    usage: WireUsage
    timings: WireTimings


class DraftCard(Struct, frozen=True, kw_only=True):
    by: str
    """`prompt-lookup`, or the model that drafts."""
    guessed: int
    """Tokens that were guessed and verified."""
    kept: int
    """Of those, the ones that came true."""
    problem: str | None = None
    """Why nothing is guessed any more."""


class ModelCard(Struct, frozen=True, kw_only=True):
    id: str
    object: str = "model"
    created: int
    owned_by: str
    engine: str | None = None
    """Null, as what follows is, while nobody knows: before it is loaded, or where the engine does not tell."""
    state: str
    """`ready`, `loading`, `restarting`, `failed`, or `unloaded`: then a request for it loads it."""
    architecture: str | None = None
    quantization: str | None = None
    parameters: int | None = None
    context_length: int | None = None
    pinned: bool = False
    resident_bytes: int = 0
    """What loading it was measured to take."""
    requests: int = 0
    """That hold it now."""
    idle_seconds: float = 0.0
    draft: DraftCard | None = None
    """What guesses ahead for it; null where nothing does."""


class ModelList(Struct, frozen=True, kw_only=True):
    object: str = "list"
    data: list[ModelCard]
