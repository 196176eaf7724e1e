"""Requests of Ollama's API, with its field names; see its reference."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import UNSET, Meta, UnsetType

from api.http.field_rules import EMPTY
from api.http.settle import Wire
from api.ollama import fields
from api.ollama.past import MOST_MESSAGES
from api.openai.constraints import FormatValue
from api.openai.generation_fields import ModelName, Penalty, Share, StopText
from api.openai.message_wire import MOST_CALLS, ArgumentsValue, Identity
from api.openai.tools_wire import Tools
from core.errors import RequestError

KeepAlive = float | Annotated[str, Meta(max_length=256)]
Think = bool | Literal["low", "medium", "high", "max"]
MOST_CONTEXT_INTEGERS: Final = 4_000_000


class OllamaOptions(Wire, frozen=True):
    """How tokens are drawn, and where an answer ends."""

    rules = fields.OPTIONS
    extra_neutral = {"stop": ("", [])}

    num_ctx: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    num_predict: Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)] | None = None
    """Zero and less stand for any number."""
    temperature: Annotated[float, Meta(ge=0, le=100)] | None = None
    top_k: Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)] | None = None
    top_p: Share | None = None
    min_p: Share | None = None
    typical_p: Share | None = None
    repeat_last_n: Annotated[int, Meta(ge=-1, le=2**20)] | None = None
    repeat_penalty: Annotated[float, Meta(gt=0, le=10)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    """-1 draws one."""
    stop: StopText | Annotated[list[StopText], Meta(max_length=16)] | None = None


class AskedAnswer(Wire, frozen=True):
    """What requests for text have in common."""

    extra_neutral = {"format": EMPTY, "think": ("",), "keep_alive": ("",), "options": ([],)}

    model: ModelName | None = None
    stream: bool | None = None
    """Unless it is false."""
    format: FormatValue | UnsetType = UNSET
    options: OllamaOptions | None = None
    keep_alive: KeepAlive | None = None
    think: Think | None = None
    truncate: bool | None = None
    """Unless it is false, the oldest turns of a conversation that is too long are left out."""
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None


class OllamaFunction(Wire, frozen=True):
    rules = fields.FUNCTION

    name: Annotated[str, Meta(min_length=1, max_length=256)]
    arguments: ArgumentsValue | UnsetType = UNSET


class OllamaCall(Wire, frozen=True, kw_only=True):
    rules = fields.CALL

    id: Identity | None = None
    function: OllamaFunction


class OllamaMessage(Wire, frozen=True):
    rules = fields.MESSAGE

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | None = None
    thinking: str | None = None
    tool_calls: Annotated[list[OllamaCall], Meta(max_length=MOST_CALLS)] | None = None
    tool_name: Annotated[str, Meta(max_length=256)] | None = None
    """Which tool's result a message is."""
    tool_call_id: Identity | None = None


class OllamaChat(AskedAnswer, frozen=True):
    """The body of POST /api/chat."""

    rules = fields.CHAT
    bulky = ("tools",)

    messages: Annotated[list[OllamaMessage], Meta(max_length=MOST_MESSAGES)] | None = None
    """Without any, the model is loaded, or unloaded where it is to be kept for no time."""
    tools: Tools | None = None


class OllamaGenerate(AskedAnswer, frozen=True):
    """The body of POST /api/generate."""

    rules = fields.GENERATE

    prompt: str | None = None
    """Without one, as a chat without messages."""
    suffix: str | None = None
    system: str | None = None
    raw: bool | None = None
    context: (
        Annotated[list[Annotated[int, Meta(ge=0, le=2**32 - 1)]], Meta(max_length=MOST_CONTEXT_INTEGERS)] | None
    ) = None
    """What the reply to an earlier request had under this name."""


class OllamaEmbed(Wire, frozen=True):
    """The body of POST /api/embed."""

    rules = fields.EMBED
    extra_neutral = {"keep_alive": ("",), "dimensions": (0,), "input": ("", [])}

    model: ModelName | None = None
    input: str | Annotated[list[str], Meta(max_length=2048)] | None = None
    """Without any, the model is loaded."""
    truncate: bool | None = None
    dimensions: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    keep_alive: KeepAlive | None = None


class OllamaEmbedding(Wire, frozen=True):
    """The body of POST /api/embeddings."""

    rules = fields.EMBED
    extra_neutral = {"keep_alive": ("",)}

    model: ModelName | None = None
    prompt: str | None = None
    keep_alive: KeepAlive | None = None


class NamedModel(Wire, frozen=True):
    """A request about one model, whose name has two names."""

    extra_neutral = {"name": ("",), "model": ("",)}

    model: ModelName | None = None
    name: ModelName | None = None
    """The same, as older clients have it."""

    @property
    def called(self) -> str:
        """Raises RequestError where neither is given."""
        if not (found := self.model or self.name):
            raise RequestError("The field `model` is missing.", "model")
        return found


class OllamaShow(NamedModel, frozen=True):
    """The body of POST /api/show."""

    rules = fields.SHOW

    verbose: bool | None = None


class OllamaPull(NamedModel, frozen=True):
    """The body of POST /api/pull."""

    rules = fields.PULL

    stream: bool | None = None


class OllamaDelete(NamedModel, frozen=True):
    """The body of DELETE /api/delete."""
