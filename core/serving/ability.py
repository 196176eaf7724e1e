"""What a model does: in one word, in the words of a sentence, and by the path where it is asked to."""

from __future__ import annotations

from core.engines.base import Embedder, Model, Transcriber
from core.feed import ModelKind


def kind_of(model: Model) -> ModelKind:
    if isinstance(model, Transcriber):
        return ModelKind.TRANSCRIPTION
    return ModelKind.EMBEDDING if isinstance(model, Embedder) else ModelKind.CHAT


def ability_of(model: Model) -> tuple[str, str]:
    """What a model does, in the words of a sentence, and where it is asked to."""
    match kind_of(model):
        case ModelKind.TRANSCRIPTION:
            return "transcribes speech", "/v1/audio/transcriptions"
        case ModelKind.EMBEDDING:
            return "makes embeddings", "/v1/embeddings"
        case ModelKind.CHAT:
            return "generates text", "/v1/chat/completions"
