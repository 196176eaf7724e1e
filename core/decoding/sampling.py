"""Draws tokens from raw logits, for engines that have no sampler of their own; all in numpy.

The order is llama.cpp's: bias, penalties, top-k, typical, top-p, min-p, temperature, draw.
"""

from __future__ import annotations

import math
import secrets
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from core.contract.step import Step, StepLogprob, TokenText
from core.decoding.masks.bits import unpack_mask
from core.errors import LogitsBroken
from core.requests import Sampling

Logits = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]
Probabilities = npt.NDArray[np.float64]

HEAD_CANDIDATES = 256
"""Candidates that are sorted first; they hold the mass that top-p asks for as a rule, however large the vocabulary."""

GROUP_TOKENS = 64
"""Of a vocabulary, at most, whose largest logit `find_likely` takes."""
SMALLEST_GROUP_TOKENS = 4
"""Smaller groups are no faster than all tokens."""
GROUPS_EACH = 4
"""Groups at least for each token that is to be found: with fewer, two of the likeliest share a group too often."""


class Sampler:
    """Draws for one sequence. What it draws depends on the sampling, the seed, and the tokens before.

    `history` primes the penalties, which look at `context` tokens where the sampling says the whole context. The seed
    has a chance for each place in a sequence, so that one that was taken up again goes on as if it had run through.
    """

    def __init__(self, sampling: Sampling, history: Sequence[int], context: int) -> None:
        self._sampling = sampling
        self._bias = _bias(sampling.logit_bias)
        self._recent = _Recent(history, context, sampling) if _penalizes(sampling) else None
        self._weighed: list[StepLogprob] = []
        """Of the tokens drawn since `tell`, where they are wanted."""
        seed = sampling.seed if sampling.seed is not None else secrets.randbits(64)
        # numpy's seeds have no sign; so long as a seed fits 64 bits, no two are folded into one.
        self._random = None if sampling.greedy else _randoms(seed % (1 << 64), len(history))

    def draw(self, logits: Logits, mask: bytes | None = None) -> int:
        """The next token, from logits (vocabulary,) that are left as they are. It counts as said from now on.

        With a mask, see `core.contract.step.Work`, one of those that it allows. Raises LogitsBroken.
        """
        adjusted = self._adjusted(logits)
        if mask is not None:
            adjusted = np.where(unpack_mask(mask, len(adjusted)), adjusted, np.float32(-np.inf))
        token = self._draw(adjusted)
        if np.isnan(logits[token]):
            # The largest of anything with a NaN in it is the NaN, so one look tells.
            raise LogitsBroken
        if self._recent is not None:
            self._recent.add(token)
        return token

    def tell(self, drawn: tuple[int, ...], rows: Iterable[Logits]) -> Step:
        """The step that drew these tokens, all that were drawn since the last call, each from its row of logits."""
        weighed, self._weighed = self._weighed, []
        return Step(drawn, tuple(weighed)) if weighed else make_step(drawn, rows, self._sampling.logprobs)

    def _draw(self, logits: Logits) -> int:
        if self._random is None:
            token = int(logits.argmax())
            self._weigh(np.array([token]), np.ones(1), 0)
            return token
        # Drawn also where it decides nothing: each token takes one.
        chance = self._random.random()
        candidates = truncate_logits(logits, self._sampling)
        if len(candidates) == 1:
            self._weigh(candidates, np.ones(1), 0)
            return int(candidates[0])
        values = logits[candidates].astype(np.float64)
        # Subtracted before they are divided: a tiny temperature must not overflow.
        scaled = (values - values.max()) / self._sampling.temperature
        weights = np.exp(scaled)
        cumulative = weights.cumsum()
        index = min(int(np.searchsorted(cumulative, chance * cumulative[-1], side="right")), len(candidates) - 1)
        self._weigh(candidates, weights / cumulative[-1], index)
        return int(candidates[index])

    def _weigh(self, tokens: Ids, probabilities: Probabilities, index: int) -> None:
        """Note by which probabilities the token at `index` was drawn, where they are wanted."""
        if self._sampling.weighed and self._sampling.logprobs is not None:
            self._weighed.append(tell_weights(tokens, probabilities, index, self._sampling.logprobs))

    def _adjusted(self, logits: Logits) -> Logits:
        if self._bias is None and self._recent is None:
            return logits
        logits = logits.astype(np.float32)
        if self._bias is not None:
            tokens, values = self._bias
            inside = tokens < len(logits)
            logits[tokens[inside]] += values[inside]
        if self._recent is not None:
            self._recent.penalize(logits)
        return logits


