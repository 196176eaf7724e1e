"""Heads that guess ahead: a mixture of experts with one head, one with windows and two heads, and a hybrid.

Their weights are made up so that a token all but tells the next one, which is what the heads see best; weights that
were trained are not to be had in this size.
"""

import ctypes
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llama_cpp import llama_cpp_ext as extension
from msgspec import Struct
from msgspec.structs import replace

from core.contract.artifact import Artifact
from core.contract.models import AheadWish, Marks, PredictsAhead, TakesBack, TokenModel, Trims
from core.contract.options import LoadOptions
from core.contract.step import SequenceId, Work
from core.engines.llamacpp.engine import LlamaCppEngine
from core.engines.llamacpp.model import NoSlot
from core.engines.llamacpp.mtp import PENDING_TOKENS
from core.engines.llamacpp.predicting import PredictingLlamaModel
from core.errors import EngineError, EngineFailed
from core.models.fit.sizing import ROLLBACK_TOKENS
from core.models.formats.read import read_header
from tests.contract.test_token_model import GREEDY, feed, generate
from tests.fakes.architectures import FORESEEING, write_foreseeing, write_random
from tests.fakes.loading import load_decoder

PROMPT = [300 + place * 31 % 1500 for place in range(150)]
OPTIONS = LoadOptions(ctx_size=512, slots=3, batch=64, threads=1, batch_threads=1, extra_buffers=False)


class Both(Struct, frozen=True):
    """One model with its heads, and without."""

    ahead: PredictingLlamaModel
    plain: TokenModel
    artifact: Artifact


@pytest.fixture(scope="module", params=FORESEEING)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    path = write_foreseeing(request.param, tmp_path_factory.mktemp("weights"))
    artifact, engine = Artifact(request.param, "gguf", path, path.stat().st_size), LlamaCppEngine()
    ahead = engine.load(artifact, replace(OPTIONS, mtp=True))
    assert isinstance(ahead, PredictingLlamaModel)
    plain = load_decoder(artifact, OPTIONS)
    yield Both(ahead, plain, artifact)
    ahead.shutdown()
    plain.shutdown()


@pytest.fixture(scope="module", params=FORESEEING)
def erratic(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PredictingLlamaModel]:
    """Random throughout: its heads are never right, and what they guess changes with all that they know."""
    path = write_random(request.param, tmp_path_factory.mktemp("weights"))
    loaded = load_decoder(Artifact(request.param, "gguf", path, path.stat().st_size), replace(OPTIONS, mtp=True))
    assert isinstance(loaded, PredictingLlamaModel)
    yield loaded
    loaded.shutdown()


def read(model: TokenModel, tokens: Sequence[int], *, chunk: int = 64) -> tuple[SequenceId, int]:
    """A sequence with the tokens, and the one drawn behind them."""
    sequence = model.open(GREEDY)
    return sequence, extend(model, sequence, tokens, chunk=chunk)


def extend(model: TokenModel, sequence: SequenceId, tokens: Sequence[int], *, chunk: int = 64) -> int:
    for start in range(0, len(tokens), chunk):
        token = feed(model, sequence, tokens[start : start + chunk])
    return token


def guess(model: PredictingLlamaModel, sequence: SequenceId, due: int, most: int = 3) -> list[int]:
    (guesses,) = model.guess_ahead([AheadWish(sequence, due, most)])
    return guesses


def go_on(model: PredictingLlamaModel, sequence: SequenceId, due: int, count: int) -> tuple[list[int], list[list[int]]]:
    """The next tokens, beginning with the one that is due, and what of the guesses came true: ones and zeros."""
    drawn, outcomes = [due], []
    while len(drawn) < count:
        guesses = guess(model, sequence, drawn[-1])
        (step,) = model.step([Work(sequence, drawn[-1:], sample=True, draft=guesses)])
        outcomes.append([int(index < len(step.tokens) - 1) for index in range(len(guesses))])
        drawn += step.tokens
    return drawn[:count], outcomes


def go_plainly(model: TokenModel, prompt: Sequence[int], count: int) -> list[int]:
    sequence, due = read(model, prompt)
    drawn = [due]
    while len(drawn) < count:
        drawn.append(feed(model, sequence, drawn[-1:]))
    model.close(sequence)
    return drawn


def test_the_tokens_are_those_of_plain_decoding_whatever_comes_true(both: Both) -> None:
    sequence, due = read(both.ahead, PROMPT)
    drawn, outcomes = go_on(both.ahead, sequence, due, 80)
    both.ahead.close(sequence)
    assert drawn == go_plainly(both.plain, PROMPT, 80)
    flat = [each for outcome in outcomes for each in outcome]
    assert 0.2 < sum(flat) / len(flat) < 1


