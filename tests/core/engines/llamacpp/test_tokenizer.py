"""The vocabulary of a model that is freed while others read it."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from core.contract.artifact import Artifact
from core.contract.options import LoadOptions
from core.errors import EngineError
from core.guide import WEIGHTS
from tests.fakes.loading import load_decoder

TEXT = "What is a KV cache, and which engines keep what is in it? " * 4000


def test_texts_that_are_read_while_the_model_is_freed_are_read_to_the_end_and_later_ones_refused() -> None:
    artifact = Artifact("guide", "gguf", WEIGHTS, WEIGHTS.stat().st_size)
    model = load_decoder(artifact, LoadOptions(ctx_size=256, slots=1, threads=1, extra_buffers=False))
    tokenizer = model.tokenizer
    whole = tokenizer.encode(TEXT, special=True)
    with ThreadPoolExecutor(3) as pool:
        reading = [pool.submit(tokenizer.encode, TEXT, special=True) for _ in range(3)]
        model.shutdown()
        ended = [each.exception() for each in reading]
    assert all(error is None or isinstance(error, EngineError) for error in ended)
    assert all(each.result() == whole for each, error in zip(reading, ended, strict=True) if error is None)
    for read in (lambda: tokenizer.encode("a", special=True), lambda: tokenizer.piece(whole[0])):
        with pytest.raises(EngineError, match="freed"):
            read()
    model.shutdown()


def test_a_vocabulary_without_a_token_for_beginnings_has_no_ordinary_one_in_its_place() -> None:
    artifact = Artifact("guide", "gguf", WEIGHTS, WEIGHTS.stat().st_size)
    model = load_decoder(artifact, LoadOptions(ctx_size=256, slots=1, threads=1, extra_buffers=False))
    try:
        assert (model.spec.bos, model.spec.eos) == ("", "<|im_end|>")
    finally:
        model.shutdown()
