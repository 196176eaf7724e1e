"""The chunks of a streamed answer, of chat or of plain completions, as canonical events."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType
from msgspec.structs import replace

from core.decoding.detokenize import CutEnd
from core.engines.remote.calls import CallFragment, CallStream
from core.engines.remote.refusals import clean_words, read_message
from core.errors import EngineFailed
from core.events import Event, Finished, FinishReason, ReasoningDelta, TextDelta, Timings, TokenLogprob, Usage

BURST_SECONDS = 0.0002
"""Chunks that come closer together than this, on the whole, were made before they were sent."""
LOWEST_LOGPROB = -9999.0
"""OpenAI's stand-in for the logarithm of zero; some servers write null."""

Byte = Annotated[int, Meta(ge=0, le=255)]
Count = Annotated[int, Meta(ge=0)]


class _TopLogprob(Struct):
    token: str
    logprob: float | None
    bytes: list[Byte] | None = None


class _TokenLogprob(_TopLogprob):
    top_logprobs: list[_TopLogprob] | None = None


class _Logprobs(Struct):
    """`content` is chat's form, which llama-server writes everywhere; the lists are that of completions."""

    content: list[_TokenLogprob] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None


class _Delta(Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    """What some servers call `reasoning_content`."""
    tool_calls: list[CallFragment] | None = None


class _Choice(Struct):
    index: Annotated[int, Meta(ge=0)] = 0
    delta: _Delta | None = None
    text: str | None = None
    logprobs: _Logprobs | None = None
    finish_reason: str | None = None
    stop_reason: int | str | None = None
    """vLLM: the stop string that ended the choice, or the stop token."""


class _PromptDetails(Struct):
    cached_tokens: Count | None = None


class _CompletionDetails(Struct):
    reasoning_tokens: Count | None = None


class _Usage(Struct):
    prompt_tokens: Count = 0
    completion_tokens: Count | None = 0
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None


class _Chunk(Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: Raw | UnsetType = UNSET


DECODER = msgspec.json.Decoder(_Chunk)

REASONS = {
    "length": FinishReason.LENGTH,
    "max_tokens": FinishReason.LENGTH,
}
"""All others are an end of the model's turn, as far as we can tell."""
BROKEN = ("abort", "error")
"""vLLM's reasons for a choice that did not come to its end."""


class _ChoiceProgress:
    """One choice so far."""

    def __init__(self, index: int) -> None:
        self.calls = CallStream(index)
        self.tokens = 0
        self.chunks = 0
        self.first = 0.0
        self.last = 0.0
        self.reason: FinishReason | None = None
        self.stop: str | None = None
        self.end = CutEnd()

    def drew(self, tokens: int, now: float) -> None:
        self.tokens += tokens
        self.chunks += 1
        self.last = now
        self.first = self.first or self.last


class RemoteAnswer:
    """Folds one request's chunks. `submitted` and `accepted` are when it was sent first, and when it was taken.

    Servers tell the usage after the last choice has ended, so the `Finished` wait for that: see `finish`.
    """

    def __init__(self, address: str, choices: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._address = address
        self._clock = clock
        self._choices = [_ChoiceProgress(index) for index in range(choices)]
        self._usage: _Usage | None = None
        self.submitted = self.accepted = clock()

    def read(self, data: str) -> Iterator[Event]:
        """The events of one chunk. Raises EngineFailed for an error and for anything else that is no chunk."""
        try:
            chunk = DECODER.decode(data)
        except msgspec.DecodeError as error:
            raise EngineFailed(
                f"The server at {self._address} sent something that is no part of an answer: {_beginning(data)}."
            ) from error
        if not isinstance(chunk.error, UnsetType) and bytes(chunk.error) != b"null":
            words = read_message(data) or _beginning(data)
            raise EngineFailed(f"The server at {self._address} failed amid its answer: {words.rstrip('.')}.")
        self._usage = chunk.usage or self._usage
        for choice in chunk.choices:
            yield from self._read_choice(choice)

    def finish(self) -> Iterator[Finished]:
        """The ends of the choices. Raises EngineFailed when one of them has not come to its end."""
        if any(choice.reason is None for choice in self._choices):
            raise EngineFailed(f"The connection to {self._address} ended before the answer was complete.")
        for index, (choice, usage) in enumerate(zip(self._choices, self._usages(), strict=True)):
            assert choice.reason is not None
            yield Finished(index, choice.reason, usage, self._timings(choice), choice.stop)

    def _read_choice(self, choice: _Choice) -> Iterator[Event]:
        if choice.index >= len(self._choices):
            raise EngineFailed(f"The server at {self._address} sent a choice that it was not asked for.")
        progress = self._choices[choice.index]
        logprobs = tuple(_logprobs(choice.logprobs)) if choice.logprobs else ()
        written = (choice.delta.content if choice.delta else choice.text) or ""
        text = progress.end.push(written)
        if choice.finish_reason:
            text += progress.end.finish(cut=choice.finish_reason in REASONS)
        if choice.delta and (thought := choice.delta.reasoning_content or choice.delta.reasoning):
            # A chunk of both is the end of a thought, and the first of what it led to.
            progress.drew(1, self._clock())
            yield ReasoningDelta(choice.index, thought)
        if written or text or logprobs:
            tokens = len(logprobs) or int(bool(written))
            progress.drew(tokens, self._clock())
            yield TextDelta(choice.index, text, logprobs, tokens)
        if choice.delta and choice.delta.tool_calls:
            progress.drew(1, self._clock())
            yield from progress.calls.read(choice.delta.tool_calls)
        if choice.finish_reason in BROKEN:
            raise EngineFailed(f"The server at {self._address} gave the answer up ({choice.finish_reason}).")
        if choice.finish_reason:
            yield from progress.calls.end(whole=choice.finish_reason not in REASONS)
            stop = choice.stop_reason if isinstance(choice.stop_reason, str) else None
            ended = FinishReason.TOOL_CALLS if progress.calls.made else FinishReason.STOP
            usual = REASONS.get(choice.finish_reason, ended)
            progress.reason, progress.stop = (FinishReason.STOP_SEQUENCE if stop else usual), stop

    def _usages(self) -> list[Usage]:
        """The usage of each choice. Servers tell the sum of all choices, so the last one gets what the others leave."""
        counted = [choice.tokens for choice in self._choices]
        if self._usage is None:
            return [Usage(completion_tokens=count) for count in counted]
        counted[-1] = max(0, (self._usage.completion_tokens or 0) - sum(counted[:-1]))
        prompt, completion = self._usage.prompt_tokens_details, self._usage.completion_tokens_details
        base = Usage(
            prompt_tokens=self._usage.prompt_tokens,
            cached_tokens=(prompt.cached_tokens or 0) if prompt else 0,
        )
        usages = [replace(base, completion_tokens=count) for count in counted]
        reasoning = (completion.reasoning_tokens or 0) if completion else 0
        usages[-1] = replace(usages[-1], reasoning_tokens=reasoning)
        return usages

    def _timings(self, choice: _ChoiceProgress) -> Timings:
        """In an answer without a token, all time counts as prefill."""
        first = choice.first or self._clock()
        decode = (choice.last or first) - first
        if decode < BURST_SECONDS * choice.chunks:
            # When its tokens were drawn, only the server knows.
            decode = 0.0
        return Timings(queued=self.accepted - self.submitted, prefill=first - self.accepted, decode=decode)


def _logprobs(given: _Logprobs) -> Iterator[TokenLogprob]:
    if given.content:
        for each in given.content:
            yield _named(each, tuple(_named(top) for top in each.top_logprobs or ()))
        return
    values, tops = given.token_logprobs or [], given.top_logprobs or []
    for index, token in enumerate(given.tokens or ()):
        value = values[index] if index < len(values) else None
        top = (tops[index] if index < len(tops) else None) or {}
        best = sorted(top.items(), key=lambda item: item[1], reverse=True)
        yield _plain(token, value, tuple(_plain(*item) for item in best))


def _named(each: _TopLogprob, top: tuple[TokenLogprob, ...] = ()) -> TokenLogprob:
    plain = _plain(each.token, each.logprob, top)
    return plain if each.bytes is None else replace(plain, data=bytes(each.bytes))


def _plain(token: str, logprob: float | None, top: tuple[TokenLogprob, ...] = ()) -> TokenLogprob:
    return TokenLogprob(token, token.encode("utf-8", "replace"), LOWEST_LOGPROB if logprob is None else logprob, top)


def _beginning(data: str) -> str:
    return repr(clean_words(data[:120]))
