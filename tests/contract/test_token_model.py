"""What our loop relies on, of every engine whose steps it schedules."""

import math
import threading
from collections.abc import Sequence
from itertools import pairwise

import pytest
from msgspec.structs import replace

from core.contract.models import TokenModel, Trims
from core.contract.step import SequenceId, Work
from core.errors import EngineError, EngineFailed, Interrupted
from core.requests import Sampling
from core.serving.scoring import allow_token
from tests.contract.conftest import CONTEXT, Subject

GREEDY = Sampling(temperature=0.0)
QUESTION = "<|im_start|>user\nWhat is a KV cache?<|im_end|>\n<|im_start|>assistant\n"


def prompt_of(model: TokenModel, text: str = QUESTION) -> list[int]:
    return model.tokenizer.encode(text, special=True)


def feed(model: TokenModel, sequence: SequenceId, tokens: Sequence[int]) -> int:
    """Compute the tokens and draw the next."""
    (step,) = model.step([Work(sequence, tokens, sample=True)])
    return step.tokens[0]


def continue_with(model: TokenModel, sequence: SequenceId, first: Sequence[int], count: int) -> list[int]:
    drawn = [feed(model, sequence, first)]
    while len(drawn) < count:
        drawn.append(feed(model, sequence, drawn[-1:]))
    return drawn


def generate(model: TokenModel, prompt: Sequence[int], count: int, sampling: Sampling = GREEDY) -> list[int]:
    sequence = model.open(sampling, prompt)
    drawn = continue_with(model, sequence, prompt, count)
    model.close(sequence)
    return drawn


def test_greedy_tokens_are_the_same_every_time(model: TokenModel) -> None:
    prompt = prompt_of(model)
    assert generate(model, prompt, 24) == generate(model, prompt, 24)


def test_prefill_in_chunks_gives_what_prefill_at_once_gives(model: TokenModel) -> None:
    prompt = prompt_of(model)
    whole = generate(model, prompt, 12)
    sequence = model.open(GREEDY, prompt)
    for token in prompt[:-3]:
        (step,) = model.step([Work(sequence, [token], sample=False)])
        assert step.tokens == ()
    assert continue_with(model, sequence, prompt[-3:], 12) == whole
    model.close(sequence)


def test_sequences_in_one_batch_do_not_mix(model: TokenModel) -> None:
    prompts = [prompt_of(model, QUESTION.replace("KV cache", word)) for word in ("KV cache", "token", "GGUF file")]
    alone = [generate(model, prompt, 10) for prompt in prompts]
    sequences = [model.open(GREEDY, prompt) for prompt in prompts]
    pending = [list(prompt) for prompt in prompts]
    drawn: list[list[int]] = [[] for _ in prompts]
    for _ in range(10):
        steps = model.step([Work(s, tokens, sample=True) for s, tokens in zip(sequences, pending, strict=True)])
        pending = [list(step.tokens) for step in steps]
        for all_of_it, step in zip(drawn, steps, strict=True):
            all_of_it.extend(step.tokens)
    for sequence in sequences:
        model.close(sequence)
    assert drawn == alone


