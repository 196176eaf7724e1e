"""Requests and replies of /v1/completions as they stand on the wire; see `api.openai.generation_fields`."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from api.openai import fields
from api.openai.generation_fields import Extent, GenerationFields
from api.openai.wire import WireProgress, WireTimings, WireUsage

TokenId = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Tokens = Annotated[list[TokenId], Meta(max_length=4_000_000)]
PromptValue = str | Annotated[list[str | TokenId | Tokens], Meta(max_length=4_000_000)]
"""A text, a list of token ids, or a list of texts and of lists of token ids."""


class PromptFields(GenerationFields, frozen=True, kw_only=True):
    """Of requests whose prompt stands as it is. With zero new tokens the prompt is computed, and that is all."""

    least_tokens = 0

    max_tokens: Extent | None = None
    max_completion_tokens: Extent | None = None
    n_predict: Extent | None = None


class CompletionRequest(PromptFields, frozen=True, kw_only=True):
    """The body of POST /v1/completions."""

    rules = fields.COMPLETION

    prompt: PromptValue
    suffix: str | None = None
    """What follows the text that is asked for, for models that fill gaps."""
    echo: bool | None = None
    """The answer begins with the prompt, and its log-probabilities with those of the prompt's tokens."""
    logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    """So many of the likeliest tokens are told beside those drawn."""


class CompletionLogprobs(Struct, frozen=True):
    """Four parallel lists, an item a token."""

    tokens: list[str]
    token_logprobs: list[float | None]
    """Null for the token that a prompt begins with; so is the next."""
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]
    """Characters before the token in the choice's text."""


class CompletionChoice(Struct, frozen=True):
    text: str
    index: int
    logprobs: CompletionLogprobs | None = None
    finish_reason: str | None = None
    stop_reason: str | UnsetType = UNSET
    """As of a chat completion."""


class Completion(Struct, frozen=True, kw_only=True):
    """A whole reply, or a chunk of a stream."""

    id: str
    object: str = "text_completion"
    created: int
    model: str
    system_fingerprint: str
    choices: list[CompletionChoice]
    usage: WireUsage | UnsetType | None = UNSET
    timings: WireTimings | UnsetType = UNSET
    prompt_progress: WireProgress | UnsetType = UNSET
