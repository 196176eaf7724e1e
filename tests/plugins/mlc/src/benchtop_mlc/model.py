"""A model of mlc-llm: one request at a time, since its synchronous engine has one stream of answers."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from benchtop_mlc.wire import Choice, Chunk, Counts, Logprob, TopLogprob, arguments
from core.contract.models import ModelSpec
from core.decoding.detokenize import CutEnd, TextStream
from core.errors import Cancelled, EngineFailed, RequestError
from core.events import Event, Failed, Finished, FinishReason, TextDelta, Timings, TokenLogprob, Usage
from core.requests import Conversation, ResolvedGeneration

BROKEN: Final = ("error", "preempt", "abort")
"""Reasons of a choice that did not come to its end."""


class MlcModel:
    """`engine` is an `mlc_llm.MLCEngine`; a stream of its is aborted by closing it."""

    def __init__(self, engine: Any, spec: ModelSpec) -> None:
        self.spec = spec
        self._engine = engine
        self._turn = threading.Lock()
        self._tenant: str | None = None
        """Whose prompts its prefix cache holds; None for nobody's."""

    def generate(self, request: ResolvedGeneration, stop: threading.Event) -> Iterator[Event]:
        """`stop` is looked at with every chunk, the first of which comes after the whole prompt is computed."""
        made = arguments(request, self.spec.sampling)
        chat = isinstance(request.prompt, Conversation)
        completions = self._engine.chat.completions if chat else self._engine.completions
        answer = Answer(request)
        with self._turn:
            if stop.is_set():
                raise Cancelled
            try:
                self._divide(request)
                stream = completions.create(**made, request_id=f"benchtop-{uuid.uuid4().hex}")
                try:
                    yield from self._read(stream, answer, stop)
                finally:
                    stream.close()
                yield from answer.finish()
            except RequestError:
                raise
            except EngineFailed as error:
                yield Failed(error)
            except ValueError as error:
                # mlc-llm's BadRequestError, and the library's that checks its arguments, are of this kind.
                if answer.begun:
                    yield Failed(EngineFailed(f"mlc-llm failed: {_last_line(error)}."))
                    return
                raise RequestError(f"mlc-llm refuses the request: {_last_line(error)}.") from error
            except (RuntimeError, AssertionError) as error:
                yield Failed(EngineFailed(f"mlc-llm failed: {_last_line(error)}."))

    def shutdown(self) -> None:
        self._engine.terminate()

    def _read(self, stream: Iterator[object], answer: Answer, stop: threading.Event) -> Iterator[Event]:
        for item in stream:
            if stop.is_set():
                raise Cancelled
            try:
                chunk = msgspec.convert(item, Chunk, from_attributes=True)
            except msgspec.ValidationError as error:
                raise EngineFailed(f"mlc-llm sent something that is no part of an answer: {error}.") from error
            yield from answer.read(chunk)
            if answer.over:
                # All that is left are tokens behind stop strings.
                return

    def _divide(self, request: ResolvedGeneration) -> None:
        """Forget cached prompts where those of another tenant, or of a request that wants none kept, may be hit."""
        tenant = request.caller.tenant if request.cache else None
        if tenant is None or tenant != self._tenant:
            self._engine.reset()
        self._tenant = tenant


class _Progress:
    """One choice so far."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self.text = TextStream(stops)
        self.end = CutEnd()
        self.tokens = 0
        self.first = self.last = 0.0
        self.reason: FinishReason | None = None

    def drew(self, tokens: int) -> None:
        self.tokens += tokens
        self.last = time.monotonic()
        self.first = self.first or self.last


class Answer:
    """Folds one request's chunks; the usage comes last, so the `Finished` wait for it: see `finish`."""

    def __init__(self, request: ResolvedGeneration) -> None:
        self._full = request.max_tokens is None
        self._choices = [_Progress(request.stop) for _ in range(request.n)]
        self._counts: Counts | None = None
        self._began = time.monotonic()
        self.begun = False
        """Whether an event has been given out."""

    @property
    def over(self) -> bool:
        """Whether stop strings have ended all choices."""
        return all(choice.text.stopped is not None for choice in self._choices)

    def read(self, chunk: Chunk) -> Iterator[Event]:
        self._counts = chunk.usage or self._counts
        for choice in chunk.choices:
            if not 0 <= choice.index < len(self._choices):
                raise EngineFailed("mlc-llm sent a choice that it was not asked for.")
            yield from self._read(choice, self._choices[choice.index])

    def finish(self) -> Iterator[Event]:
        """Raises EngineFailed when a choice has not come to its end."""
        if any(choice.reason is None for choice in self._choices):
            raise EngineFailed("mlc-llm ended before the answer was complete.")
        left = None if self._counts is None or self.over else self._counts.completion_tokens
        for index, choice in enumerate(self._choices):
            assert choice.reason is not None
            tokens = choice.tokens
            if left is not None:
                # Its count is of all choices together, so the last one gets what the others leave of it.
                tokens = max(0, left) if index == len(self._choices) - 1 else choice.tokens
                left -= tokens
            usage = Usage(self._counts.prompt_tokens if self._counts else 0, 0, tokens)
            yield Finished(index, choice.reason, usage, self._timings(choice), choice.text.stopped)

    def _read(self, choice: Choice, progress: _Progress) -> Iterator[Event]:
        if choice.finish_reason in BROKEN:
            raise EngineFailed(f"mlc-llm gave the answer up ({choice.finish_reason}).")
        if progress.reason is not None:
            return
        written = (choice.delta.content if choice.delta else choice.text) or ""
        logprobs = tuple(_named(each) for each in choice.logprobs.content) if choice.logprobs else ()
        whole = progress.end.push(written)
        if choice.finish_reason is not None:
            whole += progress.end.finish(cut=choice.finish_reason == "length")
        text = progress.text.push(whole.encode("utf-8", "replace"))
        if choice.finish_reason is not None:
            text += progress.text.finish()
        tokens = len(logprobs) or bool(written)
        progress.drew(tokens)
        if tokens or text:
            self.begun = True
            yield TextDelta(choice.index, text, logprobs, tokens)
        progress.reason = self._reason(choice, progress)

    def _reason(self, choice: Choice, progress: _Progress) -> FinishReason | None:
        if progress.text.stopped is not None:
            return FinishReason.STOP_SEQUENCE
        if choice.finish_reason is None:
            return None
        if choice.finish_reason == "length":
            return FinishReason.CONTEXT if self._full else FinishReason.LENGTH
        return FinishReason.STOP

    def _timings(self, choice: _Progress) -> Timings:
        first = choice.first or time.monotonic()
        return Timings(prefill=first - self._began, decode=(choice.last or first) - first)


def _named(each: Logprob) -> TokenLogprob:
    return TokenLogprob(*_plain(each), tuple(TokenLogprob(*_plain(top)) for top in each.top_logprobs))


def _plain(each: Logprob | TopLogprob) -> tuple[str, bytes, float]:
    data = each.token.encode("utf-8", "replace") if each.bytes is None else bytes(each.bytes)
    return each.token, data, each.logprob


def _last_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (lines[-1] if lines else type(error).__name__).rstrip(".")