def test_a_fork_shares_the_prefix_and_goes_its_own_way(model: TokenModel) -> None:
    if not isinstance(model, Trims):
        pytest.skip("this model offers no fork")
    prompt = prompt_of(model)
    other = [*prompt[: len(prompt) // 2], *prompt_of(model, "another end<|im_end|>\n<|im_start|>assistant\n")]
    expected = generate(model, other, 10)
    first = model.open(GREEDY, prompt)
    before = continue_with(model, first, prompt, 5)
    second = model.fork(first, len(prompt) // 2, GREEDY, other)
    assert continue_with(model, second, other[len(prompt) // 2 :], 10) == expected
    model.close(second)
    assert [*before, *continue_with(model, first, before[-1:], 5)] == generate(model, prompt, 10)
    model.close(first)


def test_a_fork_outlives_the_sequence_it_came_from(model: TokenModel) -> None:
    if not isinstance(model, Trims):
        pytest.skip("this model offers no fork")
    prompt = prompt_of(model)
    first = model.open(GREEDY, prompt)
    feed(model, first, prompt)
    second = model.fork(first, len(prompt) - 1, GREEDY, prompt)
    model.close(first)
    assert continue_with(model, second, prompt[-1:], 8) == generate(model, prompt, 8)
    model.close(second)


def test_trimming_takes_back_what_was_computed(model: TokenModel) -> None:
    if not isinstance(model, Trims):
        pytest.skip("this model offers no trim")
    prompt = prompt_of(model)
    expected = generate(model, prompt, 8)
    sequence = model.open(GREEDY, prompt)
    feed(model, sequence, [*prompt, *prompt[:7]])
    model.trim(sequence, len(prompt) - 2)
    assert continue_with(model, sequence, prompt[-2:], 8) == expected
    model.close(sequence)


def test_a_saved_sequence_goes_on_where_it_was(model: TokenModel) -> None:
    prompt = prompt_of(model)
    whole = generate(model, prompt, 14)
    sequence = model.open(GREEDY, prompt)
    drawn = continue_with(model, sequence, prompt, 6)
    data = model.save(sequence)
    model.close(sequence)
    restored = model.restore(data, GREEDY, [*prompt, *drawn])
    assert drawn + continue_with(model, restored, drawn[-1:], 8) == whole
    model.close(restored)


@pytest.mark.parametrize("drawn_before", [1, 7])
def test_a_seed_goes_on_where_it_was_in_a_saved_sequence(model: TokenModel, drawn_before: int) -> None:
    prompt = prompt_of(model)
    hot = Sampling(temperature=3.0, top_k=0, top_p=1.0, min_p=0.0, seed=5)
    whole = generate(model, prompt, 16, hot)
    sequence = model.open(hot, prompt)
    drawn = continue_with(model, sequence, prompt, drawn_before)
    data = model.save(sequence)
    model.close(sequence)
    restored = model.restore(data, hot, [*prompt, *drawn])
    drawn += continue_with(model, restored, drawn[-1:], 16 - drawn_before)
    assert drawn == whole
    model.close(restored)


@pytest.mark.parametrize("data", [b"", b"nonsense", b"BTS1" + b"\0" * 40], ids=["empty", "foreign", "cut off"])
def test_a_foreign_state_is_refused_and_leaves_no_sequence_behind(model: TokenModel, data: bytes) -> None:
    with pytest.raises(EngineError):
        model.restore(data, GREEDY)
    opened = [model.open(GREEDY) for _ in range(model.spec.sequences)]
    with pytest.raises(EngineError):
        model.open(GREEDY)
    for sequence in opened:
        model.close(sequence)


def test_right_guesses_are_kept_and_wrong_ones_taken_back(model: TokenModel) -> None:
    prompt = prompt_of(model)
    expected = generate(model, prompt, 8)
    sequence = model.open(GREEDY, prompt)
    first = feed(model, sequence, prompt)
    wrong = (expected[4] + 1) % model.tokenizer.size
    (step,) = model.step([Work(sequence, [first], sample=True, draft=[*expected[1:4], wrong, wrong])])
    assert list(step.tokens) == expected[1:5]
    assert continue_with(model, sequence, expected[4:5], 3) == expected[5:8]
    model.close(sequence)


def test_a_seed_repeats_and_different_seeds_differ_where_sampling_is_real(model: TokenModel, subject: Subject) -> None:
    prompt = prompt_of(model)
    hot = [Sampling(temperature=3.0, top_k=0, top_p=1.0, min_p=0.0, seed=seed) for seed in (1, 1, 2)]
    first, again, other = (generate(model, prompt, 16, sampling) for sampling in hot)
    assert first == again
    if subject.engine != "echo":
        assert first != other


@pytest.mark.parametrize("seed", [0, -1, 2**31, 2**32 - 2, 2**32 - 1, 2**32, 2**63 - 1, -(2**63)])
def test_any_whole_number_is_a_seed_and_the_choices_counted_from_it_differ(
    model: TokenModel, subject: Subject, seed: int
) -> None:
    prompt = prompt_of(model)
    asked = Sampling(temperature=3.0, top_k=0, top_p=1.0, min_p=0.0, seed=seed)
    drawn = [generate(model, prompt, 12, asked.choice(index)) for index in (0, 1, 0, 1)]
    assert drawn[:2] == drawn[2:]
    if subject.engine != "echo":
        assert drawn[0] != drawn[1]


@pytest.mark.parametrize("temperature", [5e-324, 1e-45, 1e-20])
def test_a_temperature_next_to_nothing_draws_the_likeliest_token(model: TokenModel, temperature: float) -> None:
    prompt = prompt_of(model)
    cold = Sampling(temperature=temperature, top_k=0, top_p=1.0, min_p=0.0, seed=1)
    assert generate(model, prompt, 8, cold) == generate(model, prompt, 8)


def test_a_banned_token_is_never_drawn(model: TokenModel, subject: Subject) -> None:
    if subject.engine == "echo":
        pytest.skip("the echo engine says what its script says, whatever the sampling")
    prompt = prompt_of(model)
    (usual,) = generate(model, prompt, 1)
    (other,) = generate(model, prompt, 1, Sampling(temperature=0.0, logit_bias=((usual, float("-inf")),)))
    assert other != usual


def test_a_repetition_penalty_looks_at_the_prompt(model: TokenModel, subject: Subject) -> None:
    if subject.engine == "echo":
        pytest.skip("the echo engine says what its script says, whatever the sampling")
    prompt = prompt_of(model)
    (usual,) = generate(model, prompt, 1)
    harsh = Sampling(temperature=0.0, presence_penalty=1000.0, repeat_last_n=-1)
    sequence = model.open(harsh, [usual, *prompt])
    assert feed(model, sequence, prompt) != usual
    model.close(sequence)


def test_logprobs_are_a_distribution_with_the_greedy_token_on_top(model: TokenModel) -> None:
    prompt = prompt_of(model)
    sequence = model.open(Sampling(temperature=0.0, logprobs=5), prompt)
    (step,) = model.step([Work(sequence, prompt, sample=True)])
    model.close(sequence)
    (logprob,) = step.logprobs
    values = [top.logprob for top in logprob.top]
    assert logprob.top[0].token == step.tokens[0]
    assert logprob.chosen == pytest.approx(values[0])
    assert values == sorted(values, reverse=True)
    assert all(value <= 0.0 for value in values)


def test_logprobs_of_nothing_but_the_token_drawn_can_be_asked_for(model: TokenModel) -> None:
    prompt = prompt_of(model)
    sequence = model.open(Sampling(temperature=0.0, logprobs=0), prompt)
    (step,) = model.step([Work(sequence, prompt, sample=True)])
    model.close(sequence)
    assert step.logprobs[0].top == ()
    assert step.logprobs[0].chosen <= 0.0


def test_text_survives_the_tokenizer(model: TokenModel) -> None:
    text = "naïve café, 日本語, 🙂 and\ttabs\n"
    tokens = model.tokenizer.encode(text, special=False)
    assert b"".join(model.tokenizer.piece(token) for token in tokens).decode() == text


def test_control_tokens_are_parsed_only_where_asked_and_have_no_text(model: TokenModel) -> None:
    parsed = model.tokenizer.encode("<|im_end|>", special=True)
    assert len(parsed) == 1
    assert model.tokenizer.is_end(parsed[0])
    assert model.tokenizer.piece(parsed[0]) == b""
    plain = model.tokenizer.encode("<|im_end|>", special=False)
    assert b"".join(model.tokenizer.piece(token) for token in plain) == b"<|im_end|>"


def test_a_step_larger_than_the_batch_is_refused(model: TokenModel) -> None:
    sequence = model.open(GREEDY)
    with pytest.raises(EngineFailed, match="at most"):
        model.step([Work(sequence, [1] * (model.spec.batch + 1), sample=True)])
    model.close(sequence)


def test_an_interrupt_ends_a_step_and_the_model_works_on(model: TokenModel) -> None:
    prompt = prompt_of(model)
    expected = generate(model, prompt, 6)
    sequence = model.open(GREEDY, prompt)
    model.interrupt(True)
    with pytest.raises(Interrupted):
        model.step([Work(sequence, prompt, sample=True)])
    model.interrupt(False)
    model.close(sequence)
    assert generate(model, prompt, 6) == expected


def test_an_interrupt_from_another_thread_is_seen_in_the_middle_of_work(model: TokenModel) -> None:
    prompt = prompt_of(model)
    timer = threading.Timer(0.05, model.interrupt, args=(True,))
    timer.start()
    interrupted = False
    while not interrupted:
        sequence = model.open(GREEDY, prompt)
        try:
            model.step([Work(sequence, (prompt * 10)[: model.spec.batch], sample=True)])
        except Interrupted:
            interrupted = True
        model.close(sequence)
    timer.join()
    model.interrupt(False)


def test_the_spec_is_consistent(model: TokenModel) -> None:
    spec = model.spec
    assert spec.context == CONTEXT
    assert spec.sequences > spec.slots == 4
    assert spec.cells >= spec.context
    assert spec.batch >= spec.slots
    assert spec.threads >= 1


def only(*tokens: int) -> bytes:
    """A mask that allows these tokens."""
    mask = bytearray(max(tokens) // 8 + 1)
    for token in tokens:
        mask[token // 8] |= 1 << token % 8
    return bytes(mask)


@pytest.mark.parametrize("hot", [Sampling(temperature=0.0), Sampling(temperature=1.5, typical_p=0.9, seed=1)])
def test_a_masked_step_draws_what_the_mask_allows(model: TokenModel, hot: Sampling) -> None:
    prompt = prompt_of(model)
    allowed = model.tokenizer.encode("Kq", special=False)
    sequence = model.open(hot, prompt)
    (step,) = model.step([Work(sequence, prompt, sample=True, masks=[only(*allowed)])])
    assert set(step.tokens) <= set(allowed)
    (step,) = model.step([Work(sequence, step.tokens, sample=True, masks=[only(allowed[-1])])])
    assert step.tokens == (allowed[-1],)
    model.close(sequence)


def test_of_those_that_a_mask_allows_the_likeliest_is_drawn_and_the_next_step_is_free(model: TokenModel) -> None:
    prompt = prompt_of(model)
    expected = generate(model, prompt, 4)
    sequence = model.open(GREEDY, prompt)
    everything = b"\xff" * (model.tokenizer.size // 8 + 1)
    (step,) = model.step([Work(sequence, prompt, sample=True, masks=[everything])])
    assert [*step.tokens, *continue_with(model, sequence, step.tokens, 3)] == expected
    model.close(sequence)


def test_each_place_behind_a_guess_has_its_own_mask(model: TokenModel) -> None:
    prompt = prompt_of(model)
    expected = generate(model, prompt, 4)
    (other,) = model.tokenizer.encode("Q", special=False)
    sequence = model.open(GREEDY, prompt)
    first = feed(model, sequence, prompt)
    masks = [only(expected[1]), only(expected[2]), only(other)]
    (step,) = model.step([Work(sequence, [first], sample=True, draft=expected[1:3], masks=masks)])
    assert list(step.tokens) == [expected[1], expected[2], other]
    model.close(sequence)


def test_masks_in_one_batch_do_not_mix_and_leave_others_as_they_are(model: TokenModel) -> None:
    prompt = prompt_of(model)
    (usual,) = generate(model, prompt, 1)
    one, two = model.tokenizer.encode("K", special=False)[0], model.tokenizer.encode("q", special=False)[0]
    sequences = [model.open(GREEDY, prompt) for _ in range(3)]
    for sequence in sequences:
        model.step([Work(sequence, prompt[:-1], sample=False)])
    masks = [[only(one)], [], [only(two)]]
    last = prompt[-1:]
    steps = model.step([Work(s, last, sample=True, masks=m) for s, m in zip(sequences, masks, strict=True)])
    assert [step.tokens for step in steps] == [(one,), (usual,), (two,)]
    for sequence in sequences:
        model.close(sequence)


def test_logprobs_are_the_models_own_whatever_the_mask(model: TokenModel, subject: Subject) -> None:
    if subject.engine == "echo":
        pytest.skip("the echo engine is certain of whatever it says")
    prompt = prompt_of(model)
    told = []
    for masks in ([], [only(*model.tokenizer.encode("Kq", special=False))]):
        sequence = model.open(Sampling(temperature=0.0, logprobs=3), prompt)
        (step,) = model.step([Work(sequence, prompt, sample=True, masks=masks)])
        told.append(step.logprobs[0])
        model.close(sequence)
    free, masked = told
    assert [top.token for top in masked.top] == [top.token for top in free.top]
    assert masked.chosen < masked.top[0].logprob


def test_weighed_logprobs_are_those_that_tokens_are_drawn_by(model: TokenModel, subject: Subject) -> None:
    if subject.engine == "echo":
        pytest.skip("the echo engine is certain of whatever it says")
    prompt = prompt_of(model)
    hot = Sampling(temperature=2.0, top_k=3, top_p=1.0, min_p=0.0, seed=1, logprobs=5)
    told = []
    for sampling, masks in (
        (hot, []),
        (replace(hot, weighed=True), []),
        (replace(hot, weighed=True), [only(*model.tokenizer.encode("Kq", special=False))]),
        (replace(hot, temperature=0.0, weighed=True), []),
    ):
        sequence = model.open(sampling, prompt)
        (step,) = model.step([Work(sequence, prompt, sample=True, masks=masks)])
        told.append((step.tokens[0], step.logprobs[0]))
        model.close(sequence)
    (drawn, own), (same, weighed), (masked, few), (likeliest, certain) = told
    assert drawn == same
    raw = [top.logprob / 2.0 for top in own.top[:3]]
    total = math.log(sum(map(math.exp, raw)))
    assert [top.token for top in weighed.top] == [top.token for top in own.top[:3]]
    assert [top.logprob for top in weighed.top] == pytest.approx([value - total for value in raw], abs=1e-4)
    assert {masked} <= {top.token for top in few.top} == set(model.tokenizer.encode("Kq", special=False))
    assert [(top.token, top.logprob) for top in certain.top] == [(likeliest, 0.0)] == [(own.top[0].token, 0.0)]
    assert certain.chosen == 0.0


def test_a_text_that_masks_allow_alone_is_scored_as_the_model_finds_it(model: TokenModel) -> None:
    if not isinstance(model, Trims):
        pytest.skip("this model takes no guesses")
    prompt = prompt_of(model)[:12]
    told = Sampling(temperature=0.0, logprobs=2)
    one_by_one = model.open(told, prompt)
    wanted = []
    for token, following in pairwise(prompt):
        (step,) = model.step([Work(one_by_one, [token], sample=True, masks=[allow_token(following)])])
        wanted.append(step.logprobs[0])
    model.close(one_by_one)
    together = model.open(told, prompt)
    masks = [allow_token(token) for token in prompt[1:]]
    (step,) = model.step([Work(together, prompt[:1], sample=True, draft=prompt[1:-1], masks=masks)])
    model.close(together)
    assert list(step.tokens) == prompt[1:]
    assert [each.chosen for each in step.logprobs] == pytest.approx([each.chosen for each in wanted], abs=0.05)
    assert [each.top[0].token for each in step.logprobs] == [each.top[0].token for each in wanted]
