"""Prompts of a model that goes while they are read."""

from collections.abc import Iterator

import pytest

from core.contract.artifact import Artifact
from core.contract.models import TokenModel
from core.contract.options import LoadOptions
from core.decoding.masks.trials import FormTrials
from core.engines.echo import EchoModel, EchoTokenizer
from core.engines.llamacpp.engine import LlamaCppEngine
from core.errors import ContextExceeded, ModelNotReady
from core.guide import WEIGHTS
from core.lanes import WorkLanes
from core.requests import Generation, Prompt, RawText
from core.serving.prompts import PromptReader
from tests.fakes.support import asks


@pytest.mark.parametrize("prompt", [RawText("What is a KV cache?"), asks("What is a KV cache?").prompt])
async def test_a_prompt_for_a_model_that_was_freed_is_asked_to_come_again(prompt: Prompt) -> None:
    artifact = Artifact("guide", "gguf", WEIGHTS, WEIGHTS.stat().st_size)
    model = LlamaCppEngine().load(artifact, LoadOptions(ctx_size=256, slots=1, threads=1, extra_buffers=False))
    assert isinstance(model, TokenModel)
    reader = PromptReader("guide", model.spec, model.tokenizer, WorkLanes(), FormTrials())
    assert (await reader.read(Generation("guide", prompt))).tokens
    reader.close()
    model.shutdown()
    with pytest.raises(ModelNotReady, match="ask again"):
        await reader.read(Generation("guide", prompt))


class WatchedTokenizer(EchoTokenizer):
    """Notes how much it was given."""

    def __init__(self) -> None:
        self.read: list[int] = []

    def encode(self, text: str, *, special: bool, begin: bool = False) -> list[int]:
        self.read.append(len(text))
        return super().encode(text, special=special, begin=begin)


@pytest.fixture
def watched() -> Iterator[tuple[PromptReader, WatchedTokenizer]]:
    """The reader of a model whose context is 64 tokens."""
    tokenizer, lanes, trials = WatchedTokenizer(), WorkLanes(), FormTrials()
    reader = PromptReader("m", EchoModel(LoadOptions(ctx_size=64)).spec, tokenizer, lanes, trials)
    tokenizer.read.clear()
    yield reader, tokenizer
    reader.close()
    lanes.close()
    trials.close()


async def test_a_prompt_that_is_far_too_long_is_refused_by_its_beginning(
    watched: tuple[PromptReader, WatchedTokenizer],
) -> None:
    reader, tokenizer = watched
    with pytest.raises(ContextExceeded, match="has about 9000 tokens and the context holds 64") as caught:
        await reader.read(asks("", prompt=RawText("a" * 9_000)))
    assert caught.value.prompt_tokens == 9_000
    assert sum(tokenizer.read) < 1_000


async def test_all_tokens_of_a_prompt_that_is_far_too_long_are_counted_where_they_are_asked_for(
    watched: tuple[PromptReader, WatchedTokenizer],
) -> None:
    reader, _ = watched
    with pytest.raises(ContextExceeded, match="has 9001 tokens"):
        await reader.read(asks("", prompt=RawText("a" * 4_500 + "\u00e9" + "a" * 4_499)), exact=True)


async def test_a_long_prompt_of_few_tokens_is_read_to_its_end() -> None:
    class Terse(WatchedTokenizer):
        def encode(self, text: str, *, special: bool, begin: bool = False) -> list[int]:
            return super().encode(text, special=special, begin=begin)[::200]

    lanes, trials = WorkLanes(), FormTrials()
    reader = PromptReader("m", EchoModel(LoadOptions(ctx_size=64)).spec, Terse(), lanes, trials)
    assert len((await reader.read(asks("", prompt=RawText("a" * 9_000)))).tokens) == 45
    reader.close()
    lanes.close()
    trials.close()
