"""The kinds of models and of requests: which model answers which request, and the words that tell it.

A new kind of model or request makes the type checker point at each `match` here, in `core.serving.ready` and `host`, in
the loops and in the trial runs.
"""

from __future__ import annotations

from typing import assert_never

from msgspec import Struct

from core.contract.models import Embedder, Model, Reranker, StreamModel, TokenModel, Transcriber
from core.errors import ModelUnable
from core.requests import Embedding, Generation, Reranking, Transcription
from core.snapshots import ModelKind

Request = Generation | Transcription | Embedding | Reranking


class Ability(Struct, frozen=True):
    """What models of a kind do."""

    does: str
    """To go on with a model's name."""
    wish: str
    """The same as something that is asked for, to go on "cannot"."""
    endpoint: str
    """The path where it is asked for."""


def find_kind(model: Model) -> ModelKind:
    """Takes some tens of microseconds, which checks of protocols cost: not for each request."""
    match model:
        case Transcriber():
            return ModelKind.TRANSCRIPTION
        case Embedder():
            return ModelKind.EMBEDDING
        case Reranker():
            return ModelKind.RERANKING
        case StreamModel() | TokenModel():
            return ModelKind.CHAT
        case _:
            assert_never(model)


def find_asked_kind(request: Request) -> ModelKind:
    """The kind of model that a request is for."""
    match request:
        case Transcription():
            return ModelKind.TRANSCRIPTION
        case Embedding():
            return ModelKind.EMBEDDING
        case Reranking():
            return ModelKind.RERANKING
        case Generation():
            return ModelKind.CHAT
        case _:
            assert_never(request)


def find_ability(kind: ModelKind) -> Ability:
    match kind:
        case ModelKind.TRANSCRIPTION:
            return Ability("transcribes speech", "transcribe speech", "/v1/audio/transcriptions")
        case ModelKind.EMBEDDING:
            return Ability("makes embeddings", "make embeddings", "/v1/embeddings")
        case ModelKind.RERANKING:
            return Ability("ranks documents", "rank documents", "/v1/rerank")
        case ModelKind.CHAT:
            return Ability("generates text", "generate text", "/v1/chat/completions")
        case _:
            assert_never(kind)


def require_able(kind: ModelKind, name: str, request: Request) -> None:
    """Raises ModelUnable where a model of a kind cannot do what is asked, with the endpoint of what it can."""
    asked = find_asked_kind(request)
    if kind is not asked:
        able = find_ability(kind)
        raise ModelUnable(
            f"The model {name} {able.does} and cannot {find_ability(asked).wish}; it is asked at {able.endpoint}.",
            "model",
        )
