"""Masks over whole vocabularies, against a look at every token's bytes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import llama_cpp as native
import pytest

from core.contract.models import Tokenizer
from core.decoding.masks.compiler import MaskCompiler
from core.decoding.masks.trials import FormTrials
from core.engines.echo import EchoTokenizer
from core.engines.hf_tokenizer import JsonTokenizer
from core.engines.llamacpp.tokenizer import LlamaTokenizer
from core.errors import RequestError
from core.guide import WEIGHTS
from core.requests import Constraint, JsonObject, LarkGrammar, TextChoice
from tests.fakes.real_weights import GEMMA, MINILM, QWEN, SMOLLM2, real_weights

TEXTS = ("hello", "help me", "né 日本", "{}\n")


@contextmanager
def vocabulary(path: Path) -> Iterator[LlamaTokenizer]:
    """That of a GGUF file, without its weights."""
    parameters = native.llama_model_default_params()
    parameters.vocab_only = True
    model = native.llama_model_load_from_file(str(path).encode(), parameters)
    assert model
    yield LlamaTokenizer(model)
    native.llama_model_free(model)


@pytest.fixture(params=["echo", "guide", "json", SMOLLM2, QWEN, GEMMA, MINILM])
def tokenizer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tokenizer]:
    match request.param:
        case "echo":
            yield EchoTokenizer()
        case "json":
            yield JsonTokenizer("letters", written(tmp_path / "tokenizer.json"))
        case name if name == MINILM:
            yield JsonTokenizer(name, real_weights(name) / "tokenizer.json")
        case name:
            with vocabulary(WEIGHTS if name == "guide" else real_weights(name)) as found:
                yield found


def written(path: Path) -> Path:
    """A byte-level vocabulary with merges, control tokens and a hole in its numbers."""
    from tokenizers import AddedToken, decoders, models, pre_tokenizers
    from tokenizers import Tokenizer as Native

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = {letter: number for number, letter in enumerate(letters)} | {"he": 300, "ll": 301, "hell": 302}
    made = Native(models.BPE(vocab=pieces, merges=[("h", "e"), ("l", "l"), ("he", "ll")]))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    made.add_special_tokens([AddedToken("<|im_start|>", special=True), AddedToken("<|im_end|>", special=True)])
    made.save(str(path))
    return path


def allowed(mask: bytes, size: int) -> set[int]:
    return {token for token in range(size) if mask[token // 8] >> token % 8 & 1}


def ends(tokenizer: Tokenizer) -> set[int]:
    return {token for token in range(tokenizer.size) if tokenizer.is_end(token)}


def test_a_mask_allows_every_token_that_goes_on_and_no_other(tokenizer: Tokenizer, trials: FormTrials) -> None:
    pieces = {token: tokenizer.piece(token) for token in range(tokenizer.size) if not tokenizer.is_end(token)}
    mask = MaskCompiler(tokenizer, trials).compile(Constraint(TextChoice(TEXTS)))
    text = b""
    while not mask.complete:
        left = [whole.encode()[len(text) :] for whole in TEXTS if whole.encode().startswith(text)]
        expected = {
            token for token, piece in pieces.items() if piece and any(each.startswith(piece) for each in left)
        } | (ends(tokenizer) if b"" in left else set())
        assert allowed(mask.follow(())[1][0], tokenizer.size) == expected
        if not expected - ends(tokenizer):
            break
        token = min(expected - ends(tokenizer), key=lambda token: (len(pieces[token]), token))
        mask.take(token)
        text += pieces[token]


def test_no_control_token_is_text_and_the_end_comes_where_the_text_is_whole(
    tokenizer: Tokenizer, trials: FormTrials
) -> None:
    mask = MaskCompiler(tokenizer, trials).compile(Constraint(LarkGrammar("start: /(?s:.*)/")))
    silent = {token for token in range(tokenizer.size) if not tokenizer.piece(token)}
    first = allowed(mask.follow(())[1][0], tokenizer.size)
    assert not first & (silent - ends(tokenizer))
    assert ends(tokenizer) <= first
    strict = MaskCompiler(tokenizer, trials).compile(Constraint(JsonObject()))
    assert not allowed(strict.follow(())[1][0], tokenizer.size) & (silent | ends(tokenizer))


def test_patterns_that_are_too_much_for_a_large_vocabulary_are_refused_with_the_field(trials: FormTrials) -> None:
    form = LarkGrammar("start: X\nX: /.*a.{20}/ & /.*b.{21}/ & /.*c.{22}/\n")
    with vocabulary(real_weights(QWEN)) as tokenizer, pytest.raises(RequestError, match="too complex") as error:
        MaskCompiler(tokenizer, trials).compile(Constraint(form, "grammar"))
    assert error.value.field == "grammar"
