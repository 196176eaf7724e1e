"""The sampler chain against what the same formulas give in numpy."""

import math
from collections import Counter

import mlx.core as mx
import numpy as np
import pytest

from core.engines.mlx.sampling import MlxSampler, compute_logprob, truncate_logits
from core.requests import Sampling

SHARES = [0.05, 0.4, 0.2, 0.3, 0.05]
LOGITS = mx.array([math.log(share) for share in SHARES])


def kept(**fields: float) -> set[int]:
    sampling = Sampling(**({"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0} | fields))  # type: ignore[arg-type]
    logits, tokens = truncate_logits(LOGITS, sampling)
    names = range(len(SHARES)) if tokens is None else np.array(tokens).tolist()
    return {name for name, logit in zip(names, np.array(logits).tolist(), strict=True) if logit > -math.inf}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {0, 1, 2, 3, 4}),
        ({"top_k": 2}, {1, 3}),
        ({"top_k": 99}, {0, 1, 2, 3, 4}),
        ({"top_p": 0.65}, {1, 3}),
        ({"top_p": 0.75}, {1, 2, 3}),
        ({"top_p": 0.0}, {1}),
        ({"min_p": 0.5}, {1, 2, 3}),
        ({"min_p": 0.74}, {1, 3}),
        ({"top_k": 3, "top_p": 0.7}, {1, 3}),
        # The expected surprise is 1.349: that of token 3 is nearest, then those of 2 and of 1.
        ({"typical_p": 0.25}, {3}),
        ({"typical_p": 0.45}, {2, 3}),
        ({"typical_p": 0.85}, {1, 2, 3}),
    ],
    ids=str,
)
def test_each_truncation_keeps_what_its_definition_says(fields: dict[str, float], expected: set[int]) -> None:
    assert kept(**fields) == expected


def draws(sampling: Sampling, count: int) -> list[int]:
    sampler = MlxSampler(sampling, (), len(SHARES), 512)
    found = []
    for _ in range(count):
        token = int(np.array(sampler.draw(LOGITS)))
        sampler.accept(token)
        found.append(token)
    return found


def test_what_is_drawn_follows_the_distribution() -> None:
    counts = Counter(draws(Sampling(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, seed=3), 2000))
    for token, share in enumerate(SHARES):
        assert counts[token] / 2000 == pytest.approx(share, abs=0.04)


def test_a_seed_repeats_itself_and_neighbouring_seeds_differ() -> None:
    one, again, next_one = (draws(Sampling(temperature=1.0, top_k=0, seed=seed), 40) for seed in (1, 1, 2))
    assert one == again
    assert one != next_one


def test_penalties_are_those_of_llama_cpp_and_forget_what_is_too_long_ago() -> None:
    sampling = Sampling(
        temperature=0.0, repeat_penalty=2.0, frequency_penalty=0.5, presence_penalty=0.25, repeat_last_n=3
    )
    sampler = MlxSampler(sampling, [4, 0, 1, 1], 5, 512)
    penalties = sampler._penalties
    assert penalties is not None
    logits = mx.array([-1.0, 4.0, 1.0, 1.0, 1.0])
    assert np.array(penalties.apply(logits)).tolist() == [-2.75, 2.0 - 1.25, 1.0, 1.0, 1.0]
    sampler.accept(2)
    assert np.array(penalties.apply(logits)).tolist() == [-1.0, 0.75, 0.5 - 0.75, 1.0, 1.0]


def test_a_ban_holds_through_every_truncation() -> None:
    banned = Sampling(temperature=1.0, top_k=3, top_p=0.9, typical_p=0.9, logit_bias=((1, -math.inf),), seed=1)
    assert 1 not in draws(banned, 100)


def test_logprobs_come_from_the_raw_logits() -> None:
    found = compute_logprob(LOGITS, 2, 3)
    assert found.chosen == pytest.approx(math.log(0.2), abs=1e-5)
    assert [top.token for top in found.top] == [1, 3, 2]
    assert found.top[0].logprob == pytest.approx(math.log(0.4), abs=1e-5)
    assert compute_logprob(LOGITS, 2, 0).top == ()
    assert len(compute_logprob(LOGITS, 2, 99).top) == len(SHARES)
