"""From events to text completions: whole ones, or chunks of a stream."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence

import msgspec
from msgspec import UNSET, UnsetType

from api.http.answer import DONE, frame_event
from api.http.errors import translate_error
from api.openai.accounts import AnswerAccount, make_finite, name_stop_reason, translate_progress
from api.openai.completions_wire import Completion, CompletionChoice, CompletionLogprobs, CompletionRequest
from api.openai.scored_prompts import ScoredPrompts, is_prompt_scored
from api.openai.wire import WireProgress, WireTimings, WireUsage
from core.chat.openai_body import FINISH_REASONS
from core.events import Event, Failed, Finished, Prefilled, TextDelta, TokenLogprob, fold_events

ENCODER = msgspec.json.Encoder()


class CompletionDialect:
    """Writes the events of a list of prompts as `text_completion` frames, or their replies as one.

    A chunk of plain text is the hot path: all of it but the text is encoded once for each choice.
    """

    def __init__(self, body: CompletionRequest, fingerprint: str, model: str, echoes: Sequence[str]) -> None:
        """`model`: what the reply calls it; `echoes`: what the choices of each prompt begin with."""
        self.id = f"cmpl-{secrets.token_hex(12)}"
        self.created = int(time.time())
        self.over = False
        self._model = model
        self._fingerprint = fingerprint
        self._each = body.n or 1
        self._echoes = echoes
        self._account = AnswerAccount(body, len(echoes))
        self._logprobs = body.logprobs is not None
        self._scored = ScoredPrompts(self._each) if is_prompt_scored(body) else None
        self._frames: dict[int, tuple[bytes, bytes]] = {}
        self._offsets: dict[int, int] = {}
        """Characters of each choice that were written."""

    def write(self, events: Sequence[Event]) -> bytes:
        out: list[bytes] = []
        for event in events if self._scored is None else self._scored.pass_on(events):
            match event:
                case TextDelta(index=index, text=text, logprobs=(), so_far=None):
                    if text:
                        before, after = self._frames.get(index) or self._begin(index, out)
                        out += (before, ENCODER.encode(text), after)
                case TextDelta():
                    self._write_text(event, out)
                case Prefilled():
                    out.append(self._frame([], usage=self._account.tell_usage(), progress=translate_progress(event)))
                case Finished():
                    self._finish(event, out)
                case Failed(error=error):
                    self.over = True
                    out += (frame_event(translate_error(error).encode()), DONE)
        return b"".join(out)

    def reply(self, events: Sequence[Event]) -> bytes:
        reply = fold_events(events)
        if self._scored is not None:
            events = [*self._scored.pass_on(events)]
        for event in events:
            if isinstance(event, Finished):
                self._account.end(event)
        choices: list[CompletionChoice] = []
        for choice in reply.choices:
            echo, scores = self._begin_choice(choice.index)
            logprobs = self._parallel(choice.index, choice.logprobs) if self._logprobs else None
            choices.append(
                CompletionChoice(
                    echo + choice.text,
                    choice.index,
                    join_logprobs(scores, logprobs),
                    FINISH_REASONS[choice.reason],
                    name_stop_reason(choice.reason),
                )
            )
        return ENCODER.encode(
            self._with(choices, usage=self._account.tell_total(), timings=self._account.tell_timings())
        )

    def _begin_choice(self, index: int) -> tuple[str, CompletionLogprobs | None]:
        """What a choice begins with: its prompt, and how likely that is."""
        echo = self._echoes[index // self._each]
        self._offsets[index] = 0
        scores = None
        if self._scored is not None:
            scored = self._scored.find(index)
            first = CompletionLogprobs([scored.first], [None], [None], [0])
            self._offsets[index] = len(scored.first)
            scores = join_logprobs(first, self._parallel(index, scored.logprobs))
        self._offsets[index] = len(echo)
        return echo, scores

    def _write_text(self, event: TextDelta, out: list[bytes]) -> None:
        """A chunk that carries more than text."""
        self._begin(event.index, out)
        timings = self._account.advance(event.index, event.so_far)
        logprobs = self._parallel(event.index, event.logprobs) if self._logprobs else None
        choice = CompletionChoice(event.text, event.index, logprobs)
        out.append(self._frame([choice], usage=self._account.tell_usage(), timings=timings))

    def _begin(self, index: int, out: list[bytes]) -> tuple[bytes, bytes]:
        """The bytes around a choice's text; what it echoes is written if it was not yet."""
        if index not in self._frames:
            echo, scores = self._begin_choice(index)
            if echo or scores:
                out.append(self._frame([CompletionChoice(echo, index, scores)], usage=self._account.tell_usage()))
            mark = "\N{SYMBOL FOR NULL}"
            whole = self._frame([CompletionChoice(mark, index)], usage=self._account.tell_usage())
            before, after = whole.split(ENCODER.encode(mark), 1)
            self._frames[index] = before, after
        return self._frames[index]

    def _finish(self, event: Finished, out: list[bytes]) -> None:
        self._begin(event.index, out)
        timings = self._account.end(event)
        last = CompletionChoice("", event.index, None, FINISH_REASONS[event.reason], name_stop_reason(event.reason))
        out.append(self._frame([last], usage=self._account.tell_usage(), timings=timings))
        if not self._account.complete:
            return
        self.over = True
        if self._account.wanted:
            out.append(self._frame([], usage=self._account.tell_total(), timings=self._account.tell_timings()))
        out.append(DONE)

    def _parallel(self, index: int, logprobs: Sequence[TokenLogprob]) -> CompletionLogprobs:
        offsets: list[int] = []
        for each in logprobs:
            offsets.append(self._offsets[index])
            self._offsets[index] += len(each.token)
        return CompletionLogprobs(
            tokens=[each.token for each in logprobs],
            token_logprobs=[make_finite(each.logprob) for each in logprobs],
            top_logprobs=[_as_mapping(each) for each in logprobs],
            text_offset=offsets,
        )

    def _frame(
        self,
        choices: list[CompletionChoice],
        usage: WireUsage | UnsetType | None = UNSET,
        timings: WireTimings | UnsetType = UNSET,
        progress: WireProgress | UnsetType = UNSET,
    ) -> bytes:
        return frame_event(ENCODER.encode(self._with(choices, usage, timings, progress)))

    def _with(
        self,
        choices: list[CompletionChoice],
        usage: WireUsage | UnsetType | None = UNSET,
        timings: WireTimings | UnsetType = UNSET,
        progress: WireProgress | UnsetType = UNSET,
    ) -> Completion:
        return Completion(
            id=self.id,
            created=self.created,
            model=self._model,
            system_fingerprint=self._fingerprint,
            choices=choices,
            usage=usage,
            timings=timings,
            prompt_progress=progress,
        )


def join_logprobs(one: CompletionLogprobs | None, other: CompletionLogprobs | None) -> CompletionLogprobs | None:
    """Those of a text and of one that goes on with it."""
    if one is None or other is None:
        return one or other
    return CompletionLogprobs(
        tokens=one.tokens + other.tokens,
        token_logprobs=one.token_logprobs + other.token_logprobs,
        top_logprobs=one.top_logprobs + other.top_logprobs,
        text_offset=one.text_offset + other.text_offset,
    )


def _as_mapping(token: TokenLogprob) -> dict[str, float]:
    """The likeliest tokens and the one that was drawn. Tokens that read alike, as parts of characters do, are one."""
    found: dict[str, float] = {}
    for each in (*token.top, token):
        found[each.token] = max(make_finite(each.logprob), found.get(each.token, -9999.0))
    return found
