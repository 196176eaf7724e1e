"""What llama.cpp's chains draw, where they are given the likeliest tokens alone and where they are given all."""

from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from core.contract.artifact import Artifact
from core.contract.models import TokenModel
from core.contract.options import LoadOptions
from core.contract.step import Work
from core.engines.llamacpp.engine import LlamaCppEngine
from core.engines.llamacpp.samplers import count_enough
from core.guide import WEIGHTS
from core.requests import Sampling

NO_BIAS = ((0, 0.0),)
"""Changes nothing, but makes a chain look at all logits."""
TOKENS = 24


@pytest.fixture(scope="module")
def model() -> Iterator[TokenModel]:
    artifact = Artifact("guide", "gguf", WEIGHTS, WEIGHTS.stat().st_size)
    loaded = LlamaCppEngine().load(artifact, LoadOptions(ctx_size=256, slots=4, threads=1, extra_buffers=False))
    assert isinstance(loaded, TokenModel)
    yield loaded
    loaded.shutdown()


def written(model: TokenModel, sampling: Sampling) -> list[int]:
    sequence = model.open(sampling)
    tokens = model.tokenizer.encode("What is a KV cache?", special=True, begin=True)
    drawn: list[int] = []
    due = tokens
    for _ in range(TOKENS):
        (step,) = model.step([Work(sequence, due, sample=True)])
        drawn += step.tokens
        due = list(step.tokens)
    model.close(sequence)
    return drawn


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=0.0),
        *(Sampling(temperature=2.0, seed=seed) for seed in range(6)),
        Sampling(temperature=3.0, top_k=3, top_p=1.0, min_p=0.0, seed=1),
        Sampling(temperature=1.5, top_k=100, typical_p=0.7, seed=2),
    ],
    ids=lambda sampling: f"{sampling.temperature}-{sampling.top_k}-{sampling.seed}",
)
def test_what_is_drawn_from_the_likeliest_is_what_all_tokens_give(model: TokenModel, sampling: Sampling) -> None:
    whole = replace(sampling, logit_bias=NO_BIAS)
    assert count_enough(sampling) is not None
    assert count_enough(whole) is None
    assert written(model, sampling) == written(model, whole)


@pytest.mark.parametrize(
    "fields", [{"top_k": 0}, {"repeat_penalty": 1.1}, {"presence_penalty": 0.5}, {"logit_bias": NO_BIAS}], ids=str
)
def test_all_tokens_count_where_what_is_far_down_may_come_up(fields: dict[str, object]) -> None:
    assert count_enough(replace(Sampling(), **fields)) is None


def test_a_step_of_readers_and_writers_draws_for_each_what_it_draws_alone(model: TokenModel) -> None:
    """All likeliest tokens are found at once; so are they beside others, one by one."""
    questions = ["What is a KV cache?", "What is a token?", "Hello.", "What is a GGUF file?"]
    prompts = [model.tokenizer.encode(question, special=True, begin=True) for question in questions]
    greedy, open_to_all = Sampling(temperature=0.0), Sampling(temperature=0.0, logit_bias=NO_BIAS)

    def drawn(samplings: list[Sampling]) -> list[tuple[int, ...]]:
        sequences = [model.open(sampling) for sampling in samplings]
        reads = [index % 2 == 0 for index in range(len(prompts))]
        work = [
            Work(sequence, prompt[:-1] if reading else prompt, sample=not reading)
            for sequence, prompt, reading in zip(sequences, prompts, reads, strict=True)
        ]
        first = model.step(work)
        due = [
            prompt[-1:] if reading else step.tokens for prompt, reading, step in zip(prompts, reads, first, strict=True)
        ]
        second = model.step(
            [Work(sequence, tokens, sample=True) for sequence, tokens in zip(sequences, due, strict=True)]
        )
        for sequence in sequences:
            model.close(sequence)
        return [(*one.tokens, *other.tokens) for one, other in zip(first, second, strict=True)]

    together = drawn([greedy] * 4)
    assert [len(tokens) for tokens in together] == [1, 2, 1, 2]
    assert together == drawn([open_to_all] * 4) == drawn([greedy, open_to_all] * 2)


def test_where_beginnings_are_joined_a_token_counts_with_those_that_begin_with_it(model: TokenModel) -> None:
    pieces = {model.tokenizer.piece(token): token for token in range(model.tokenizer.size)}
    short, long = next(
        (pieces[text[:-1]], token) for text, token in pieces.items() if len(text) > 1 and text[:-1] in pieces
    )
    mask = bytearray(model.tokenizer.size // 8 + 1)
    for token in (short, long):
        mask[token // 8] |= 1 << token % 8
    plain = Sampling(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, logprobs=5, weighed=True)
    tokens = model.tokenizer.encode("What is a KV cache?", special=True, begin=True)
    told = []
    for sampling in (plain, replace(plain, joins_beginnings=True)):
        sequence = model.open(sampling)
        (step,) = model.step([Work(sequence, tokens, sample=True, masks=[bytes(mask)])])
        told.append((step.tokens, step.logprobs[0]))
        model.close(sequence)
    (_, apart), (drawn, joined) = told
    assert {top.token for top in apart.top} == {short, long}
    # The likelier of the two stands for both.
    assert drawn == (apart.top[0].token,)
    assert [(top.token, top.logprob) for top in joined.top] == [(drawn[0], 0.0)]