def test_what_the_heads_know_does_not_depend_on_how_the_prompt_was_read(erratic: PredictingLlamaModel) -> None:
    known = []
    for chunk in (64, 50, 7):
        sequence, due = read(erratic, PROMPT, chunk=chunk)
        known.append((due, guess(erratic, sequence, due)))
        erratic.close(sequence)
    assert known[0] == known[1] == known[2]


def test_the_heads_go_on_from_guesses_that_came_true_and_from_wrong_ones(erratic: PredictingLlamaModel) -> None:
    sequence, due = read(erratic, PROMPT)
    drawn, _ = go_on(erratic, sequence, due, 12)
    other, _ = read(erratic, PROMPT)
    at = 0
    for right in (2, 0, 1, 0, 2):
        guess(erratic, other, drawn[at])
        draft = [*drawn[at + 1 : at + 1 + right], 0]
        (step,) = erratic.step([Work(other, [drawn[at]], sample=True, draft=draft)])
        assert list(step.tokens) == drawn[at + 1 : at + 2 + right]
        at += 1 + right
        fresh, again = read(erratic, [*PROMPT, *drawn[:at]])
        assert again == drawn[at]
        assert guess(erratic, fresh, again) == guess(erratic, other, again)
        erratic.close(fresh)
    for each in (sequence, other):
        erratic.close(each)


def test_the_same_guesses_are_made_when_asked_twice(erratic: PredictingLlamaModel) -> None:
    sequence, due = read(erratic, PROMPT)
    assert guess(erratic, sequence, due) == guess(erratic, sequence, due)
    erratic.close(sequence)


def test_several_sequences_are_guessed_for_as_each_alone(erratic: PredictingLlamaModel) -> None:
    prompts = [PROMPT, PROMPT[40:], PROMPT[:70]]
    begun = [read(erratic, prompt) for prompt in prompts]
    together = erratic.guess_ahead([AheadWish(sequence, due, 3 - at) for at, (sequence, due) in enumerate(begun)])
    for (sequence, due), guesses, most in zip(begun, together, (3, 2, 1), strict=True):
        assert guesses == guess(erratic, sequence, due, most)
        erratic.close(sequence)


def test_a_saved_sequence_comes_back_with_what_its_heads_knew(erratic: PredictingLlamaModel) -> None:
    sequence, due = read(erratic, PROMPT)
    expected, _ = go_on(erratic, sequence, due, 20)
    behind = guess(erratic, sequence, expected[-1])
    data = erratic.save(sequence)
    erratic.close(sequence)
    back = erratic.restore(data, GREEDY)
    assert guess(erratic, back, expected[-1]) == behind
    erratic.close(back)


def test_a_state_of_a_model_without_heads_is_refused(both: Both) -> None:
    sequence, _ = read(both.plain, PROMPT[:20])
    data = both.plain.save(sequence)
    both.plain.close(sequence)
    for foreign in (data, data[:5]):
        with pytest.raises(EngineError, match="The saved state is"):
            both.ahead.restore(foreign, GREEDY)


