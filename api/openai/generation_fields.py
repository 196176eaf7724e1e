"""Fields that requests for text have in common, whatever their prompt: how tokens are drawn, where the answer ends, who
goes first; and what they mean to the core."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, ClassVar, Final

from msgspec import Meta

from api.http.field_rules import Json
from api.http.settle import Wire
from api.openai import fields
from api.openai.constraints import NEUTRAL, ConstraintFields, read_constraint
from api.openai.samplers import SamplersValue, choose_samplers
from core.errors import RequestError
from core.names import clean_name
from core.requests import Caller, Generation, LineBounds, Priority, RawText, SamplingWish
from core.serving.ready import Traits

Extent = Annotated[int, Meta(ge=-1, le=2**31 - 1)]
"""A number of tokens; -1 stands for any number, as llama-server has it."""
Room = Annotated[int, Meta(ge=-1, le=2**31 - 1, extra_json_schema={"not": {"const": 0}})]
"""The same, and not zero."""
Share = Annotated[float, Meta(ge=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Bias = Annotated[float, Meta(ge=-100, le=100)] | Annotated[bool, Meta(extra_json_schema={"const": False})]
"""False is never, as llama.cpp has it."""
BiasedText = Annotated[str, Meta(max_length=1024)]
StopText = Annotated[str, Meta(max_length=1024)]
TokenNumber = Annotated[int, Meta(ge=0, le=2**31 - 1)]
ModelName = Annotated[str, Meta(max_length=1024)]
"""Left out, or empty, it stands for the model that is served, see `RequestIntake.choose_model`."""
LIMITS: Final = ("max_completion_tokens", "max_tokens", "n_predict")
"""Names of one limit; the first that is given counts."""
TIERS: Final = {
    "auto": Priority.NORMAL,
    "default": Priority.NORMAL,
    "flex": Priority.BATCH,
    "priority": Priority.INTERACTIVE,
    "fast": Priority.INTERACTIVE,
}
"""What `service_tier` asks for."""
ONE_LIMIT: Final[Json] = {
    "anyOf": [{"properties": {name: {"type": "null"}}} for name in ("max_tokens", "max_completion_tokens")]
}
"""A client that sends both must give them the same value, which no schema can say."""


class StreamOptions(Wire, frozen=True):
    rules = fields.STREAM_OPTIONS

    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None
    """Each chunk tells the usage so far, as vLLM has it."""


class GenerationFields(ConstraintFields, frozen=True):
    """What OpenAI has in all its requests for text, and the extensions of llama.cpp and others."""

    extra_neutral = {**NEUTRAL, "logit_bias": ([],), "stream_options": ([],)}

    further_schema = {"allOf": [ONE_LIMIT]}
    least_tokens: ClassVar[int] = 1
    """New tokens that a request may ask for."""

    model: ModelName | None = None

    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Meta(ge=1, le=16)] | None = None
    stop: StopText | Annotated[list[StopText], Meta(max_length=16)] | None = None
    max_tokens: Room | None = None
    max_completion_tokens: Room | None = None

    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Share | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    logit_bias: (
        Annotated[dict[BiasedText, Bias], Meta(max_length=1024)]
        | Annotated[list[tuple[TokenNumber | BiasedText, Bias]], Meta(max_length=1024)]
        | None
    ) = None
    """By token ids, as OpenAI has it; as llama.cpp has it by texts too, for each of their tokens, and as pairs."""

    # Extensions of llama.cpp and others
    n_predict: Room | None = None
    top_k: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | None = None
    min_p: Share | None = None
    typical_p: Share | None = None
    typ_p: Share | None = None
    """llama.cpp's other name of it."""
    repeat_penalty: Annotated[float, Meta(gt=0, le=10)] | None = None
    repeat_last_n: Annotated[int, Meta(ge=-1, le=2**20)] | None = None
    repetition_penalty: Annotated[float, Meta(gt=0, le=10)] | None = None
    """vLLM's and Hugging Face's: a `repeat_penalty` that looks at the whole text."""
    samplers: SamplersValue | None = None
    t_max_predict_ms: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | None = None
    """An answer with a line feed ends after so many milliseconds; they count from its first token, and -1 and 0 are any
    number."""
    n_indent: Annotated[int, Meta(ge=0, le=4096)] | None = None
    """An answer ends before a further line that does not begin with so many blanks and tabs."""
    ignore_eos: bool | None = None
    cache_prompt: bool | None = None
    cache_salt: Annotated[str, Meta(max_length=256)] | None = None
    """Only requests with the same salt share cached prefixes, as with vLLM."""
    reproducible: bool | None = None
    """The answer must not depend on other requests or on caches; refused where the model is not loaded for that."""
    priority: Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)] | Priority | None = None
    """Above zero is batch, below zero interactive, as with vLLM; or the word."""
    service_tier: Annotated[str, Meta(max_length=64)] | None = None
    """OpenAI's: `flex` is batch, `priority` interactive; `priority` says more where both are given."""
    return_progress: bool | None = None
    """Chunks of a stream tell how far the prompt is computed."""
    timings_per_token: bool | None = None
    best_of: Annotated[int, Meta(ge=0, le=16, extra_json_schema={"maximum": 1})] | None = None
    """As many as there are choices, or one."""
    min_tokens: Annotated[int, Meta(ge=0, le=2**31 - 1, extra_json_schema={"maximum": 0})] | None = None
    """Zero, or together with `ignore_eos`, under which no answer ends early."""


