"""What clients are told of the files of the server: their names, and not where they lie."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from api.app import create_app
from api.http.errors import translate_error
from api.http.redact import drop_folders
from api.native.downloads import build_row
from api.openai.models import build_cards
from core.contract.artifact import Artifact
from core.contract.options import LoadOptions, LoadProgress, Lora, ignore_progress
from core.contract.step import Step, Work
from core.engines.echo import EchoEngine, EchoModel
from core.engines.registry import Engines
from core.errors import EngineFailed, LoadFailed, RequestError
from core.models.downloads.status import DownloadItem, DownloadState
from core.settings.model import ModelSettings
from core.settings.profile import Profile
from core.settings.schema import BenchSettings, ServerSettings, Settings
from core.snapshots import DraftStats, MachineSnapshot, ModelSnapshot, ModelState, Snapshot
from core.workbench import Workbench
from tests.api.conftest import chat_body, folders_in, serving, until
from tests.fakes.weights import truncated

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
        ("no /v1/Customer/a.gguf or /api/Customer/a.gguf", "no a.gguf or a.gguf"),
        ("no /v1/models/Customer/a.gguf", "no a.gguf"),
        ("-/srv/m/a.gguf a]/srv/m/b.gguf", "-a.gguf a]b.gguf"),
        ("50%/srv/m/a.gguf @/srv/m/b.gguf", "50%a.gguf @b.gguf"),
        ("http://[::1]:80/v1/x:/srv/m/a.gguf", "http://[::1]:80/v1/x:a.gguf"),
        (r"\\?\C:\Users\jo\a.gguf", "a.gguf"),
    ],
)
async def test_of_an_absolute_path_the_name_is_told(sentence: str, told: str) -> None:
    assert drop_folders(sentence) == told


@pytest.mark.parametrize(
    "sentence",
    [
        "owner/name:Q4_K_M is not here, and/or a/b/c.",
        "It is asked at /v1/chat/completions; /schema/openapi.json lists what there is, /health too.",
        "The server at http://127.0.0.1:8080/v1/models and https://[::1]/a/b/c gave no list.",
        "The field `messages[0]/content` is wrong: 1/2/3.",
        "no config.json in onnx/model.onnx, ./a/b or ../a/b",
        "What '#/definitions/a/b' and '#/$defs/Foo/bar' refer to is not there.",
        r"The pattern \d{3}\w+\s or '\\d\\w\\s' or ^/a/b/c$ cannot be used.",
        r"The text 'a\n\tb\c' has escapes.",
        "GET http://user@host:1/v2/x/../y-/z@1/a%20b gave nothing.",
    ],
)
async def test_what_is_no_path_of_this_machine_stays(sentence: str) -> None:
    assert drop_folders(sentence) == sentence


async def test_a_file_that_is_known_is_cut_exactly_blanks_and_all() -> None:
    path = Path("/srv/My Models/of mine/a b.gguf")
    assert drop_folders(f"The file {path} is damaged.", (path,)) == "The file a b.gguf is damaged."


async def test_the_paths_of_this_server_stay(tmp_path: Path) -> None:
    settings = Settings()
    app = create_app(Workbench(settings, folders_in(tmp_path)), settings)
    plain = {route.path for route in app.routes if "{" not in route.path}
    deep = {path for path in plain if path.startswith("/v1/")}
    assert deep
    for path in {*deep, "/schema/openapi.json"}:
        sentence = f"It is asked at {path}, not at `{path}`; see {path}."
        assert drop_folders(sentence) == sentence


@pytest.mark.parametrize("path", ["~nobody-of-this-name/x/a.gguf", "/srv/m\0/a.gguf"])
async def test_a_path_that_leads_nowhere_is_no_hindrance(path: str) -> None:
    assert drop_folders(f"There is no {path}, nor /srv/m/b.gguf.", (Path(path),)) == "There is no a.gguf, nor b.gguf."


@pytest.mark.skipif(sys.platform == "win32", reason="a home that is none of POSIX")
async def test_who_has_no_home_is_told_of_errors_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "BENCHTOP_HOME", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, "~")
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(RuntimeError):
        Path.home()
    error = translate_error(EngineFailed("There is nothing in /srv/m/a.gguf."))
    assert error.error.message == "There is nothing in a.gguf."


@pytest.mark.parametrize("name", ["guide:/etc/of mine/passwd", "C:\\Users\\jo\\a.gguf", "/srv/m/a.gguf"])
async def test_the_name_that_a_client_made_up_is_told_as_it_is(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path) as served:
        for path in ("load", "unload", "pin"):
            answer = await served.http.post(f"/v1/models/{path}", json={"model": name})
            assert answer.status_code == 404
            assert repr(name) in answer.json()["error"]["message"]
    assert "folders were not told" not in caplog.text


async def test_what_clients_send_does_not_fill_the_log_with_warnings(caplog: pytest.LogCaptureFixture) -> None:
    refused = translate_error(RequestError("The field `stop` cannot be '/srv/m/a'."))
    assert refused.error.message == "The field `stop` cannot be 'a'."
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("draft", ["/srv/Customer ACME/models/small.gguf", "small"])
async def test_a_draft_model_of_all_models_is_told_without_its_folder(tmp_path: Path, draft: str) -> None:
    settings = Settings(
        server=ServerSettings(port=0),
        model=ModelSettings(draft=draft),
        models={"small": Profile(source="/srv/Customer ACME/models/small.gguf")},
        bench=BenchSettings(enabled=False),
    )
    async with serving(tmp_path, settings, model=None) as served:
        message = (await served.http.post("/v1/models/load", json={"model": "guide"})).json()["error"]["message"]
    assert "small.gguf" in message
    assert "ACME" not in message
    assert "srv" not in message


async def test_a_model_tells_what_is_wrong_with_its_draft_without_folders() -> None:
    stats = DraftStats("small", problem="Of /srv/My Models/small.gguf and /srv/m/x.so nothing is left.")
    model = ModelSnapshot("large", "llamacpp", ModelState.READY, draft=stats)
    snapshot = Snapshot(0.0, 0.0, (model,), MachineSnapshot(0.0, 0, 0, 0))
    (card,) = build_cards(snapshot, (Path("/srv/My Models/small.gguf"),))
    assert card.draft is not None
    assert card.draft.problem == "Of small.gguf and x.so nothing is left."


async def test_a_download_tells_no_folder() -> None:
    item = DownloadItem("a", "o/n:Q4", DownloadState.FAILED, 1, 0, note="at /srv/a/b", error="o/n: /srv/hub/x is full.")
    row = build_row(item)
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
        await served.workbench.models.serve(("damaged", "adapted"))
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

    def load(self, artifact: Artifact, options: LoadOptions, progress: LoadProgress = ignore_progress) -> EchoModel:
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
            return bool((await served.http.get("/health")).json()["status"] == "failed")

        await until(over)
        detail = (await served.http.get("/health")).json()["detail"]
        assert "a.gguf" in detail
        assert "/srv" not in detail
        (model,) = served.workbench.snapshot().models
        assert "/srv" in model.detail
