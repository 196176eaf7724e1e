"""Replies of Ollama's API."""

from __future__ import annotations

from msgspec import UNSET, Raw, Struct, UnsetType


class TokenChances(Struct, frozen=True, kw_only=True):
    token: str
    logprob: float
    bytes: list[int]


class PlaceLogprob(TokenChances, frozen=True, kw_only=True):
    """The token that was drawn at a place, and the likeliest there."""

    top_logprobs: list[TokenChances] | UnsetType = UNSET


class OllamaLine(Struct, frozen=True, kw_only=True):
    """A line of a stream, or a whole reply. Durations are nanoseconds, told with the end."""

    model: str
    """As the client named it."""
    created_at: str
    done: bool = False
    done_reason: str | UnsetType = UNSET
    """`stop` or `length`; `load` or `unload` where nothing was asked."""
    logprobs: list[PlaceLogprob] | UnsetType = UNSET
    total_duration: int | UnsetType = UNSET
    load_duration: int | UnsetType = UNSET
    """Until its model was there."""
    prompt_eval_count: int | UnsetType = UNSET
    """Tokens of the prompt, cached ones too."""
    prompt_eval_duration: int | UnsetType = UNSET
    eval_count: int | UnsetType = UNSET
    eval_duration: int | UnsetType = UNSET
    """From the first token to the last."""


class WholeFunction(Struct, frozen=True, kw_only=True):
    index: int
    name: str
    arguments: Raw
    """An object."""


class WholeCall(Struct, frozen=True):
    id: str
    function: WholeFunction


class SpokenMessage(Struct, frozen=True, kw_only=True):
    role: str = "assistant"
    content: str
    thinking: str | UnsetType = UNSET
    tool_calls: list[WholeCall] | UnsetType = UNSET


class ChatLine(OllamaLine, frozen=True, kw_only=True):
    message: SpokenMessage


class GenerateLine(OllamaLine, frozen=True, kw_only=True):
    response: str
    thinking: str | UnsetType = UNSET
    context: list[int] | UnsetType = UNSET
    """The conversation up to here, for the next request to go on with; of use to this server alone."""


class EmbedReply(Struct, frozen=True, kw_only=True):
    model: str
    embeddings: list[list[float]]
    """Of length one."""
    total_duration: int
    load_duration: int
    prompt_eval_count: int


class EmbeddingVector(Struct, frozen=True):
    """The reply to POST /api/embeddings."""

    embedding: list[float]
    """As the model gives it."""


class ModelDetails(Struct, frozen=True, kw_only=True):
    parent_model: str = ""
    format: str = ""
    family: str = ""
    families: list[str] = []
    parameter_size: str = ""
    quantization_level: str = ""
    context_length: int | UnsetType = UNSET
    embedding_length: int | UnsetType = UNSET


class TaggedModel(Struct, frozen=True, kw_only=True):
    name: str
    model: str
    modified_at: str
    size: int
    """Bytes on disk."""
    digest: str
    """The file's SHA-256 where the Hub told it, else one of its path, size and time."""
    details: ModelDetails
    capabilities: list[str]


class TagList(Struct, frozen=True):
    models: list[TaggedModel]


class RunningModel(Struct, frozen=True, kw_only=True):
    name: str
    model: str
    size: int
    """Bytes in memory."""
    digest: str
    details: ModelDetails
    expires_at: str
    """When it is unloaded, if nobody asks it anything; in centuries where it stays."""
    size_vram: int
    context_length: int


class RunningList(Struct, frozen=True):
    models: list[RunningModel]


class ShownModel(Struct, frozen=True, kw_only=True):
    modelfile: str
    parameters: str
    template: str
    """Jinja."""
    details: ModelDetails
    model_info: dict[str, str | int]
    capabilities: list[str]
    modified_at: str


class PullLine(Struct, frozen=True, kw_only=True):
    """How far a download is."""

    status: str
    digest: str | UnsetType = UNSET
    total: int | UnsetType = UNSET
    completed: int | UnsetType = UNSET


class SpokenVersion(Struct, frozen=True):
    version: str
    """Of Ollama, whose API this is like."""
    server: str
    """This program and its version."""
