"""What a model does: in one word, in the words of a sentence, and by the path where it is asked to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from core.contract.models import Embedder, Model, StreamModel, Transcriber
from core.errors import ModelUnable
from core.requests import Embedding, Generation, Transcription
from core.snapshots import ModelKind

Request = Generation | Transcription | Embedding
WISHES: Final[Mapping[type[Request], str]] = {
    Generation: "generate text",
    Transcription: "transcribe speech",
    Embedding: "make embeddings",
}


def require_able(model: Model, name: str, request: Request) -> None:
    """Raises ModelUnable where a model cannot do what is asked, with the endpoint of what it can."""
    match request:
        case Transcription():
            able = isinstance(model, Transcriber)
        case Embedding():
            able = isinstance(model, Embedder)
        case _:
            able = isinstance(model, StreamModel) or not isinstance(model, Transcriber | Embedder)
    if not able:
        does, endpoint = ability_of(model)
        raise ModelUnable(
            f"The model {name} {does} and cannot {WISHES[type(request)]}; it is asked at {endpoint}.", "model"
        )


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