def _randoms(seed: int, taken: int) -> np.random.Generator:
    """Those of a seed, behind the first `taken`."""
    return np.random.Generator(np.random.PCG64(seed).advance(taken))


def truncate_logits(logits: Logits, sampling: Sampling) -> Ids:
    """The token ids that may be drawn, at least one; likeliest first where they had to be sorted.

    Top-p and min-p each keep a head of the candidates sorted by probability, so they may be applied together.
    """
    ids = find_likely(logits, sampling.top_k) if sampling.top_k > 0 else np.arange(len(logits))
    ids = ids[logits[ids] > -np.inf]
    if len(ids) == 0:
        return np.array([int(logits.argmax())])
    if 0 < sampling.top_k < len(ids):
        ids = ids[np.argpartition(-logits[ids], sampling.top_k - 1)[: sampling.top_k]]
    if sampling.typical_p < 1.0:
        ids = _typical(logits, ids, sampling.typical_p)
    values = logits[ids].astype(np.float64)
    weights = np.exp(values - values.max())
    total = weights.sum()
    if sampling.min_p > 0.0:
        kept = weights >= min(sampling.min_p, 1.0)
        ids, weights = ids[kept], weights[kept]
    if sampling.top_p < 1.0:
        ids = ids[_head(weights, sampling.top_p * total)]
    return ids