def test_a_state_for_whose_heads_there_is_no_memory_leaves_no_sequence_open(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_out(*_: object) -> None:
        raise MemoryError

    sequence, _ = read(both.ahead, PROMPT[:20])
    data = both.ahead.save(sequence)
    both.ahead.close(sequence)
    monkeypatch.setattr(both.ahead._heads, "restore", run_out)
    for _ in range(both.ahead.spec.sequences + 1):
        with pytest.raises(MemoryError):
            both.ahead.restore(data, GREEDY)


def test_a_fork_guesses_as_the_sequence_it_came_from(erratic: PredictingLlamaModel) -> None:
    sequence, due = read(erratic, PROMPT)
    if isinstance(erratic, Marks):
        erratic.mark(sequence)
    assert isinstance(erratic, Trims | Marks)
    child = erratic.fork(sequence, len(PROMPT), GREEDY)
    assert guess(erratic, child, due) == guess(erratic, sequence, due)
    assert go_on(erratic, child, due, 20) == go_on(erratic, sequence, due, 20)
    for each in (sequence, child):
        erratic.close(each)


def test_nothing_is_guessed_behind_an_end(both: Both) -> None:
    sequence, due = read(both.ahead, PROMPT)
    first = guess(both.ahead, sequence, due)[0]
    ends = both.ahead.tokenizer.ends
    both.ahead.tokenizer.ends = ends | {first}
    try:
        assert guess(both.ahead, sequence, due) == [first]
    finally:
        both.ahead.tokenizer.ends = ends
        both.ahead.close(sequence)


def test_heads_that_fail_are_told_of_and_the_model_goes_on(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    heads = both.ahead._heads
    monkeypatch.setattr(heads, "_problem", "The heads failed.")
    with pytest.raises(EngineFailed, match="The heads failed."):
        both.ahead.guess_ahead([])
    assert generate(both.ahead, PROMPT[:60], 5) == generate(both.plain, PROMPT[:60], 5)
    assert not heads._lines


def test_without_hidden_states_nothing_is_guessed_and_the_model_goes_on(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(both.ahead._heads, "_problem", "")
    monkeypatch.setattr(extension, "llama_get_embeddings_nextn", lambda _: ctypes.POINTER(ctypes.c_float)())
    assert generate(both.ahead, PROMPT[:60], 5) == generate(both.plain, PROMPT[:60], 5)
    with pytest.raises(EngineFailed, match="nothing that the model's own heads could guess from"):
        both.ahead.guess_ahead([])


def test_heads_that_are_not_loaded_are_no_part_of_the_weights(both: Both) -> None:
    header = read_header(both.artifact)
    assert both.plain.spec.weight_bytes == header.weight_bytes - header.mtp_bytes
    assert both.ahead.spec.weight_bytes == header.weight_bytes > both.plain.spec.weight_bytes


def test_without_room_in_their_cache_the_heads_forget_and_go_on(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: object) -> None:
        raise NoSlot("no room")

    heads = both.ahead._heads
    with monkeypatch.context() as patch:
        patch.setattr(heads, "_decode", no_room)
        sequence, due = read(both.ahead, PROMPT)
        assert guess(both.ahead, sequence, due) == []
        assert heads.save(sequence) == b""
    assert heads.working
    drawn, _ = go_on(both.ahead, sequence, due, 40)
    both.ahead.close(sequence)
    assert drawn == go_plainly(both.plain, PROMPT, 40)


def test_a_hybrid_takes_back_a_few_tokens_and_cannot_be_cut(both: Both) -> None:
    hybrid = both.ahead.spec.architecture == "qwen35"
    assert isinstance(both.ahead, TakesBack) == hybrid
    assert isinstance(both.ahead, Trims) != hybrid
    if isinstance(both.ahead, TakesBack):
        assert both.ahead.most_taken_back == ROLLBACK_TOKENS
        sequence, due = read(both.ahead, PROMPT[:20])
        with pytest.raises(EngineFailed, match="could not take back 4 guesses"):
            both.ahead.step([Work(sequence, [due], sample=True, draft=[1, 1, 1, 1])])
        both.ahead.close(sequence)


MOVES = st.lists(st.sampled_from(("plain", "guess", "wrong", "cut", "fork", "save", "read")), min_size=1, max_size=12)


@settings(max_examples=12)
@given(MOVES)
def test_whatever_a_sequence_goes_through_its_tokens_are_the_same(both: Both, moves: list[str]) -> None:
    model = both.ahead
    sequence, due = read(model, PROMPT[:30])
    tokens = [*PROMPT[:30], due]
    for move in moves:
        match move:
            case "plain":
                tokens.append(feed(model, sequence, tokens[-1:]))
            case "guess" | "wrong":
                guesses = guess(model, sequence, tokens[-1]) if move == "guess" else [5, 5]
                (step,) = model.step([Work(sequence, tokens[-1:], sample=True, draft=guesses)])
                tokens += step.tokens
            case "cut" if isinstance(model, Trims):
                model.trim(sequence, 20)
                extend(model, sequence, tokens[20:-1])
            case "fork" if isinstance(model, Trims):
                child = model.fork(sequence, len(tokens) - 2, GREEDY)
                model.close(sequence)
                sequence = child
                feed(model, sequence, tokens[-2:-1])
            case "save":
                data = model.save(sequence)
                model.close(sequence)
                sequence = model.restore(data, GREEDY)
            case "read":
                tokens += PROMPT[: PENDING_TOKENS // 2]
                feed(model, sequence, tokens[-PENDING_TOKENS // 2 - 1 : -1])
    length = model._sequences[sequence].length
    assert length == len(tokens) - 1
    assert guess(model, sequence, tokens[-1])
    assert model._heads.working
    found = feed(model, sequence, tokens[-1:])
    model.close(sequence)
    whole, expected = read(both.plain, tokens)
    both.plain.close(whole)
    assert found == expected


def test_heads_are_left_out_where_guesses_could_not_be_verified(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = write_foreseeing("mimo2", tmp_path_factory.mktemp("weights"))
    artifact = Artifact("mimo2", "gguf", path, path.stat().st_size)
    for options in (replace(OPTIONS, swa_full=False), replace(OPTIONS, reproducible=True)):
        model = load_decoder(artifact, replace(options, mtp=True))
        assert not isinstance(model, PredictsAhead)
        model.shutdown()


def test_bindings_without_the_calls_for_heads_load_the_model_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "llama_cpp.llama_cpp_ext", None)
    path = write_foreseeing("glm4moe", tmp_path)
    artifact = Artifact("glm4moe", "gguf", path, path.stat().st_size)
    model = load_decoder(artifact, replace(OPTIONS, mtp=True))
    assert not isinstance(model, PredictsAhead)
    model.shutdown()
