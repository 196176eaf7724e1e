"""Prompts of a model that goes while they are read."""

import pytest

from core.contract.artifact import Artifact
from core.contract.models import TokenModel
from core.contract.options import LoadOptions
from core.decoding.masks.trials import FormTrials
from core.engines.llamacpp.engine import LlamaCppEngine
from core.errors import ModelNotReady
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
