"""Requests and replies of llama.cpp's own routes, with its field names; see its server's reference."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import UNSET, Meta, Struct, UnsetType

from api.http.settle import Wire
from api.openai import fields
from api.openai.completions_wire import PromptFields, TokenId, Tokens
from api.openai.generation_fields import ModelName
from api.openai.wire import WireProgress, WireTimings

MOST_FILES: Final = 1024
Name = Annotated[str, Meta(max_length=4096)]


class BoxedPrompt(Wire, frozen=True):
    """A prompt beside media, of which there can be none here."""

    rules = fields.BOXED_PROMPT

    prompt_string: str


Piece = str | TokenId | Tokens | BoxedPrompt
NativePrompt = str | BoxedPrompt | Annotated[list[Piece], Meta(max_length=4_000_000)]
"""One prompt: a text, token ids, or both mixed; or a list of prompts."""


class NativeFields(PromptFields, frozen=True, kw_only=True):
    """What requests for text have in llama.cpp beside what they share with OpenAI's."""

    n_probs: Annotated[int, Meta(ge=0, le=100)] | None = None
    """So many of the likeliest tokens are told at each place."""
    post_sampling_probs: bool | None = None
    """They are told as they are once penalties, truncation and temperature are counted in."""
    n_cmpl: Annotated[int, Meta(ge=1, le=16)] | None = None
    """llama.cpp's name for `n`."""
    return_tokens: bool | None = None
    response_fields: Annotated[list[Name], Meta(max_length=256)] | None = None
    """Which fields the reply has, as `generation_settings/n_predict`; all where none is named."""


class NativeRequest(NativeFields, frozen=True, kw_only=True):
    """The body of POST /completion."""

    rules = fields.NATIVE

    prompt: NativePrompt


class ExtraFile(Wire, frozen=True):
    rules = fields.EXTRA_FILE

    text: str
    filename: Name | None = None


class InfillRequest(NativeFields, frozen=True, kw_only=True):
    """The body of POST /infill."""

    rules = fields.NATIVE

    input_prefix: str
    input_suffix: str
    input_extra: Annotated[list[ExtraFile], Meta(max_length=MOST_FILES)] | None = None
    prompt: str | None = None
    """What the answer begins with already."""


class GenerationSettings(Struct, frozen=True, kw_only=True):
    """How an answer was made."""

    n_predict: int
    """-1 is any number."""
    max_tokens: int
    seed: int
    """-1 stands for one that was drawn."""
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    typical_p: float
    repeat_last_n: int
    repeat_penalty: float
    presence_penalty: float
    frequency_penalty: float
    stop: list[str]
    ignore_eos: bool
    stream: bool
    n_probs: int
    post_sampling_probs: bool
    n_indent: int
    t_max_predict_ms: int
    """-1 is any number."""
    logit_bias: list[tuple[int, float]] = []
    samplers: tuple[str, ...]
    mirostat: int = 0
    """Off, as are all samplers below."""
    dynatemp_range: float = 0.0
    dry_multiplier: float = 0.0
    xtc_probability: float = 0.0
    top_n_sigma: float = -1.0
    adaptive_target: float = -1.0
    adaptive_decay: float = 0.0


class TokenChance(Struct, frozen=True, kw_only=True):
    id: int | None
    token: str
    bytes: list[int]
    logprob: float | UnsetType = UNSET
    """By the model's own distribution."""
    prob: float | UnsetType = UNSET
    """By the one that the token was drawn from, with `post_sampling_probs`."""


class PlaceChances(TokenChance, frozen=True, kw_only=True):
    """The token that was drawn at a place, and the likeliest there, by one of the two."""

    top_logprobs: list[TokenChance] | UnsetType = UNSET
    top_probs: list[TokenChance] | UnsetType = UNSET
    """Fewer than were asked for where no others could be drawn."""


class NativeCompletion(Struct, frozen=True, kw_only=True):
    """A whole reply, and the last event of a stream."""

    index: int
    content: str
    tokens: list[int]
    id_slot: int = -1
    """Slots have no numbers here."""
    stop: bool = True
    model: str
    tokens_predicted: int
    tokens_evaluated: int
    generation_settings: GenerationSettings
    prompt: str
    has_new_line: bool
    truncated: bool = False
    """Nothing is ever cut here."""
    stop_type: str
    """`eos`, `word` or `limit`; `loop` where the loop guard ended the answer."""
    stopping_word: str
    tokens_cached: int
    timings: WireTimings
    completion_probabilities: list[PlaceChances] | UnsetType = UNSET


class NativeChunk(Struct, frozen=True, kw_only=True):
    """An event of a stream."""

    index: int
    content: str
    tokens: list[int]
    stop: bool = False
    id_slot: int = -1
    tokens_predicted: int
    tokens_evaluated: int
    timings: WireTimings | UnsetType = UNSET
    completion_probabilities: list[PlaceChances] | UnsetType = UNSET
    prompt_progress: WireProgress | UnsetType = UNSET


class TokenizeRequest(Wire, frozen=True, kw_only=True):
    """The body of POST /tokenize; `prompt` and `messages` as vLLM has them."""

    rules = fields.TOKENS

    content: str | None = None
    prompt: str | None = None
    model: ModelName | None = None
    add_special: bool | None = None
    add_special_tokens: bool | None = None
    parse_special: bool | None = None
    with_pieces: bool | None = None


class TokenPiece(Struct, frozen=True):
    id: int
    piece: str | list[int]
    """The token's bytes where they are no text by themselves."""


class TokenizeReply(Struct, frozen=True, kw_only=True):
    tokens: list[int | TokenPiece]
    count: int
    max_model_len: int | None
    """Tokens that one request may hold."""


class DetokenizeRequest(Wire, frozen=True, kw_only=True):
    """The body of POST /detokenize."""

    rules = fields.TOKENS

    tokens: Tokens
    model: ModelName | None = None


class DetokenizeReply(Struct, frozen=True, kw_only=True):
    content: str
    prompt: str
    """The same by vLLM's name."""


class WrittenPrompt(Struct, frozen=True):
    """The reply to POST /apply-template."""

    prompt: str


class DefaultSettings(Struct, frozen=True, kw_only=True):
    n_ctx: int | None
    params: GenerationSettings


class Modalities(Struct, frozen=True):
    vision: bool = False
    audio: bool = False


class Props(Struct, frozen=True, kw_only=True):
    """The reply to GET /props."""

    default_generation_settings: DefaultSettings
    total_slots: int
    model_alias: str
    model_path: str
    """The model's name: clients have no use for where it lies."""
    modalities: Modalities = Modalities()
    chat_template: str
    bos_token: str
    eos_token: str
    build_info: str
    is_sleeping: bool = False


class NextToken(Struct, frozen=True):
    n_decoded: int
    has_next_token: bool = True


class Slot(Struct, frozen=True, kw_only=True):
    """One place at which a request may run."""

    id: int
    n_ctx: int | None
    speculative: bool
    is_processing: bool
    id_task: str | UnsetType = UNSET
    """The request's id, where one runs."""
    n_prompt_tokens: int = 0
    n_prompt_tokens_processed: int = 0
    n_prompt_tokens_cache: int = 0
    next_token: list[NextToken] = []
