from collections import Counter

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from core.decoding.sampling import Sampler, compute_logprob, find_likely, truncate_logits
from core.errors import EngineFailed, LogitsBroken
from core.requests import Sampling

NEUTRAL = Sampling(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, seed=7)
GREEDY = Sampling(temperature=0.0)
Logits = npt.NDArray[np.float32]

some_logits = arrays(np.float32, st.integers(1, 600), elements=st.floats(-30, 30, width=32))


def logits_of(*probabilities: float) -> Logits:
    with np.errstate(divide="ignore"):
        return np.log(np.array(probabilities, np.float32))


def kept(logits: Logits, **fields: object) -> set[int]:
    from msgspec.structs import replace

    return {int(token) for token in truncate_logits(logits, replace(NEUTRAL, **fields))}


def first_draw(logits: Logits, sampling: Sampling, history: tuple[int, ...] = ()) -> int:
    return Sampler(sampling, history, 64).draw(logits)


def test_greedy_draws_the_first_of_the_largest() -> None:
    assert first_draw(np.array([1, 5, 5, 2], np.float32), GREEDY) == 1


@pytest.mark.parametrize("sampling", [GREEDY, NEUTRAL], ids=["greedy", "drawn"])
def test_logits_that_are_no_numbers_end_the_answer(sampling: Sampling) -> None:
    with pytest.raises(EngineFailed, match="no numbers"):
        first_draw(np.full(4, np.nan, np.float32), sampling)


def test_top_k_keeps_the_k_likeliest() -> None:
    assert kept(logits_of(0.1, 0.4, 0.2, 0.3), top_k=2) == {1, 3}


@given(
    arrays(np.float32, st.integers(1, 3000), elements=st.sampled_from([float("-inf"), -3.0, 0.0, 0.5, 2.0, 9.0])),
    st.integers(1, 99),
)
def test_the_likeliest_are_all_found_whatever_is_equal_or_banned(logits: Logits, count: int) -> None:
    found = find_likely(logits, count)
    missed = np.delete(logits, found)
    assert len(found) >= min(count, len(logits))
    assert (np.diff(found) > 0).all()
    assert not len(missed) or missed.max() < np.partition(logits, len(logits) - count)[len(logits) - count]


def test_few_others_are_found_beside_the_likeliest_of_a_large_vocabulary() -> None:
    assert len(find_likely(np.random.default_rng(3).normal(size=150_000).astype(np.float32), 40)) < 80


@pytest.mark.parametrize("place", [0, 70, 999, 1000])
@pytest.mark.parametrize("count", [2, 400])
def test_logits_with_one_that_is_no_number_are_broken_wherever_it_lies(place: int, count: int) -> None:
    logits = np.random.default_rng(1).normal(size=1001).astype(np.float32)
    logits[place] = np.nan
    with pytest.raises(LogitsBroken):
        find_likely(logits, count)


def test_top_k_beyond_the_vocabulary_keeps_all() -> None:
    assert kept(logits_of(0.5, 0.5), top_k=100) == {0, 1}


@pytest.mark.parametrize(("share", "tokens"), [(0.35, {1}), (0.45, {1, 3}), (0.75, {1, 2, 3}), (0.0, {1})])
def test_top_p_keeps_the_fewest_that_reach_the_mass(share: float, tokens: set[int]) -> None:
    assert kept(logits_of(0.1, 0.4, 0.2, 0.3), top_p=share) == tokens


@pytest.mark.parametrize(("share", "tokens"), [(0.6, {1, 3}), (0.4, {1, 2, 3}), (1.0, {1}), (2.0, {1})])
def test_min_p_is_measured_against_the_likeliest(share: float, tokens: set[int]) -> None:
    assert kept(logits_of(0.1, 0.4, 0.2, 0.3), min_p=share) == tokens


def test_top_p_counts_the_mass_of_what_min_p_took_away() -> None:
    assert kept(logits_of(0.5, 0.3, 0.2), top_p=0.75, min_p=0.9) == {0}
    assert kept(logits_of(0.5, 0.3, 0.2), top_p=0.75, min_p=0.1) == {0, 1}


