"""Transcriptions by way of a real server, a real SDK and whisper.cpp, on a model that hears what its script says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from api.openai.audio import MAX_FORM, MOST_FILE_BYTES
from core.settings.schema import QueueSettings
from tests.api.conftest import Served, chat_body, serving, settings_of, until
from tests.fakes.speech import FORMATS, encoded, tone, write_whisper

pytestmark = pytest.mark.asyncio(loop_scope="session")

WAV = encoded(tone())
LONG = encoded(tone(seconds=300.0, rate=8000), rate=8000)
"""Ten windows of 30 s: it takes a while."""
SAID = "hello world ü world"


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_whisper(tmp_path_factory.mktemp("whisper") / "tiny.bin")


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def whisper(model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    async with serving(tmp_path_factory.mktemp("served"), model=str(model_path)) as served:
        await served.workbench.models.load("echo")
        yield served


async def transcribe(served: Served, audio: bytes = WAV, name: str = "a.wav", **fields: object) -> Any:
    create: Any = served.client.audio.transcriptions.create
    return await create(**({"model": "tiny", "file": (name, audio)} | fields))


async def form(served: Served, path: str = "transcriptions", file: bytes = WAV, **fields: str) -> httpx.Response:
    data = {"model": "tiny"} | fields
    return await served.http.post(f"/v1/audio/{path}", data=data, files={"file": ("a.wav", file)})


def error_of(response: httpx.Response) -> dict[str, str]:
    error: dict[str, str] = response.json()["error"]
    return error


@pytest.mark.parametrize("suffix", FORMATS)
async def test_a_file_of_any_format_is_heard(whisper: Served, suffix: str) -> None:
    rate = 48_000 if suffix == "ogg" else 44_100
    answer = await transcribe(whisper, encoded(tone(rate=rate), suffix, rate), f"a.{suffix}")
    assert answer.text == SAID


async def test_plain_json_tells_the_text_and_the_seconds(whisper: Served) -> None:
    answer = (await form(whisper)).json()
    assert answer == {"text": SAID, "usage": {"type": "duration", "seconds": 1.0}}


async def test_verbose_json_tells_segments_with_their_times(whisper: Served) -> None:
    answer = await transcribe(whisper, response_format="verbose_json")
    assert (answer.task, answer.language, answer.duration, answer.text) == ("transcribe", "german", 1.0, SAID)
    assert [(segment.id, segment.start, segment.end, segment.text) for segment in answer.segments] == [
        (0, 0.0, 0.5, " hello world"),
        (1, 0.5, 1.0, " ü world"),
    ]
    assert all(segment.avg_logprob <= 0 and segment.compression_ratio > 0 for segment in answer.segments)
    assert answer.words is None


async def test_words_come_instead_of_segments_or_beside_them(whisper: Served) -> None:
    verbose: dict[str, Any] = {"response_format": "verbose_json"}
    alone = await transcribe(whisper, timestamp_granularities=["word"], **verbose)
    both = await transcribe(whisper, timestamp_granularities=["word", "segment"], **verbose)
    assert alone.segments is None
    assert [word.word for word in alone.words] == SAID.split()
    times = [time for word in alone.words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert times[-1] <= 1.0
    assert len(both.segments) == 2
    assert both.words == alone.words


async def test_text_formats_are_plain_text(whisper: Served) -> None:
    wanted = {
        "text": SAID + "\n",
        "srt": "1\n00:00:00,000 --> 00:00:00,500\nhello world\n\n2\n00:00:00,500 --> 00:00:01,000\nü world\n\n",
        "vtt": "WEBVTT\n\n00:00:00.000 --> 00:00:00.500\nhello world\n\n00:00:00.500 --> 00:00:01.000\nü world\n\n",
    }
    for kind, text in wanted.items():
        response = await form(whisper, response_format=kind)
        assert response.headers["content-type"].startswith("text/plain")
        assert response.text == text
        assert await transcribe(whisper, response_format=kind) == text


async def test_a_translation_is_english_whatever_is_spoken(whisper: Served) -> None:
    create: Any = whisper.client.audio.translations.create
    answer = await create(model="tiny", file=("a.wav", WAV), response_format="verbose_json")
    assert (answer.language, answer.text) == ("english", SAID)
    assert (await form(whisper, "translations", response_format="verbose_json")).json()["task"] == "translate"


async def test_language_prompt_and_temperature_are_taken(whisper: Served) -> None:
    answer = await transcribe(whisper, language="fr", temperature=0.5, response_format="verbose_json")
    assert (answer.language, answer.segments[0].temperature) == ("french", 0.5)
    assert (await transcribe(whisper, language="French", response_format="verbose_json")).language == "french"
    assert isinstance((await transcribe(whisper, prompt="w17 w18")).text, str)


async def test_a_stream_tells_each_segment_and_then_the_whole(whisper: Served) -> None:
    events = [event async for event in await transcribe(whisper, stream=True)]
    assert [event.type for event in events] == ["transcript.text.delta"] * 2 + ["transcript.text.done"]
    assert "".join(event.delta for event in events[:-1]).strip() == events[-1].text == SAID


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"language": "klingon"}, "language"),
        ({"temperature": "2"}, "temperature"),
        ({"temperature": "nan"}, "temperature"),
        ({"temperature": "warm"}, "temperature"),
        ({"response_format": "xml"}, "response_format"),
        ({"timestamp_granularities[]": "word"}, "timestamp_granularities"),
        ({"timestamp_granularities[]": "letter", "response_format": "verbose_json"}, "timestamp_granularities"),
        ({"prompt": "x" * 9000}, "prompt"),
        ({"stream": "maybe"}, "stream"),
        ({"stream": "true", "response_format": "srt"}, "stream"),
        ({"langage": "de"}, "langage"),
        ({"language": ["de", "en"]}, "language"),
    ],
)
async def test_a_wrong_field_is_named(whisper: Served, fields: dict[str, str | list[str]], param: str) -> None:
    response = await whisper.http.post(
        "/v1/audio/transcriptions", data={"model": "tiny"} | fields, files={"file": ("a.wav", WAV)}
    )
    assert (response.status_code, error_of(response)["param"]) == (400, param)


async def test_a_translation_takes_no_language(whisper: Served) -> None:
    response = await form(whisper, "translations", language="de")
    assert (response.status_code, error_of(response)["param"]) == (400, "language")


@pytest.mark.parametrize("audio", [b"", b"garbage" * 100, WAV[:40], encoded(tone(seconds=0.05)), b"\x89PNG\r\n\x1a\n"])
async def test_what_is_no_audio_is_refused_as_the_file(whisper: Served, audio: bytes) -> None:
    response = await form(whisper, file=audio)
    assert (response.status_code, error_of(response)["param"]) == (400, "file")


async def test_a_missing_file_is_refused(whisper: Served) -> None:
    boundary = b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\ntiny\r\n--x--\r\n'
    headers = {"content-type": "multipart/form-data; boundary=x"}
    response = await whisper.http.post("/v1/audio/transcriptions", content=boundary, headers=headers)
    assert (response.status_code, error_of(response)["param"]) == (400, "file")


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", b""),
        ("multipart/form-data; boundary=x", b"no form"),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nti'),
    ],
)
async def test_what_is_no_form_is_refused(whisper: Served, kind: str, body: bytes) -> None:
    response = await whisper.http.post("/v1/audio/transcriptions", content=body, headers={"content-type": kind})
    assert response.status_code == 400
    assert error_of(response)["type"] == "invalid_request_error"


async def test_more_than_25_mb_is_too_large(whisper: Served) -> None:
    file = await form(whisper, file=bytes(MOST_FILE_BYTES + 1))
    body = await form(whisper, file=bytes(MAX_FORM + 1))
    assert (file.status_code, body.status_code) == (413, 413)
    assert error_of(file)["param"] == "file"


async def test_models_are_asked_for_what_they_can_do(whisper: Served) -> None:
    nobody = await form(whisper, model="whisper-1")
    chat = await form(whisper, model="echo")
    speech = await whisper.http.post("/v1/chat/completions", json=chat_body(model="tiny"))
    assert (nobody.status_code, error_of(nobody)["code"]) == (404, "model_not_found")
    assert (chat.status_code, error_of(chat)["param"]) == (404, "model")
    assert (speech.status_code, error_of(speech)["param"]) == (404, "model")
    assert "/v1/audio/transcriptions" in error_of(speech)["message"]


async def test_a_client_that_leaves_frees_the_model(whisper: Served) -> None:
    request = asyncio.create_task(form(whisper, file=LONG))
    await until(lambda: running(whisper, 1))
    request.cancel()
    await until(lambda: running(whisper, 0))
    assert (await transcribe(whisper)).text == SAID


async def test_a_transcription_stands_on_the_request_board_and_can_be_cancelled(whisper: Served) -> None:
    request = asyncio.create_task(form(whisper, file=LONG))
    await until(lambda: running(whisper, 1))
    (row,) = (await whisper.http.get("/v1/requests")).json()["requests"]
    assert row["model"] == "tiny"
    assert (await whisper.http.delete(f"/v1/requests/{row['id']}")).json()["cancelled"]
    response = await request
    assert (response.status_code, error_of(response)["code"]) == (499, "cancelled")


async def test_a_full_queue_and_a_long_wait_are_told_as_for_other_requests(model_path: Path, tmp_path: Path) -> None:
    settings = settings_of(queue=QueueSettings(max_queue=1, queue_timeout=0.2))
    async with serving(tmp_path, settings, model=str(model_path)) as served:
        first = asyncio.create_task(form(served, file=LONG))
        await until(lambda: running(served, 1))
        second = asyncio.create_task(form(served))
        await until(lambda: running(served, 2))
        third = await form(served)
        assert (third.status_code, error_of(third)["code"]) == (503, "queue_full")
        assert int(third.headers["retry-after"]) >= 1
        late = await second
        assert (late.status_code, error_of(late)["code"]) == (504, "queue_timeout")
        first.cancel()


async def running(served: Served, count: int) -> bool:
    return len(json.loads((await served.http.get("/v1/requests")).content)["requests"]) == count


async def test_empty_fields_of_a_form_are_absent_and_what_changes_nothing_is_told(whisper: Served) -> None:
    empty = dict.fromkeys(("model", "language", "prompt", "temperature", "response_format", "nobody_knows"), "")
    useless = {"chunking_strategy": "auto", "include[]": "logprobs", "user": "ann", "vad_filter": "False"}
    files = {"file": ("a.wav", WAV)}
    for path in ("/v1/audio/transcriptions", "/audio/transcriptions"):
        response = await whisper.http.post(path, data=empty | useless, files=files)
        assert response.status_code == 200, response.text
        assert response.json()["text"] == SAID
        assert response.headers["x-benchtop-ignored"] == "include[], user"


@pytest.mark.parametrize("fields", [{"diarize": "true"}, {"nobody_knows": "0"}, {"top_p": "0.5"}])
async def test_what_would_change_a_transcript_is_refused_by_its_name(whisper: Served, fields: dict[str, str]) -> None:
    asked = {"model": "tiny"} | fields
    response = await whisper.http.post("/v1/audio/transcriptions", data=asked, files={"file": ("a.wav", WAV)})
    assert (response.status_code, error_of(response)["param"]) == (400, next(iter(fields)))
