"""From events to replies of llama.cpp's own route for completions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from api.http.answer import frame_event
from api.llama_cpp.errors import write_native_error
from api.llama_cpp.wire import (
    GenerationSettings,
    NativeChunk,
    NativeCompletion,
    NativeFields,
    PlaceChances,
    TokenChance,
)
from api.openai.accounts import make_finite, translate_progress, translate_timings
from api.openai.wire import WireTimings
from core.events import (
    Event,
    Failed,
    Finished,
    FinishReason,
    Prefilled,
    ReplyChoice,
    TextDelta,
    TokenLogprob,
    fold_events,
)
from core.requests import Generation, Sampling

SAMPLERS: Final = ("penalties", "top_k", "typ_p", "top_p", "min_p", "temperature")
"""Each with the values told beside it, with which it may be off."""
STOP_TYPES: Final = {
    FinishReason.STOP: "eos",
    FinishReason.TOOL_CALLS: "eos",
    FinishReason.STOP_SEQUENCE: "word",
    FinishReason.LENGTH: "limit",
    FinishReason.CONTEXT: "limit",
    FinishReason.LOOP: "loop",
}
ENCODER = msgspec.json.Encoder()


class NativeDialect:
    """Writes one request's events, or those of a list of prompts, whose replies are a list then."""

    def __init__(self, body: NativeFields, request: Generation, prompts: Sequence[str]) -> None:
        """`request`: what all of them have beside their prompts; `prompts`: the texts of these."""
        self.over = False
        self.sampling = Sampling()
        """How tokens are drawn for what a request does not say; known once its model is."""
        self._body = body
        self._request = request
        self._prompts = prompts
        self._each = request.n
        self._probabilities = bool(body.n_probs)
        self._running_timings = bool(body.timings_per_token)
        self._predicted: dict[int, int] = {}
        """Tokens of each choice that were told of."""
        self._newline: set[int] = set()
        """Choices whose text has a line feed."""
        self._evaluated: dict[int, int] = {}
        self._left = len(prompts) * self._each

    def write(self, events: Sequence[Event]) -> bytes:
        out: list[bytes] = []
        for event in events:
            match event:
                case TextDelta(index=index, text=text):
                    if text or event.ids:
                        out.append(self._frame(self._chunk(event)))
                    if "\n" in text:
                        self._newline.add(index)
                case Prefilled():
                    out.append(self._frame(self._progress(event)))
                case Finished():
                    out.append(self._frame(self._last(event)))
                    self._left -= 1
                    self.over = self._left == 0
                case Failed(error=error):
                    self.over = True
                    out.append(frame_event(write_native_error(error).body))
        return b"".join(out)

    def reply(self, events: Sequence[Event]) -> bytes:
        reply = fold_events(events)
        ends = {event.index: event for event in events if isinstance(event, Finished)}
        written = [self._select(self._whole(choice, ends[choice.index])) for choice in reply.choices]
        return ENCODER.encode(written[0] if len(written) == 1 else written)

    def _chunk(self, event: TextDelta) -> NativeChunk:
        predicted = self._predicted[event.index] = self._predicted.get(event.index, 0) + event.tokens
        timings: WireTimings | UnsetType = UNSET
        if event.so_far is not None:
            self._evaluated[event.index] = event.so_far.usage.prompt_tokens
            if self._running_timings:
                timings = translate_timings(event.so_far.usage, event.so_far.timings)
        return NativeChunk(
            index=event.index,
            content=event.text,
            tokens=list(event.ids),
            tokens_predicted=predicted,
            tokens_evaluated=self._evaluated.get(event.index, 0),
            timings=timings,
            completion_probabilities=self._tell_places(event.logprobs),
        )

    def _progress(self, event: Prefilled) -> NativeChunk:
        self._evaluated[event.index] = event.total
        return NativeChunk(
            index=event.index,
            content="",
            tokens=[],
            tokens_predicted=0,
            tokens_evaluated=event.total,
            prompt_progress=translate_progress(event),
        )

    def _last(self, event: Finished) -> NativeCompletion:
        """The last event of a choice carries no text: its chunks did."""
        nothing = ReplyChoice(event.index, "", event.reason, stop=event.stop)
        return self._completion(nothing, event, newline=event.index in self._newline)

    def _whole(self, choice: ReplyChoice, end: Finished) -> NativeCompletion:
        written = self._completion(choice, end, newline="\n" in choice.text)
        tokens = list(choice.ids) if self._body.return_tokens else []
        return msgspec.structs.replace(
            written, tokens=tokens, completion_probabilities=self._tell_places(choice.logprobs)
        )

    def _completion(self, choice: ReplyChoice, end: Finished, *, newline: bool) -> NativeCompletion:
        usage = end.usage
        return NativeCompletion(
            index=choice.index,
            content=choice.text,
            tokens=[],
            model=self._request.model,
            tokens_predicted=usage.completion_tokens,
            tokens_evaluated=usage.prompt_tokens,
            generation_settings=build_settings(
                self._request, self.sampling, self._body.n_probs or 0, stream=bool(self._body.stream)
            ),
            prompt=self._prompts[choice.index // self._each],
            has_new_line=newline,
            stop_type=STOP_TYPES[end.reason],
            stopping_word=end.stop or "",
            tokens_cached=usage.cached_tokens,
            timings=translate_timings(usage, end.timings),
        )

    def _tell_places(self, logprobs: Sequence[TokenLogprob]) -> list[PlaceChances] | UnsetType:
        if not self._probabilities:
            return UNSET
        return [_tell_place(each, weighed=bool(self._body.post_sampling_probs)) for each in logprobs]

    def _select(self, reply: NativeCompletion) -> object:
        """The fields that were asked for, each under the way to it."""
        if not self._body.response_fields:
            return reply
        whole: object = msgspec.to_builtins(reply)
        found: dict[str, object] = {}
        for path in self._body.response_fields:
            value = whole
            for name in path.split("/"):
                if not isinstance(value, dict) or name not in value:
                    break
                value = value[name]
            else:
                found[path] = value
        return found

    def _frame(self, message: NativeChunk | NativeCompletion) -> bytes:
        selected = self._select(message) if isinstance(message, NativeCompletion) else message
        return frame_event(ENCODER.encode(selected))


def _tell_place(place: TokenLogprob, *, weighed: bool) -> PlaceChances:
    told = _tell_chance(place, weighed=weighed)
    top = [_tell_chance(each, weighed=weighed) for each in place.top]
    return PlaceChances(
        id=told.id,
        token=told.token,
        bytes=told.bytes,
        logprob=told.logprob,
        prob=told.prob,
        top_logprobs=UNSET if weighed else top,
        top_probs=top if weighed else UNSET,
    )


def _tell_chance(place: TokenLogprob, *, weighed: bool) -> TokenChance:
    return TokenChance(
        id=place.id,
        token=place.token,
        bytes=list(place.data),
        logprob=UNSET if weighed else make_finite(place.logprob),
        prob=math.exp(place.logprob) if weighed else UNSET,
    )


def build_settings(request: Generation, base: Sampling, n_probs: int, *, stream: bool) -> GenerationSettings:
    """How an answer is made, `base` being what requests leave open."""
    sampling = request.sampling.over(base)
    limit = -1 if request.max_tokens is None else request.max_tokens
    return GenerationSettings(
        n_predict=limit,
        max_tokens=limit,
        seed=-1 if sampling.seed is None else sampling.seed,
        temperature=sampling.temperature,
        top_k=sampling.top_k,
        top_p=sampling.top_p,
        min_p=sampling.min_p,
        typical_p=sampling.typical_p,
        repeat_last_n=sampling.repeat_last_n,
        repeat_penalty=sampling.repeat_penalty,
        presence_penalty=sampling.presence_penalty,
        frequency_penalty=sampling.frequency_penalty,
        stop=list(request.stop),
        ignore_eos=request.ignore_eos,
        stream=stream,
        n_probs=n_probs,
        post_sampling_probs=sampling.weighed,
        n_indent=request.lines.indent,
        t_max_predict_ms=round(1000 * request.lines.seconds) if request.lines.seconds else -1,
        samplers=(*SAMPLERS, "infill") if sampling.joins_beginnings else SAMPLERS,
        logit_bias=[(token, make_finite(bias)) for token, bias in sampling.logit_bias],
    )