def translate_fields(
    body: GenerationFields, *, logprobs: int | None, limit: int | None = None, caller: Caller, request_id: str
) -> Generation:
    """The canonical request but for its prompt. Raises RequestError, which names the field, for what cannot be done.

    `logprobs`: as `Sampling` has it; `limit`: new tokens where the request does not say how many. The model is empty
    where the request names none. Raises ModelNotFound for a name of blanks alone.
    """
    refuse_unsupported_fields(body)
    said = limit if (given := read_limit(body)) is None else given
    return Generation(
        model=clean_name(body.model) if body.model else "",
        prompt=RawText(""),
        sampling=read_sampling(body, logprobs),
        max_tokens=None if said == -1 else said,
        lines=LineBounds(seconds=max(body.t_max_predict_ms or 0, 0) / 1000 or None, indent=body.n_indent or 0),
        biased_texts=tuple(read_text_biases(body)),
        stop=read_stop(body),
        n=body.n or 1,
        constraint=read_constraint(body),
        ignore_eos=bool(body.ignore_eos),
        cache=body.cache_prompt is not False,
        cache_salt=body.cache_salt or None,
        reproducible=bool(body.reproducible),
        tell_prefill=bool(body.stream and body.return_progress),
        tell_timings=is_timed(body),
        caller=caller,
        priority=read_priority(body),
        request_id=request_id,
    )


def read_stop(body: GenerationFields) -> tuple[str, ...]:
    """An empty text stands everywhere, and so marks nothing."""
    stop = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    return tuple(text for text in stop if text)


def read_limit(body: GenerationFields) -> int | None:
    """New tokens at most; -1 for any number, None where nothing is said. Raises RequestError for zero where that asks
    for nothing, and for two limits that differ."""
    given = {name: value for name in LIMITS if (value := getattr(body, name)) is not None}
    for name, value in given.items():
        if value == 0 and body.least_tokens:
            raise RequestError(f"The field `{name}` is wrong: expected at least 1, or -1 for as many as fit.", name)
    old, new = body.max_tokens, body.max_completion_tokens
    if old is not None and new is not None and old != new:
        raise RequestError(
            f"`max_tokens` is {old} and `max_completion_tokens` is {new}; send one of them.", "max_completion_tokens"
        )
    # llama.cpp's own name counts where OpenAI's are left out.
    return next(iter(given.values()), None)


def read_priority(body: GenerationFields) -> Priority:
    if isinstance(body.priority, Priority):
        return body.priority
    if body.priority:
        return Priority.BATCH if body.priority > 0 else Priority.INTERACTIVE
    return TIERS.get(body.service_tier or "", Priority.NORMAL)


