"""What clients are told of the files of the server: their names, and not where they lie."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from api.native.downloads import row_of
from api.places import without_folders
from core.config import BenchSettings, ServerSettings, Settings
from core.engines import Engines
from core.engines.base import Artifact, LoadOptions, LoadProgress, Lora, Step, Work, no_progress
from core.engines.echo import EchoEngine, EchoModel
from core.errors import EngineFailed, LoadFailed
from core.models.downloads.items import DownloadItem, DownloadState
from core.serving.profile import Profile
from tests.api.conftest import chat_body, serving, until
from tests.weights import truncated

pytestmark = pytest.mark.asyncio(loop_scope="session")

HOME = Path.home()


@pytest.mark.parametrize(
    ("sentence", "told"),
    [
        ("The file /srv/models/a.gguf cannot be read.", "The file a.gguf cannot be read."),
        ("Neither /srv/a/b.bin nor '/srv/c/d.bin'.", "Neither b.bin nor 'd.bin'."),
        ("is missing in /srv/models.", "is missing in models."),
        (f"{HOME}/Some Place/a.gguf is damaged.", "Some Place/a.gguf is damaged."),
        (f"There is nothing in {HOME}.", "There is nothing in a folder."),
        ("~/models/a.gguf and ~jo/models/b.gguf", "a.gguf and b.gguf"),
        (r"C:\Users\jo\a.gguf and 'C:\\Users\\jo\\b.gguf'", "a.gguf and 'b.gguf'"),
        (r"on \\server\share\a.gguf", "on a.gguf"),
        ("From /srv/m/model.onnx failed:/build/ort/x.cc said so", "From model.onnx failed:x.cc said so"),
        ("see file:///srv/m/model.onnx", "see model.onnx"),
        ("path=/srv/m/model.onnx", "path=model.onnx"),
    ],
)
async def test_of_an_absolute_path_the_name_is_told(sentence: str, told: str) -> None:
    assert without_folders(sentence) == told


@pytest.mark.parametrize(
    "sentence",
    [
        "owner/name:Q4_K_M is not here, and/or a/b/c.",
        "It is asked at /v1/chat/completions; /schema/openapi.json lists what there is, /health too.",
        "The server at http://127.0.0.1:8080/v1/models and https://[::1]/a/b/c gave no list.",
        "The field `messages[0]/content` is wrong: 1/2/3.",
        "no config.json in onnx/model.onnx, ./a/b or ../a/b",
    ],
)
async def test_what_is_no_path_of_this_machine_stays(sentence: str) -> None:
    assert without_folders(sentence) == sentence


async def test_a_file_that_is_known_is_cut_exactly_blanks_and_all() -> None:
    place = Path("/srv/My Models/of mine/a b.gguf")
    assert without_folders(f"The file {place} is damaged.", (place,)) == "The file a b.gguf is damaged."


async def test_a_download_tells_no_folder() -> None:
    item = DownloadItem("a", "o/n:Q4", DownloadState.FAILED, 1, 0, note="at /srv/a/b", error="o/n: /srv/hub/x is full.")
    row = row_of(item)
    assert (row.note, row.error) == ("at b", "o/n: x is full.")


def path_of(body: dict[str, object]) -> str:
    return "/v1/chat/completions" if "messages" in body else "/v1/models/load"


async def test_a_damaged_model_is_told_without_its_folder_by_every_endpoint(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "a folder" / "of models"
    folder.mkdir(parents=True)
    damaged = truncated(folder)
    garbage = folder / "garbage.gguf"
    garbage.write_bytes(b"nothing of the kind")
    lora = folder / "no such adapter.gguf"
    models = {
        "damaged": Profile(source=str(damaged), engine="llamacpp"),
        "garbage": Profile(source=str(garbage)),
        "adapted": Profile(source="guide", engine="llamacpp", loras=(Lora(str(lora)),), ctx_size=512, slots=1),
    }
    settings = Settings(server=ServerSettings(port=0), models=models, bench=BenchSettings(enabled=False))
    async with serving(tmp_path / "served", settings, model=None) as served:
        await served.workbench.serve(("damaged", "adapted"))
        for name, file in (("damaged", damaged.name), ("garbage", garbage.name), ("adapted", lora.name)):
            bodies: list[dict[str, object]] = [
                {"model": name},
                chat_body(model=name),
                chat_body(model=name, stream=True),
            ]
            for body in bodies:
                caplog.clear()
                answer = await served.http.post(path_of(body), json=body)
                assert answer.status_code == 500
                message = answer.json()["error"]["message"]
                assert file in message
                assert "of models" not in message
                assert str(tmp_path) not in message
                assert str(folder) in str([vars(record) for record in caplog.records])


class Failing(EchoEngine):
    """Fails in its first step, and to load again."""

    def __init__(self) -> None:
        super().__init__()
        self._loaded = False

    def load(self, artifact: Artifact, options: LoadOptions, progress: LoadProgress = no_progress) -> EchoModel:
        if self._loaded:
            raise LoadFailed(artifact.name, "The file /srv/of models/a.gguf, once /srv/models/a.gguf, is gone.")
        self._loaded = True
        return FailingModel(options)


class FailingModel(EchoModel):
    def step(self, work: Sequence[Work]) -> Sequence[Step]:
        raise EngineFailed("There is nothing in /srv/models/a.gguf.")


async def test_health_needs_no_key_and_tells_no_folder(tmp_path: Path) -> None:
    async with serving(tmp_path, engines=Engines({"echo": f"{__name__}:Failing"})) as served:
        message = (await served.chat()).json()["error"]["message"]
        assert "a.gguf" in message
        assert "/srv" not in message

        async def over() -> bool:
            return bool((await served.http.get("/health")).json()["status"] == "degraded")

        await until(over)
        detail = (await served.http.get("/health")).json()["detail"]
        assert "a.gguf" in detail
        assert "/srv" not in detail
        (model,) = served.workbench.snapshot().models
        assert "/srv" in model.detail
