"""The sampler chain in MLX arrays: nothing of the vocabulary's size passes through Python."""

from __future__ import annotations

import math
import secrets
from collections import deque
from collections.abc import Sequence

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from core.contract.step import StepLogprob, TokenText
from core.decoding.masks.bits import unpack_mask
from core.requests import Sampling

GOLDEN_MULTIPLIER = 0x9E37_79B9_7F4A_7C15
"""An odd number that keeps the random keys of neighbouring seeds far apart (2^64 divided by the golden ratio)."""


class Penalties:
    """How often each token occurred among the last ones, kept up to date at a constant cost a token."""

    def __init__(self, sampling: Sampling, history: Sequence[int], vocabulary: int, context: int) -> None:
        last = context if sampling.repeat_last_n < 0 else sampling.repeat_last_n
        self._sampling = sampling
        self._recent: deque[int] = deque(maxlen=last)
        self._counts: npt.NDArray[np.float32] = np.zeros(vocabulary, np.float32)
        for token in history[-last:]:
            self.accept(token)

    def accept(self, token: int) -> None:
        if not 0 <= token < len(self._counts):
            return
        if len(self._recent) == self._recent.maxlen:
            self._counts[self._recent[0]] -= 1
        self._recent.append(token)
        self._counts[token] += 1

    def apply(self, logits: mx.array) -> mx.array:
        """As llama.cpp: the repeat penalty moves a logit down whatever its sign, the other two are subtracted."""
        sampling, counts = self._sampling, mx.array(self._counts)
        seen = counts > 0
        if sampling.repeat_penalty != 1.0:
            penalty = sampling.repeat_penalty
            logits = mx.where(seen, mx.where(logits > 0, logits / penalty, logits * penalty), logits)
        if sampling.frequency_penalty or sampling.presence_penalty:
            logits = logits - counts * sampling.frequency_penalty - seen * sampling.presence_penalty
        return logits


class MlxSampler:
    """Draws one sequence's tokens in llama.cpp's usual order: bias, penalties, truncations, temperature, draw.

    `history` primes the penalties. Token n of a sequence is drawn with a random key made of n and the seed, so that it
    is the same whatever else runs beside it, and after the sequence was taken up again. Belongs to the model's thread.
    """

    def __init__(self, sampling: Sampling, history: Sequence[int], vocabulary: int, context: int) -> None:
        self._sampling = sampling
        self._bias = _bias(sampling, vocabulary)
        self._penalties = Penalties(sampling, history, vocabulary, context) if has_penalties(sampling) else None
        self._seed = secrets.randbits(64) if sampling.seed is None else sampling.seed
        self._length = len(history)
        self._weighed: list[mx.array] = []
        """What the tokens since `take_weighed` were drawn from, where that is wanted."""

    def draw(self, logits: mx.array, mask: bytes | None = None) -> mx.array:
        """The next token, not evaluated yet, from its row of logits, (vocabulary,).

        With a mask, see `core.contract.step.Work`, one of those that it allows.
        """
        logits = logits.astype(mx.float32)
        if self._bias is not None:
            logits = logits + self._bias
        if self._penalties is not None:
            logits = self._penalties.apply(logits)
        if mask is not None:
            logits = mx.where(mx.array(unpack_mask(mask, logits.size)), logits, -math.inf)
        if self._sampling.greedy:
            token = mx.argmax(logits)
            if self._sampling.weighed:
                self._weighed.append(mx.where(mx.arange(logits.size) == token, 0.0, -math.inf))
            return token
        size = logits.size
        logits, tokens = truncate_logits(logits, self._sampling)
        if self._sampling.weighed:
            scaled = logits / self._sampling.temperature
            self._weighed.append(scaled if tokens is None else _spread(scaled, tokens, size))
        key = mx.random.key((self._seed * GOLDEN_MULTIPLIER + self._length) % (1 << 64))
        index = mx.random.categorical(logits / self._sampling.temperature, key=key)
        return index if tokens is None else tokens[index]

    def take_weighed(self) -> list[mx.array]:
        """The logits (vocabulary,) that each token since the last call was drawn from, -inf for what could not be."""
        weighed, self._weighed = self._weighed, []
        return weighed

    def accept(self, token: int) -> None:
        """The token drawn has been taken."""
        self._length += 1
        if self._penalties is not None:
            self._penalties.accept(token)


