"""What a model answers, and what it says where it is asked for something else."""

from pathlib import Path

import pytest

from core.contract.models import Model
from core.engines.echo import EchoModel
from core.errors import ModelUnable
from core.requests import Embedding, Generation, RawText, Reranking, Transcription
from core.serving.ability import Request, find_ability, find_asked_kind, find_kind, require_able
from core.settings.schema import Settings
from core.snapshots import ModelKind
from core.workbench import Workbench
from tests.fakes.support import asks, folders_in


def test_a_model_is_asked_only_for_what_its_kind_does() -> None:
    model = EchoModel()
    assert find_kind(model) is find_asked_kind(asks("x")) is ModelKind.CHAT
    require_able(find_kind(model), "echo", asks("x"))


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
        require_able(find_kind(EchoModel()), "echo", request_)


def test_every_kind_has_an_endpoint_of_its_own() -> None:
    assert len({find_ability(kind).endpoint for kind in ModelKind}) == len(ModelKind)


async def test_what_a_model_does_is_not_found_out_for_each_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[Model] = []

    def find(model: Model) -> ModelKind:
        looked.append(model)
        return find_kind(model)

    monkeypatch.setattr("core.serving.ready.find_kind", find)
    workbench = Workbench(Settings(), folders_in(tmp_path))
    await workbench.models.load("echo")
    for _ in range(3):
        await (await workbench.requests.submit(Generation("echo", RawText("hello")))).reply()
    await workbench.close()
    assert len(looked) == 1
