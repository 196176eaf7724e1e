"""A request and its choices while they are served. Owned by the loop's thread."""

from __future__ import annotations

import time
from collections.abc import Mapping
from collections.abc import Sequence as Seq
from types import MappingProxyType

from msgspec.structs import replace

from core.cache.identity import digest_owner
from core.cache.recall import Outline
from core.contract.models import Tokenizer
from core.contract.step import SequenceId, StepLogprob
from core.decoding.detokenize import TextStream
from core.decoding.masks.token_mask import AnswerMask
from core.decoding.repetition import LoopGuard
from core.events import Event, Finished, FinishReason, Prefilled, SoFar, TextDelta, Timings, TokenLogprob, Usage
from core.requests import LineBounds, ResolvedGeneration, Sampling
from core.reuse import Reuse
from core.serving.content import RequestContent
from core.serving.job import LoopJob
from core.serving.scoring import PromptScores, name_tokens
from core.serving.thoughts import AnswerScope, ThoughtEnding, ThoughtWatch
from core.snapshots import RequestRow, RequestState


class RequestJob(LoopJob):
    """One request for text: its prompt, its stream, its choices."""

    request: ResolvedGeneration

    def __init__(
        self,
        request: ResolvedGeneration,
        prompt: list[int],
        context: int,
        notes: tuple[str, ...] = (),
        mask: AnswerMask | None = None,
        *,
        outline: Outline = Outline(),
        shown: Mapping[int, bytes] = MappingProxyType({}),
        ending: ThoughtEnding | None = None,
        loop_guard: int = 0,
    ) -> None:
        """`notes` tell how the prompt came to be; `mask` holds the answer to the request's constraint; `outline` is
        that of its conversation; `shown` are control tokens that stand in its text, as those bytes; `ending` tells how
        its thoughts can be ended. An answer ends whose last `loop_guard` tokens are one cycle; zero lets it go on."""
        super().__init__(request)
        self.outline = outline
        self.shown = shown
        self.ending = ending
        self.hurried = False
        """Somebody wants its thoughts to end; set from any thread."""
        self.mask = mask
        self.loop_guard = loop_guard
        self.prompt = prompt
        self.owner = digest_owner(request.caller.tenant, request.cache_salt)
        """Who may share its prefixes."""
        self.reuse = Reuse()
        """What of its prompt was reused; known once it is claimed."""
        self.notes = notes
        room = context - len(prompt)
        limit = room if request.max_tokens is None else min(room, request.max_tokens)
        full = request.max_tokens is None or request.max_tokens > room
        self.choices = [ServedChoice(self, index, limit, full=full) for index in range(request.n)]
        self.open_choices = request.n
        self.guessed = 0
        """Tokens that were guessed ahead, over all choices."""
        self.kept = 0
        """Those of them that came true."""

    def row(self, now: float) -> RequestRow:
        first = self.choices[0]
        generated = sum(choice.generated for choice in self.choices)
        decoding = [choice.decode_seconds(now) for choice in self.choices]
        spent = max(decoding)
        return replace(
            self._row(now, self._state()),
            prompt_tokens=len(self.prompt),
            cached_tokens=first.cached,
            prefilled=min(first.computed, len(self.prompt)),
            completion_tokens=generated,
            guessed_tokens=self.guessed,
            kept_tokens=self.kept,
            rate=(generated - len(self.choices)) / spent if spent > 0 else 0.0,
            notes=(*self.notes, *self.remarks),
            reuse=self.reuse,
        )

    def content(self) -> RequestContent:
        return RequestContent(self.request, self.prompt, tuple(choice.tokens for choice in self.choices))

    def _state(self) -> RequestState:
        if self.claimed is None:
            return RequestState.QUEUED
        if any(choice.paused or choice.saved is not None for choice in self.choices):
            return RequestState.PREEMPTED
        return RequestState.DECODE if any(choice.generated for choice in self.choices) else RequestState.PREFILL