def has_penalties(sampling: Sampling) -> bool:
    """Whether any penalty has an effect."""
    return sampling.repeat_last_n != 0 and (
        sampling.repeat_penalty != 1.0 or sampling.frequency_penalty != 0.0 or sampling.presence_penalty != 0.0
    )


def truncate_logits(logits: mx.array, sampling: Sampling) -> tuple[mx.array, mx.array | None]:
    """Logits of which those cut away are -inf, and the tokens they belong to (None: each that of its own index).

    Sorts only where it must, and then no more than the k likeliest where there is a top-k.
    """
    tokens = None
    if 0 < sampling.top_k < logits.size:
        tokens = mx.argpartition(-logits, sampling.top_k - 1)[: sampling.top_k]
        logits = logits[tokens]
    if sampling.typical_p < 1.0 or sampling.top_p < 1.0:
        order = mx.argsort(-logits)
        tokens = order if tokens is None else tokens[order]
        logits = logits[order]
    if sampling.typical_p < 1.0:
        logits = keep_typical(logits, sampling.typical_p)
    if sampling.top_p < 1.0:
        logits = keep_nucleus(logits, sampling.top_p)
    if sampling.min_p > 0.0:
        logits = mx.where(logits >= mx.max(logits) + math.log(sampling.min_p), logits, -math.inf)
    return logits, tokens


def keep_nucleus(logits: mx.array, share: float) -> mx.array:
    """Keep the likeliest until their probabilities sum up to `share`; `logits` are sorted, the likeliest first."""
    probabilities = mx.softmax(logits)
    before = mx.cumsum(probabilities) - probabilities
    kept = (before < share) | (mx.arange(logits.size) == 0)
    return mx.where(kept, logits, -math.inf)


def keep_typical(logits: mx.array, share: float) -> mx.array:
    """Keep those whose surprise is closest to the expected one until they sum up to `share` (arXiv 2202.00666)."""
    logprobs = logits - mx.logsumexp(logits)
    probabilities = mx.exp(logprobs)
    # A banned token has no probability, and an infinite surprise that must not spoil the sum.
    entropy = -mx.sum(mx.where(probabilities > 0, probabilities * logprobs, 0.0))
    order = mx.argsort(mx.abs(-logprobs - entropy))
    sorted_probabilities = probabilities[order]
    before = mx.cumsum(sorted_probabilities) - sorted_probabilities
    kept = (before <= share) | (mx.arange(logits.size) == 0)
    return mx.where(kept[mx.argsort(order)], logits, -math.inf)


def compute_logprob(logits: mx.array, drawn: int, wanted: int) -> StepLogprob:
    """From logits (vocabulary,): the raw ones, so that it does not depend on how the token was drawn, or those that it
    was drawn from. Tokens without any probability are left out."""
    logits = logits.astype(mx.float32)
    values = logits - mx.logsumexp(logits)
    if not wanted:
        return StepLogprob(float(np.array(values[drawn])), ())
    count = min(wanted, values.size)
    best = mx.argpartition(-values, count - 1)[:count]
    best = best[mx.argsort(-values[best])]
    tokens, found = np.array(best).tolist(), np.array(values[best]).tolist()
    top = tuple(TokenText(token, value) for token, value in zip(tokens, found, strict=True) if value > -math.inf)
    return StepLogprob(float(np.array(values[drawn])), top)


def _spread(logits: mx.array, tokens: mx.array, size: int) -> mx.array:
    """Logits of these tokens among all, the others -inf."""
    spread = mx.full(size, -math.inf)
    spread[tokens] = logits
    return spread


def _bias(sampling: Sampling, vocabulary: int) -> mx.array | None:
    biases = [(token, bias) for token, bias in sampling.logit_bias if 0 <= token < vocabulary]
    if not biases:
        return None
    dense = np.zeros(vocabulary, np.float32)
    for token, bias in biases:
        dense[token] += bias
    return mx.array(dense)
