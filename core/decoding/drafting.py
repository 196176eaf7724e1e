"""A draft model: a small model of the same vocabulary runs ahead, and the large one verifies what it wrote.

See "Fast Inference from Transformers via Speculative Decoding" (Leviathan et al., arXiv 2211.17192).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Protocol

from core.cache.prefix import common_prefix
from core.decoding.speculate import Wish
from core.engines.base import SequenceId, Tokenizer, TokenModel, Trims, Work
from core.requests import Sampling

PADDING = 128
"""Tokens that vocabularies of one family may differ by: some makers fill theirs up with unused ones."""
SAMPLES = 2_048
"""Tokens that are compared before two vocabularies are taken for one."""
GREEDY = Sampling(temperature=0.0)
"""The likeliest guess is the one most often drawn, however the large model samples."""


class TrimmingModel(TokenModel, Trims, Protocol):
    """What a draft model must be: one whose sequences may be cut where a guess was wrong."""


class _Line:
    """One sequence of the draft model. `tokens` are those it has computed, `agreed` of them known to be right."""

    def __init__(self, sequence: SequenceId) -> None:
        self.sequence = sequence
        self.tokens: list[int] = []
        self.agreed = 0


class DraftModel:
    """Guesses with a model of its own, greedily. Its sequences follow those of the large model."""

    def __init__(self, name: str, model: TrimmingModel, vocabulary: int) -> None:
        """`vocabulary`: token ids of the large model; the draft's may have more."""
        self.name = name
        self._model = model
        self._vocabulary = vocabulary
        self._lines: dict[Hashable, _Line] = {}

    def propose(self, wishes: Sequence[Wish]) -> list[list[int]]:
        """A long prompt is caught up with over several calls, so that none takes longer than one batch."""
        room = self._model.spec.batch
        feeds: list[tuple[int, Work]] = []
        for place, wish in enumerate(wishes):
            if room and (line := self._line(wish)) is not None:
                missing = wish.tokens[len(line.tokens) :]
                chunk = list(missing[:room])
                feeds.append((place, Work(line.sequence, chunk, sample=len(chunk) == len(missing))))
                room -= len(chunk)
        guesses: list[list[int]] = [[] for _ in wishes]
        while feeds:
            steps = self._model.step([work for _, work in feeds])
            following = []
            for (place, work), step in zip(feeds, steps, strict=True):
                wish = wishes[place]
                self._lines[wish.key].tokens += work.tokens
                if step.tokens and self._goes_on(guesses[place], step.tokens[0], wish.most):
                    following.append((place, Work(work.sequence, [step.tokens[0]], sample=True)))
            feeds = following
        return guesses

    def forget(self, key: Hashable) -> None:
        line = self._lines.pop(key, None)
        if line is not None:
            self._model.close(line.sequence)

    def shutdown(self) -> None:
        self._lines.clear()
        self._model.shutdown()

    def _goes_on(self, guesses: list[int], token: int, most: int) -> bool:
        """Takes a guess; whether there is to be another behind it."""
        if token >= self._vocabulary:
            return False
        guesses.append(token)
        return len(guesses) < most and not self._model.tokenizer.is_end(token)

    def _line(self, wish: Wish) -> _Line | None:
        """The draft's sequence, cut back to what is right of it; None where it cannot hold what is wished."""
        spec = self._model.spec
        length = len(wish.tokens) + wish.most
        others = sum(len(line.tokens) for key, line in self._lines.items() if key != wish.key)
        if not wish.most or length > spec.context or others + length > spec.cells:
            return None
        line = self._lines.get(wish.key)
        if line is None:
            if len(self._lines) >= spec.sequences:
                self.forget(next(iter(self._lines)))
            line = self._lines[wish.key] = _Line(self._model.open(GREEDY))
        right = line.agreed + common_prefix(line.tokens[line.agreed :], list(wish.tokens[line.agreed :]))
        # The last token is always computed anew: what follows it is drawn from that.
        line.agreed = min(right, len(wish.tokens) - 1)
        if line.agreed < len(line.tokens):
            self._model.trim(line.sequence, line.agreed)
            del line.tokens[line.agreed :]
        return line


def unlike(draft: Tokenizer, large: Tokenizer) -> str | None:
    """What tells the two vocabularies apart; None where guesses of one stand for the same text in the other."""
    if abs(draft.size - large.size) > PADDING:
        return f"it knows {draft.size:,} tokens, not {large.size:,}"
    shared = min(draft.size, large.size)
    for token in range(0, shared, max(1, shared // SAMPLES)):
        if draft.piece(token) != large.piece(token) or draft.is_end(token) != large.is_end(token):
            return f"its token {token} is another"
    return None