class ServedChoice:
    """One sequence of a job. `tokens` are the prompt and all that was drawn; `computed` of them are in the KV cache."""

    def __init__(self, job: RequestJob, index: int, limit: int, *, full: bool) -> None:
        request = job.request
        self.job = job
        self.index = index
        self.limit = limit
        """New tokens at most."""
        self._limit_reason = FinishReason.CONTEXT if full else FinishReason.LENGTH
        sampling = request.sampling.choice(index)
        # Where beginnings are joined an end may be drawn that the mask does not allow.
        self._sampling = sampling if job.mask is None else replace(sampling, joins_beginnings=False)
        self.scores = PromptScores(job.prompt) if request.tell_prompt and index == 0 else None
        self.tokens = list(job.prompt)
        self.sequence: SequenceId | None = None
        self.computed = 0
        self.cached = 0
        self.generated = 0
        self.claim = 0
        """Cells reserved for tokens that come next."""
        self.promise = 0
        """Cells that can be claimed for those behind them."""
        self.saved: bytes | None = None
        """KV state put aside when it was preempted."""
        self.paused = False
        """Whether it gave its slot to a more urgent request; its sequence keeps its cells."""
        self.ended = False
        self.looped = False
        """Whether the loop guard ended it."""
        self.mask = job.mask.copy() if job.mask is not None else None
        """What it may write; goes on from where it is after a pre-emption, and on a model that was loaded again."""
        self._guard = LoopGuard(job.loop_guard) if job.loop_guard else None
        self._text = TextStream(request.stop, request.lines.indent)
        self._lines = request.lines if request.lines != LineBounds() else None
        """What ends it once it has a second line, where anything does."""
        self._has_line = False
        self._shown = job.shown
        ending = job.ending
        self._watch = ThoughtWatch(ending, ending.budget) if ending is not None and ending.budget is not None else None
        self._scope = AnswerScope(ending) if ending is not None and request.stop else None
        """Where stop strings count, if not in all that is written."""
        self._hurried = False
        self.taken = 0
        """Of the tokens that the last step drew, those that became part of it."""
        self._told = 0
        """Tokens that events have told of."""
        self._held: list[tuple[int, TokenLogprob]] = []
        """Log-probabilities of tokens whose text is not out yet, with the offset at which that text begins."""
        self.started = 0.0
        self.first_token = 0.0
        self.last_token = 0.0

    @property
    def sampling(self) -> Sampling:
        """How its tokens are drawn; those of the prompt as nothing weighs on them, while they are scored."""
        return Sampling(temperature=0.0, logprobs=self._sampling.logprobs) if self.unscored else self._sampling

    @property
    def unscored(self) -> int:
        """Tokens of the prompt that are to be computed before all of it is scored; zero where nobody asks for that."""
        return self.scores.count_left(self.computed) if self.scores is not None else 0

    @property
    def is_computed(self) -> bool:
        """Whether nothing of it is left to compute before a token is drawn."""
        return not self.unscored and (not self.pending or self.scores is not None)

    @property
    def pending(self) -> int:
        """Tokens that are not in the KV cache yet."""
        return len(self.tokens) - self.computed

    def next_pass(self, grain: int) -> int:
        """Tokens of its next pass where the model is reproducible: the prompt's up to the next multiple of `grain`,
        then one at a time, also those that were drawn already and are computed anew."""
        left = len(self.job.prompt) - self.computed
        return min(left, grain - self.computed % grain) if left > 0 else min(1, self.pending)

    def shareable(self, grain: int | None) -> int:
        """Leading tokens whose state another may begin with. Where the model is reproducible these are the whole passes
        of the prompt: the others would have another size in another prompt."""
        return self.computed if grain is None else cut_length(min(self.computed, len(self.job.prompt)), grain)

    @property
    def spare(self) -> int:
        """Tokens that may be guessed behind the one that is due: as many as have their cells, and may be drawn."""
        return max(0, min(self.claim - self.pending, self.limit - self.generated - 1))

    def decode_seconds(self, now: float) -> float:
        if not self.first_token:
            return 0.0
        return (self.last_token if self.ended else now) - self.first_token

    def accept(self, tokens: Seq[int], logprobs: Seq[StepLogprob], tokenizer: Tokenizer) -> list[Event]:
        """Take the tokens that a step drew; returns what there is to tell. Sets `ended` after the last.

        Raises RequestError for a token that its mask does not allow.
        """
        now = time.monotonic()
        self.first_token = self.first_token or now
        self.last_token = now
        if self.job.hurried and not self._hurried:
            self._hurry(tokenizer)
        text: list[str] = []
        reason: FinishReason | None = None
        self.taken = 0
        for index, token in enumerate(tokens):
            self.taken += 1
            end = tokenizer.is_end(token) and not self.job.request.ignore_eos
            if not end and logprobs:
                self._held.append((self._text.seen, name_tokens(token, logprobs[index], tokenizer)))
            reason = self._take(token, tokenizer, text, end=end)
            if reason is None and self._watch is not None and self._watch.take(self._letters(token, tokenizer)):
                reason = self._end_thought(tokenizer, text)
                break
            if reason is not None:
                break
        if reason is not None and not self._text.closed:
            if self._scope is not None:
                text.append(self._text.push_free(self._scope.finish()))
            text.append(self._text.finish())
        return self._events("".join(text), reason)

    def _take(self, token: int, tokenizer: Tokenizer, text: list[str], *, end: bool) -> FinishReason | None:
        """Make the token part of the answer; `end` tells that it ends it."""
        self.tokens.append(token)
        self.generated += 1
        if not end:
            text.append(self._decode(token, tokenizer))
            if self._lines is not None:
                self._has_line = self._has_line or "\n" in text[-1]
        return self._reason(end or self._is_whole_with(token))

    def _decode(self, token: int, tokenizer: Tokenizer) -> str:
        piece = tokenizer.piece(token) or self._shown.get(token, b"")
        if self._scope is None:
            return self._text.push(piece)
        thought, words = self._scope.split(piece, self._letters(token, tokenizer))
        return self._text.push_free(thought) + self._text.push(words)

    def _end_thought(self, tokenizer: Tokenizer, text: list[str]) -> FinishReason | None:
        """Have the model have ended its thought. What was drawn behind is void."""
        assert self.job.ending is not None
        for token in self.job.ending.written:
            reason = self._take(token, tokenizer, text, end=False)
            if reason is not None:
                return reason
        return None

    def _hurry(self, tokenizer: Tokenizer) -> None:
        """Have its thought end with the next token, wherever it is."""
        self._hurried = True
        if self.job.ending is None:
            return
        watch = ThoughtWatch(self.job.ending, self.limit)
        for token in self.tokens[len(self.job.prompt) :]:
            watch.take(self._letters(token, tokenizer))
        watch.budget = 0
        self._watch = watch

    def _letters(self, token: int, tokenizer: Tokenizer) -> bytes:
        """Those of marks that are control tokens, too."""
        assert self.job.ending is not None
        return tokenizer.piece(token) or self.job.ending.shown.get(token, b"")

    def end_unsaid(self) -> list[Event]:
        """What there is to tell where no token is to be drawn, and the prompt is computed."""
        self.first_token = self.last_token = time.monotonic()
        return self._events("", self._limit_reason)

    @property
    def tells_prefill(self) -> bool:
        """Whether its client wants to hear how far the prompt is; not that of one that computes it anew."""
        return self.job.request.tell_prefill and self.index == 0 and not self.generated

    def prefilled(self, *, all_of_it: bool = False) -> Prefilled:
        total = len(self.job.prompt)
        computed = total if all_of_it else min(self.computed, total)
        seconds = time.monotonic() - (self.job.claimed or self.started)
        return Prefilled(self.index, total, self.cached, computed, seconds)

    def usage(self) -> Usage:
        return Usage(
            prompt_tokens=len(self.job.prompt),
            cached_tokens=self.cached,
            completion_tokens=self.generated,
        )

    def _is_whole_with(self, token: int) -> bool:
        """Whether nothing may follow the token; an end of generation need not be drawn then."""
        if self.mask is None:
            return False
        self.mask.take(token)
        return self.mask.complete

    def _reason(self, end: bool) -> FinishReason | None:
        if self._text.stopped is not None:
            return FinishReason.STOP_SEQUENCE
        if end:
            return FinishReason.STOP
        if self.generated >= self.limit:
            return self._limit_reason
        if self._lines is not None and (self._text.outdented or self._is_late(self._lines)):
            return FinishReason.LENGTH
        if self._guard is not None and self._guard.has_looped(self.tokens):
            self.looped = True
            return FinishReason.LOOP
        return None

    def _is_late(self, bounds: LineBounds) -> bool:
        if bounds.seconds is None or not self._has_line:
            return False
        return self.last_token - self.first_token > bounds.seconds

    def _events(self, text: str, reason: FinishReason | None) -> list[Event]:
        events: list[Event] = []
        logprobs = self._released(final=reason is not None)
        if text or logprobs:
            so_far = SoFar(self.usage(), self._timings()) if self.job.request.tell_timings else None
            new = self.generated - self._told
            ids = tuple(self.tokens[-new:]) if self.job.request.tell_tokens else ()
            events.append(TextDelta(self.index, text, logprobs, new, so_far, ids))
            self._told = self.generated
        if reason is not None:
            self.ended = True
            events.append(Finished(self.index, reason, self.usage(), self._timings(), self._text.stopped))
        return events

    def _released(self, *, final: bool) -> tuple[TokenLogprob, ...]:
        """Log-probabilities of the tokens whose text is out; at the end those of all but what a stop cut off."""
        if not self._held:
            return ()
        if final and not self._text.closed:
            out, self._held = self._held, []
        else:
            shown = self._text.emitted
            out = [held for held in self._held if held[0] < shown]
            self._held = self._held[len(out) :]
        return tuple(logprob for _, logprob in out)

    def _timings(self) -> Timings:
        claimed = self.job.claimed or self.started
        return Timings(
            queued=claimed - self.job.submitted,
            prefill=self.first_token - claimed,
            decode=self.last_token - self.first_token,
        )


def cut_length(length: int, grain: int | None) -> int:
    """The last multiple of `grain` up to `length`; `length` itself where there is no grain."""
    return length if grain is None else length // grain * grain
