"""One batched forward pass: what each sequence does in it, and what comes of that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NewType

from msgspec import Struct

SequenceId = NewType("SequenceId", int)


class TokenText(Struct, frozen=True):
    """The log-probability of one token id."""

    token: int
    logprob: float


class StepLogprob(Struct, frozen=True):
    """Log-probability of the token drawn and of the likeliest, best first."""

    chosen: float
    top: tuple[TokenText, ...]


class Work(Struct, frozen=True):
    """What one sequence does in a step.

    `tokens` are appended to the sequence. With `sample`, a token is drawn after the last of them. `draft` are guesses
    at what follows: they are appended too, each is kept while it equals the token drawn in its place, and the rest is
    taken back; the distribution of the output never changes.

    `masks` are empty, or one for each token that is drawn: the first behind `tokens`, then one behind each guess.
    Bit i % 8 of byte i // 8 tells whether token i may be drawn there; tokens beyond the last bit may not. At least one
    token may. Log-probabilities are told as if there were no mask, unless those are wanted that tokens are drawn by.
    """

    sequence: SequenceId
    tokens: Sequence[int]
    sample: bool
    draft: Sequence[int] = ()
    masks: Sequence[bytes] = ()

    def mask(self, index: int) -> bytes | None:
        """The mask of the token behind so many guesses; None where all tokens may be drawn."""
        return self.masks[index] if self.masks else None


class Step(Struct, frozen=True):
    """What came of one `Work`: the tokens drawn, none without `sample`, at most len(draft) + 1."""

    tokens: tuple[int, ...] = ()
    logprobs: tuple[StepLogprob, ...] = ()
    """One for each token where the sequence's sampling asks for them, else empty."""