def read_sampling(body: GenerationFields, logprobs: int | None) -> SamplingWish:
    """`logprobs`: as `Sampling` has it. Raises RequestError for two penalties that differ."""
    repeat_penalty, repeat_last_n = _read_repetition(body)
    wish = SamplingWish(
        temperature=body.temperature,
        top_k=None if body.top_k is None else max(body.top_k, 0),
        top_p=body.top_p,
        min_p=body.min_p,
        typical_p=body.typ_p if body.typical_p is None else body.typical_p,
        repeat_penalty=repeat_penalty,
        repeat_last_n=repeat_last_n,
        frequency_penalty=body.frequency_penalty,
        presence_penalty=body.presence_penalty,
        logit_bias=None if body.logit_bias is None else tuple(read_biases(body)),
        seed=body.seed,
        logprobs=logprobs,
    )
    return choose_samplers(wish, body.samplers)


def _read_repetition(body: GenerationFields) -> tuple[float | None, int | None]:
    """The penalty, and how many tokens it looks back; -1 for all."""
    ours, theirs = body.repeat_penalty, body.repetition_penalty
    if theirs is None:
        return ours, body.repeat_last_n
    if ours not in (None, theirs):
        raise RequestError(
            f"`repeat_penalty` is {ours:g} and `repetition_penalty` is {theirs:g}; send one of them.",
            "repetition_penalty",
        )
    return theirs, -1 if body.repeat_last_n is None else body.repeat_last_n


def read_biases(body: GenerationFields) -> Iterator[tuple[int, float]]:
    """Those of token ids."""
    for token, bias in _each_bias(body):
        if isinstance(token, int):
            yield token, bias


def read_text_biases(body: GenerationFields) -> Iterator[tuple[str, float]]:
    """Those of the tokens of texts."""
    for text, bias in _each_bias(body):
        if isinstance(text, str) and text:
            yield text, bias


def _each_bias(body: GenerationFields) -> Iterator[tuple[int | str, float]]:
    """Raises RequestError."""
    given = body.logit_bias or {}
    for token, bias in given.items() if isinstance(given, dict) else given:
        if bias is True:
            raise RequestError("A bias in `logit_bias` is a number, or false for never.", "logit_bias")
        yield _read_token(token) if isinstance(given, dict) else token, -math.inf if bias is False else bias


def _read_token(name: int | str) -> int | str:
    """An id as JSON's objects have it, or a text. The length keeps int() from the digits of a novel; no vocabulary has
    ids of ten digits."""
    number = isinstance(name, str) and len(name) < 10 and name.isascii() and name.isdigit()
    return int(name) if number else name


def is_timed(body: GenerationFields) -> bool:
    """Whether chunks of a stream say what their choice has taken so far."""
    options = body.stream_options
    return bool(body.stream and (body.timings_per_token or (options and options.continuous_usage_stats)))


def list_dropped_fields(body: GenerationFields) -> Iterator[str]:
    """Fields of these that nothing can come of, whatever the model."""
    if body.service_tier and body.service_tier not in TIERS:
        yield "service_tier"
    other = body.max_tokens if body.max_completion_tokens is None else body.max_completion_tokens
    if other is not None and body.n_predict not in (None, other):
        yield "n_predict"


def list_vain_fields(body: GenerationFields, traits: Traits) -> Iterator[str]:
    """Fields of these that nothing comes of with a model of these traits."""
    if traits.vocabulary is not None and any(token >= traits.vocabulary for token, _ in read_biases(body)):
        yield "logit_bias"
    if traits.stepwise:
        return
    if body.stream:
        yield from (name for name in ("return_progress", "timings_per_token") if getattr(body, name))
    yield from (name for name in ("t_max_predict_ms", "n_indent") if (getattr(body, name) or 0) > 0)


def refuse_unsupported_fields(body: GenerationFields) -> None:
    """Raises RequestError for values that nothing here can do."""
    if body.best_of is not None and body.best_of not in (0, 1, body.n or 1):
        raise build_unsupported("best_of", "choosing the best of more answers than are asked for")
    if body.min_tokens and not (body.ignore_eos and not body.stop):
        raise RequestError(
            "This server does not support `min_tokens` yet; send the request without it, or with `ignore_eos`.",
            "min_tokens",
        )


def build_unsupported(field: str, what: str) -> RequestError:
    return RequestError(f"This server does not support {what} yet; send the request without `{field}`.", field)
