"""An executorch program as a model that schedules itself: one request at a time, in a process of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing

from msgspec.structs import replace

from core.chat.infill import encode_gap
from core.chat.voice import ChatVoice
from core.contract.models import ModelSpec
from core.contract.step import StepLogprob
from core.decoding.detokenize import TextStream
from core.engines.executorch.process import RuntimeProcess
from core.engines.executorch.wire import Draw, Drawn
from core.engines.hf_tokenizer import JsonTokenizer
from core.errors import Cancelled, ContextExceeded, EngineError, RequestError
from core.events import Event, Failed, Finished, FinishReason, TextDelta, Timings, TokenLogprob, Usage
from core.requests import Conversation, Infill, RawText, RawTokens, ResolvedGeneration, name_prompt_field


class ExecutorchModel:
    """`launch` makes a process with the program loaded; it is called again after one has died.

    Nothing of one request is kept for the next: a program may hold more state than positions can take back.
    """

    def __init__(
        self, spec: ModelSpec, tokenizer: JsonTokenizer, process: RuntimeProcess, launch: Callable[[], RuntimeProcess]
    ) -> None:
        self._tokenizer = tokenizer
        self._voice = ChatVoice(spec.template, spec, tokenizer, "the model")
        self.spec = replace(spec, notes=(*spec.notes, *self._voice.encoder.notes))
        self._ends = tuple(token for token in range(tokenizer.size) if tokenizer.is_end(token))
        self._process = process
        self._launch = launch
        self._turn = threading.Lock()
        self._over = False

    def generate(self, request: ResolvedGeneration, stop: threading.Event) -> Iterator[Event]:
        prompt = self._prompt(request)
        try:
            for index in range(request.n):
                yield from self._choice(request, tuple(prompt), index, stop)
        except (RequestError, Cancelled):
            raise
        except EngineError as error:
            yield Failed(error)

    def shutdown(self) -> None:
        self._over = True
        self._voice.close()
        self._process.close()

    def _prompt(self, request: ResolvedGeneration) -> list[int]:
        """Raises RequestError for a prompt that is empty, too long, or of tokens that the model has not."""
        size = self._tokenizer.size
        match request.prompt:
            case Conversation() as conversation:
                tokens = self._voice.encoder.tokenise(self._voice.write(conversation, request.reasoning).text)
            case RawText(text=text):
                tokens = self._tokenizer.encode(text, special=True, begin=True)
            case RawTokens(tokens=given):
                tokens = list(given)
            case Infill() as gap:
                tokens = encode_gap(self._tokenizer, gap, request.model)
        if any(not 0 <= token < size for token in tokens):
            raise RequestError(f"Token ids must be between 0 and {size - 1}.", "prompt")
        for token, _ in request.sampling.logit_bias:
            if not 0 <= token < size:
                raise RequestError(f"logit_bias names token {token}; the model has {size}.", "logit_bias")
        if not tokens:
            raise RequestError("The prompt is empty.", name_prompt_field(request.prompt))
        if len(tokens) >= self.spec.context:
            raise ContextExceeded(len(tokens), self.spec.context, name_prompt_field(request.prompt))
        return tokens

    def _choice(
        self, request: ResolvedGeneration, prompt: tuple[int, ...], index: int, stop: threading.Event
    ) -> Iterator[Event]:
        room = self.spec.context - len(prompt)
        full = request.max_tokens is None or request.max_tokens > room
        limit = room if request.max_tokens is None else min(room, request.max_tokens)
        ends = () if request.ignore_eos else self._ends
        answer = _Answer(request, index, len(prompt), limit, full=full, tokenizer=self._tokenizer)
        if limit == 0:
            yield answer.finished(FinishReason.LENGTH)
            return
        sampling = request.sampling.choice(index)
        with self._turn, closing(self._running().draw(Draw(prompt, sampling, limit, ends), stop)) as drawn:
            for each in drawn:
                yield from answer.accept(each)
                if answer.ended:
                    return

    def _running(self) -> RuntimeProcess:
        """Raises EngineError where the process has died and the program does not load again."""
        if not self._process.alive and not self._over:
            self._process.close()
            self._process = self._launch()
        return self._process


class _Answer:
    """One choice so far."""

    def __init__(
        self, request: ResolvedGeneration, index: int, prompt: int, limit: int, *, full: bool, tokenizer: JsonTokenizer
    ) -> None:
        self.ended = False
        self._index, self._prompt, self._limit = index, prompt, limit
        self._limit_reason = FinishReason.CONTEXT if full else FinishReason.LENGTH
        self._ignores_ends = request.ignore_eos
        self._tokenizer = tokenizer
        self._text = TextStream(request.stop)
        self._tokens = 0
        self._held: list[tuple[int, TokenLogprob]] = []
        """Log-probabilities of tokens whose text is not out yet, with the offset at which that text begins."""
        self._began = time.monotonic()
        self._first = self._last = 0.0

    def accept(self, drawn: Drawn) -> Iterator[Event]:
        """The events of one token, with the last one when it ends the choice."""
        self._last = time.monotonic()
        self._first = self._first or self._last
        self._tokens += 1
        end = self._tokenizer.is_end(drawn.token) and not self._ignores_ends
        text = "" if end else self._push(drawn)
        reason = self._reason(end=end)
        if reason is not None and self._text.stopped is None:
            text += self._text.finish()
        yield TextDelta(self._index, text, self._released(final=reason is not None))
        if reason is not None:
            yield self.finished(reason)

    def finished(self, reason: FinishReason) -> Finished:
        self.ended = True
        first = self._first or time.monotonic()
        timings = Timings(prefill=first - self._began, decode=(self._last or first) - first)
        usage = Usage(prompt_tokens=self._prompt, completion_tokens=self._tokens)
        return Finished(self._index, reason, usage, timings, self._text.stopped)

    def _push(self, drawn: Drawn) -> str:
        if drawn.logprob is not None:
            self._held.append((self._text.seen, _named(drawn.token, drawn.logprob, self._tokenizer)))
        return self._text.push(self._tokenizer.piece(drawn.token))

    def _reason(self, *, end: bool) -> FinishReason | None:
        if self._text.stopped is not None:
            return FinishReason.STOP_SEQUENCE
        if end:
            return FinishReason.STOP
        return self._limit_reason if self._tokens >= self._limit else None

    def _released(self, *, final: bool) -> tuple[TokenLogprob, ...]:
        """Those of the tokens whose text is out; at the end those of all but what a stop string cut off."""
        everything = final and self._text.stopped is None
        out = [logprob for index, logprob in self._held if everything or index < self._text.emitted]
        self._held = self._held[len(out) :]
        return tuple(out)


def _named(token: int, logprob: StepLogprob, tokenizer: JsonTokenizer) -> TokenLogprob:
    def one(token: int, value: float, top: tuple[TokenLogprob, ...] = ()) -> TokenLogprob:
        data = tokenizer.piece(token)
        return TokenLogprob(data.decode("utf-8", "replace"), data, value, top)

    return one(token, logprob.chosen, tuple(one(other.token, other.logprob) for other in logprob.top))