def test_typical_prefers_the_surprise_that_is_expected() -> None:
    # Entropy 1.28 nat: the token of 0.25 (1.39 nat) is nearest, not the likeliest.
    assert kept(logits_of(0.4, 0.25, 0.25, 0.1), typical_p=0.2) == {1}


def test_a_banned_token_is_no_candidate() -> None:
    assert kept(logits_of(0.5, 0.0, 0.5)) == {0, 2}


def test_something_is_drawn_where_everything_is_banned() -> None:
    logits = np.full(4, -np.inf, np.float32)
    assert first_draw(logits, NEUTRAL) in range(4)


def test_a_large_vocabulary_with_a_flat_head_is_sorted_as_far_as_needed() -> None:
    logits = np.zeros(10_000, np.float32)
    assert len(kept(logits, top_p=0.5)) == 5_000


@given(some_logits, st.integers(0, 50), st.floats(0, 1), st.floats(0, 1), st.floats(0.01, 1))
def test_truncation_keeps_the_likeliest_unless_typical_says_otherwise(
    logits: Logits, top_k: int, top_p: float, min_p: float, typical_p: float
) -> None:
    tokens = kept(logits, top_k=top_k, top_p=top_p, min_p=min_p)
    assert tokens
    # Logits that differ by less than a float of their probability shows are equally likely.
    weights = np.exp(logits.astype(np.float64) - logits.max())
    assert max(weights[list(tokens)]) == weights.max()
    assert kept(logits, top_k=top_k, top_p=top_p, min_p=min_p, typical_p=typical_p)
    floor = min(weights[list(tokens)])
    assert all(weights[token] <= floor for token in set(range(len(logits))) - tokens)


@given(some_logits, st.integers(0, 2**40))
def test_a_seed_repeats(logits: Logits, seed: int) -> None:
    sampling = Sampling(temperature=1.5, seed=seed)
    one, two = Sampler(sampling, (), 64), Sampler(sampling, (), 64)
    assert [one.draw(logits) for _ in range(5)] == [two.draw(logits) for _ in range(5)]


@given(some_logits)
def test_the_logits_are_left_as_they_are(logits: Logits) -> None:
    before = logits.copy()
    Sampler(Sampling(repeat_penalty=1.5, logit_bias=((0, 3.0),), seed=1), (0, 0), 64).draw(logits)
    assert np.array_equal(before, logits)


def test_draws_follow_the_distribution() -> None:
    logits = logits_of(0.6, 0.3, 0.1)
    sampler = Sampler(NEUTRAL, (), 64)
    counts = Counter(sampler.draw(logits) for _ in range(4000))
    assert [counts[token] / 4000 for token in range(3)] == pytest.approx([0.6, 0.3, 0.1], abs=0.03)


def test_temperature_flattens_the_distribution() -> None:
    from msgspec.structs import replace

    sampler = Sampler(replace(NEUTRAL, temperature=2.0), (), 64)
    counts = Counter(sampler.draw(logits_of(0.8, 0.2)) for _ in range(4000))
    # The square roots of the odds: 2 to 1.
    assert counts[0] / 4000 == pytest.approx(2 / 3, abs=0.03)


def test_a_tiny_temperature_is_greedy_and_overflows_nothing() -> None:
    from msgspec.structs import replace

    with np.errstate(over="raise", invalid="raise"):
        assert first_draw(np.array([1, 80, 3], np.float32), replace(NEUTRAL, temperature=1e-9)) == 1


def test_a_bias_is_added_and_one_out_of_the_vocabulary_ignored() -> None:
    biased = Sampling(temperature=0.0, logit_bias=((2, 4.0), (2, 4.0), (99, 50.0), (-1, 50.0)))
    assert first_draw(np.array([5, 1, 0], np.float32), biased) == 2


def test_a_repetition_penalty_divides_what_is_positive_and_multiplies_what_is_not() -> None:
    harsh = Sampling(temperature=0.0, repeat_penalty=2.0)
    assert first_draw(np.array([4, 3], np.float32), harsh, (0,)) == 1
    assert first_draw(np.array([-4, -5], np.float32), harsh, (0,)) == 1


def test_frequency_counts_and_presence_does_not() -> None:
    frequency = Sampling(temperature=0.0, frequency_penalty=1.0)
    presence = Sampling(temperature=0.0, presence_penalty=1.0)
    logits = np.array([4, 2.5], np.float32)
    assert first_draw(logits, frequency, (0,)) == 0
    assert first_draw(logits, frequency, (0, 0)) == 1
    assert first_draw(logits, presence, (0, 0, 0)) == 0


