"""What a model answers, and what it says where it is asked for something else."""

import pytest

from core.engines.echo import EchoModel
from core.errors import ModelUnable
from core.requests import Embedding, RawText, Reranking, Transcription
from core.serving.ability import Request, find_ability, find_asked_kind, find_kind, require_able
from core.snapshots import ModelKind
from tests.fakes.support import asks


def test_a_model_is_asked_only_for_what_its_kind_does() -> None:
    model = EchoModel()
    assert find_kind(model) is find_asked_kind(asks("x")) is ModelKind.CHAT
    require_able(model, "echo", asks("x"))


@pytest.mark.parametrize(
    ("request_", "wish"),
    [
        (Embedding("echo", (RawText("x"),)), "make embeddings"),
        (Reranking("echo", "x", ("y",)), "rank documents"),
        (Transcription("echo", b""), "transcribe speech"),
    ],
)
def test_a_refusal_says_what_the_model_does_and_where(request_: Request, wish: str) -> None:
    with pytest.raises(ModelUnable, match=f"echo generates text and cannot {wish}; .* /v1/chat/completions"):
        require_able(EchoModel(), "echo", request_)


def test_every_kind_has_an_endpoint_of_its_own() -> None:
    assert len({find_ability(kind).endpoint for kind in ModelKind}) == len(ModelKind)