def find_likely(logits: Logits, count: int) -> Ids:
    """Ids of at least the `count` likeliest tokens, and of few more, in ascending order. Raises LogitsBroken.

    The vocabulary is cut into groups. Where `count` groups have a largest logit of at least some value, so many tokens
    reach that value, and none below it is among the likeliest; nor need other groups be looked at. So all logits are
    read but once: a fifth of the time that a partial sort takes.
    """
    group = min(GROUP_TOKENS, len(logits) // (count * GROUPS_EACH))
    if group < SMALLEST_GROUP_TOKENS:
        _check_whole(logits)
        return np.arange(len(logits))
    groups = len(logits) // group
    table, rest = logits[: groups * group].reshape(group, groups), logits[groups * group :]
    largest = table.max(axis=0)
    _check_whole(largest)
    _check_whole(rest)
    least = np.partition(largest, groups - count)[groups - count]
    columns = np.flatnonzero(largest >= least)
    rows, places = np.nonzero(table[:, columns] >= least)
    found: Ids = np.concatenate((rows * groups + columns[places], groups * group + np.flatnonzero(rest >= least)))
    return found


def _check_whole(logits: Logits) -> None:
    """Raises LogitsBroken where one of them is no number: the largest of anything with a NaN in it is the NaN."""
    if len(logits) and np.isnan(logits.max()):
        raise LogitsBroken


def compute_logprob(logits: Logits, drawn: int, wanted: int) -> StepLogprob:
    """Log-probability of the token drawn and of the `wanted` likeliest, from the model's raw logits (vocabulary,),
    which are never sorted. Raises LogitsBroken."""
    highest = logits.max()
    if np.isnan(highest):
        raise LogitsBroken
    total = float(highest) + math.log(np.exp(logits - highest).sum(dtype=np.float64))
    best = find_likely(logits, min(wanted, len(logits))) if wanted else np.empty(0, np.int64)
    ordered = best[np.argsort(-logits[best], kind="stable")][:wanted]

    def tell(token: int) -> float:
        # What is certain must not be more than that by rounding.
        return min(0.0, float(logits[token]) - total)

    return StepLogprob(tell(drawn), tuple(TokenText(int(token), tell(int(token))) for token in ordered))


def tell_weights(
    tokens: npt.NDArray[np.integer], probabilities: npt.NDArray[np.floating], index: int, wanted: int
) -> StepLogprob:
    """Log-probability of the token at `index` of those that could be drawn, and of the `wanted` likeliest of them.
    Tokens without any probability are left out."""
    with np.errstate(divide="ignore"):
        # What is certain must not be more than that by rounding.
        found = np.minimum(np.log(probabilities.astype(np.float64)), 0.0)
    order = np.argsort(-found, kind="stable")[:wanted]
    top = tuple(TokenText(int(tokens[at]), float(found[at])) for at in order if found[at] > -math.inf)
    return StepLogprob(float(found[index]), top)


def make_step(drawn: tuple[int, ...], rows: Iterable[Logits], wanted: int | None) -> Step:
    """The step that drew these tokens, each from its row of logits; with log-probabilities unless `wanted` is None."""
    if wanted is None:
        return Step(drawn)
    return Step(drawn, tuple(compute_logprob(row, token, wanted) for row, token in zip(rows, drawn, strict=False)))


def _head(weights: Probabilities, mass: float) -> npt.NDArray[np.intp]:
    """Indices of the fewest largest weights that reach `mass`, largest first; at least one."""
    for count in (HEAD_CANDIDATES, len(weights)):
        likeliest = np.argpartition(-weights, count - 1)[:count] if count < len(weights) else np.arange(len(weights))
        head = likeliest[np.argsort(-weights[likeliest], kind="stable")]
        enough = int(np.searchsorted(weights[head].cumsum(), mass)) + 1
        if enough <= count:
            return head[:enough]
    return head


def _typical(logits: Logits, ids: Ids, share: float) -> Ids:
    """Locally typical sampling (Meister et al. 2022): those whose surprise is nearest to the entropy."""
    values = logits[ids].astype(np.float64)
    log_weights = values - values.max()
    log_weights -= np.log(np.exp(log_weights).sum())
    weights = np.exp(log_weights)
    entropy = -(weights * log_weights).sum()
    order = np.argsort(np.abs(-log_weights - entropy), kind="stable")
    enough = int(np.searchsorted(weights[order].cumsum(), share, side="right")) + 1
    kept: Ids = ids[order[:enough]]
    return kept


class _Recent:
    """The tokens that the penalties look at, with their counts."""

    def __init__(self, history: Sequence[int], context: int, sampling: Sampling) -> None:
        last = context if sampling.repeat_last_n < 0 else min(sampling.repeat_last_n, context)
        self._sampling = sampling
        self._order: deque[int] = deque(maxlen=last)
        self._counts: Counter[int] = Counter()
        self.extend(history[-last:])

    def extend(self, tokens: Iterable[int]) -> None:
        for token in tokens:
            self.add(token)

    def add(self, token: int) -> None:
        if len(self._order) == self._order.maxlen:
            oldest = self._order[0]
            self._counts[oldest] -= 1
            if not self._counts[oldest]:
                del self._counts[oldest]
        self._order.append(token)
        self._counts[token] += 1

    def penalize(self, logits: Logits) -> None:
        """In place. A repetition penalty divides positive logits and multiplies others; the rest is subtracted."""
        size = len(self._counts)
        tokens = np.fromiter(self._counts.keys(), np.int64, size)
        counts = np.fromiter(self._counts.values(), np.float32, size)
        inside = (tokens >= 0) & (tokens < len(logits))
        tokens, counts = tokens[inside], counts[inside]
        values = logits[tokens]
        repeat = np.float32(self._sampling.repeat_penalty)
        values = np.where(values > 0, values / repeat, values * repeat)
        values -= counts * np.float32(self._sampling.frequency_penalty) + np.float32(self._sampling.presence_penalty)
        logits[tokens] = values


def _penalizes(sampling: Sampling) -> bool:
    return sampling.repeat_last_n != 0 and (
        sampling.repeat_penalty != 1.0 or sampling.frequency_penalty != 0.0 or sampling.presence_penalty != 0.0
    )


def _bias(pairs: Sequence[tuple[int, float]]) -> tuple[npt.NDArray[Any], Logits] | None:
    """Token ids, each once, and what is added to their logits; None where nothing is."""
    sums: dict[int, float] = {}
    for token, value in pairs:
        if token >= 0:
            sums[token] = sums.get(token, 0.0) + value
    if not sums:
        return None
    return np.fromiter(sums.keys(), np.int64, len(sums)), np.fromiter(sums.values(), np.float32, len(sums))