def test_penalties_look_at_what_was_drawn_and_forget_what_is_long_ago() -> None:
    sampler = Sampler(Sampling(temperature=0.0, presence_penalty=10.0, repeat_last_n=2), (), 64)
    logits = np.array([3, 2, 1], np.float32)
    assert [sampler.draw(logits) for _ in range(5)] == [0, 1, 2, 0, 1]


def test_penalties_may_look_at_the_whole_context_or_at_nothing() -> None:
    long_ago = (0, *([1] * 100))
    logits = np.array([3, -9, 2], np.float32)
    whole = Sampling(temperature=0.0, presence_penalty=2.0, repeat_last_n=-1)
    nothing = Sampling(temperature=0.0, presence_penalty=2.0, repeat_last_n=0)
    assert Sampler(whole, long_ago, 512).draw(logits) == 2
    assert Sampler(nothing, long_ago, 512).draw(logits) == 0


@given(some_logits, st.integers(0, 20))
def test_logprobs_are_those_of_the_raw_logits(logits: Logits, wanted: int) -> None:
    found = compute_logprob(logits, 0, wanted)
    values = [top.logprob for top in found.top]
    assert len(values) == min(wanted, len(logits))
    assert values == sorted(values, reverse=True)
    total = np.log(np.exp(logits.astype(np.float64)).sum())
    assert found.chosen == pytest.approx(float(logits[0]) - total, abs=1e-6)


@given(some_logits, st.integers(0, 20), st.floats(0.1, 3.0), st.floats(0.1, 1.0))
def test_weighed_logprobs_are_a_distribution_over_what_could_be_drawn(
    logits: Logits, wanted: int, temperature: float, share: float
) -> None:
    sampling = Sampling(temperature=temperature, top_k=9, top_p=share, seed=3, logprobs=wanted, weighed=True)
    sampler = Sampler(sampling, (), 64)
    drawn = sampler.draw(logits)
    (found,) = sampler.tell((drawn,), [logits]).logprobs
    candidates = truncate_logits(logits, sampling)
    chances = np.exp([top.logprob for top in found.top])
    assert {top.token for top in found.top} <= set(candidates.tolist())
    assert list(chances) == sorted(chances, reverse=True)
    assert chances.sum() <= 1.0 + 1e-9
    if wanted >= len(candidates):
        assert chances.sum() == pytest.approx(1.0)
        assert found.chosen == {top.token: top.logprob for top in found.top}.get(drawn, -np.inf)


def test_what_can_be_drawn_alone_is_certain_under_its_mask_and_behind_a_penalty() -> None:
    logits = logits_of(0.5, 0.3, 0.2)
    greedy = Sampler(Sampling(temperature=0.0, presence_penalty=9.0, logprobs=3, weighed=True), (0,), 64)
    drawn = greedy.draw(logits), greedy.draw(logits, bytes([0b100]))
    first, second = greedy.tell(drawn, [logits, logits]).logprobs
    assert [top.token for top in (*first.top, *second.top)] == [1, 2]
    assert first.chosen == second.chosen == 0.0
    drawing = Sampler(Sampling(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, logprobs=3, weighed=True), (), 64)
    (found,) = drawing.tell((drawing.draw(logits, bytes([0b110])),), [logits]).logprobs
    assert {top.token: round(float(np.exp(top.logprob)), 3) for top in found.top} == {1: 0.6, 2: 0.4}


def test_a_sampler_made_behind_some_tokens_draws_what_one_that_drew_them_draws() -> None:
    wide = logits_of(*[0.01] * 100)
    # Of a single candidate nothing is to be chosen.
    rows = [wide, logits_of(0.0, 1.0), wide, wide, logits_of(1.0, 0.0), wide, wide, wide]
    sampler = Sampler(NEUTRAL, (), 64)
    drawn = [sampler.draw(logits) for logits in rows]
    for known in range(len(rows)):
        behind = Sampler(NEUTRAL, drawn[:known], 64)
        assert [behind.draw(logits) for logits in rows[known:]] == drawn[known:]
