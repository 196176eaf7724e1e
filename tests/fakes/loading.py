"""Loads models of a known kind."""

from __future__ import annotations

from core.contract.artifact import Artifact
from core.contract.models import TokenModel
from core.contract.options import LoadOptions
from core.engines.llamacpp.engine import LlamaCppEngine


def load_decoder(artifact: Artifact, options: LoadOptions = LoadOptions()) -> TokenModel:
    """A GGUF file that generates text, with llama.cpp."""
    model = LlamaCppEngine().load(artifact, options)
    assert isinstance(model, TokenModel)
    return model
