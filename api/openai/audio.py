"""POST /v1/audio/transcriptions and /v1/audio/translations: a form in, a transcript in one of five formats out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from operator import setitem
from typing import Final, Literal

import msgspec
from litestar import Request, post
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from api.http.answer import DONE, PING_SECONDS, HttpAnswer, frame_event
from api.http.bodies import read_body
from api.http.callers import find_caller
from api.http.contract import ANSWERING, EVENTS, JSON, PLAIN, READING, RouteReply, declare_contract, reply_with
from api.http.errors import BodyTooLarge, translate_error
from api.http.field_rules import Json, tell_ignored
from api.http.forms import FormBody, SubmittedForm
from api.http.live import LiveStreams
from api.openai import fields
from core.errors import RequestError
from core.events import Event, Failed, Finished, Heard, SpeechSegment
from core.requests import Caller, Transcription
from core.snapshots import ModelKind
from core.tasks.languages import LANGUAGES, find_code, name_of
from core.tasks.transcribe import Transcript, compute_compression_ratio, fold_transcript, format_srt, format_vtt
from core.workbench import Workbench

TRANSCRIPTIONS: Final = "/v1/audio/transcriptions"
TRANSLATIONS: Final = "/v1/audio/translations"
PATHS: Final = {path: (path, path.removeprefix("/v1")) for path in (TRANSCRIPTIONS, TRANSLATIONS)}
"""Where each of them answers."""
MOST_FILE_BYTES: Final = 25 * 1024 * 1024
"""Bytes; OpenAI's own limit."""
MAX_FORM: Final = MOST_FILE_BYTES + 256 * 1024
"""The file with the fields around it."""
MOST_PROMPT_CHARACTERS: Final = 8192
"""Characters. Whisper itself reads the last 224 tokens."""
FORMATS: Final[tuple[Json, ...]] = ("json", "text", "srt", "vtt", "verbose_json")
GRANULARITIES: Final = "timestamp_granularities"
COMMON: Final[Mapping[str, Mapping[str, Json]]] = {
    "file": {
        "type": "string",
        "format": "binary",
        "minLength": 1,
        "description": "The audio, in any format that FFmpeg reads.",
    },
    "model": {"type": "string", "maxLength": 1024},
    "prompt": {"type": "string", "maxLength": MOST_PROMPT_CHARACTERS},
    "response_format": {"enum": ["", *FORMATS]},
    "temperature": {"type": "number", "minimum": 0, "maximum": 1},
}


def _require_form(form: str, *fields: str) -> Json:
    """A schema: each of the fields is left out, or the answer is to have this form."""
    absent: dict[str, Json] = {field: {"maxItems": 0} for field in fields}
    chosen: dict[str, Json] = {"properties": {"response_format": {"const": form}}}
    return {"anyOf": [{"properties": absent}, chosen | {"required": ["response_format"]}]} if fields else chosen


GRANULARITY: Final[Mapping[str, Json]] = {"type": "array", "items": {"enum": ["segment", "word"]}}
FORMS: Final = {
    TRANSCRIPTIONS: FormBody(
        {
            **COMMON,
            "language": {"enum": ["", "auto", *LANGUAGES, *map(name_of, LANGUAGES)]},
            "stream": {"type": "boolean"},
            GRANULARITIES: GRANULARITY,
            f"{GRANULARITIES}[]": GRANULARITY,
        },
        ("file",),
        fields.TRANSCRIPTION,
        [
            _require_form("verbose_json", GRANULARITIES, f"{GRANULARITIES}[]"),
            {"anyOf": [{"properties": {"stream": {"const": False}}}, _require_form("json")]},
        ],
    ),
    TRANSLATIONS: FormBody(COMMON, ("file",), fields.TRANSLATION),
}
ENCODER = msgspec.json.Encoder()


class FileTooLarge(BodyTooLarge):
    """The audio file has more bytes than OpenAI's own service takes."""

    def __init__(self) -> None:
        RequestError.__init__(self, f"The file has more than {MOST_FILE_BYTES} bytes; send it in parts.", "file")


class Duration(Struct, frozen=True, tag_field="type", tag="duration"):
    """What a transcription is measured by."""

    seconds: float


class WireWord(Struct, frozen=True):
    word: str
    start: float
    end: float


class WireSegment(Struct, frozen=True):
    id: int
    seek: int
    """Where it begins, in hundredths of a second."""
    start: float
    end: float
    text: str
    tokens: tuple[int, ...]
    temperature: float
    """The one asked for; whisper.cpp does not tell which one it came to."""
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float | None = None
    """Null where the engine does not tell it."""


class PlainReply(Struct, frozen=True):
    text: str
    usage: Duration


class VerboseReply(Struct, frozen=True):
    task: Literal["transcribe", "translate"]
    language: str
    """In English words, as OpenAI has it: `german`."""
    duration: float
    text: str
    usage: Duration
    segments: list[WireSegment] | UnsetType = UNSET
    words: list[WireWord] | UnsetType = UNSET


class TextDeltaEvent(Struct, frozen=True, tag_field="type", tag="transcript.text.delta"):
    delta: str


class TextDoneEvent(Struct, frozen=True, tag_field="type", tag="transcript.text.done"):
    text: str
    usage: Duration


class Wanted(Struct, frozen=True):
    """How the client wants its answer."""

    format: str
    segments: bool
    words: bool
    streamed: bool


def build_audio_routes(
    workbench: Workbench, live: LiveStreams, *, max_body: int, ping: float = PING_SECONDS
) -> list[HTTPRouteHandler]:
    limit = max(MAX_FORM, max_body)

    async def answer(request: Request[object, object, State], path: str) -> ASGIApp:
        data = await read_body(request.receive, limit)
        form = FORMS[path].parse(request.headers.get("content-type", ""), data)
        state = request.scope["state"]
        caller, identity = find_caller(state), str(state["request_id"])
        wanted = read_wanted(form)
        asked = translate_request(form, wanted, translate=path == TRANSLATIONS, caller=caller, request_id=identity)
        if not asked.model:
            asked = replace(asked, model=workbench.requests.choose_model(ModelKind.TRANSCRIPTION, caller))
        media = b"application/json" if wanted.format.endswith("json") else b"text/plain; charset=utf-8"
        begin = partial(workbench.requests.submit, asked, called=partial(setitem, state, "request_id"))
        return HttpAnswer(
            begin,
            AudioDialect(asked, wanted),
            live,
            streamed=wanted.streamed,
            ping=ping,
            media=media,
            headers=lambda: tell_ignored(form.ignored),
        )

    def contract(path: str, *streamed: RouteReply) -> dict[str, object]:
        reply = RouteReply("The transcript, in the format asked for", {JSON: PlainReply, PLAIN: None})
        verbose = reply_with(VerboseReply, "With `verbose_json`")
        return declare_contract(reply, verbose, *streamed, body=FORMS[path], outcomes=(*READING, *ANSWERING))

    @post(
        list(PATHS[TRANSCRIPTIONS]),
        status_code=200,
        summary="Write down what is said in an audio file",
        opt=contract(TRANSCRIPTIONS, RouteReply("With `stream`", {EVENTS: TextDeltaEvent})),
    )
    async def create_transcription(request: Request[object, object, State]) -> ASGIApp:
        return await answer(request, TRANSCRIPTIONS)

    @post(
        list(PATHS[TRANSLATIONS]),
        status_code=200,
        summary="Write down in English what is said in an audio file",
        opt=contract(TRANSLATIONS),
    )
    async def create_translation(request: Request[object, object, State]) -> ASGIApp:
        return await answer(request, TRANSLATIONS)

    return [create_transcription, create_translation]


# --- from the wire ---------------------------------------------------------------------------------------------------


def translate_request(
    form: SubmittedForm, wanted: Wanted, *, translate: bool = False, caller: Caller = Caller(), request_id: str = ""
) -> Transcription:
    """The canonical request. Raises RequestError, which names the field; FileTooLarge.

    The model is empty where the request names none.
    """
    prompt = form.one("prompt") or ""
    if len(prompt) > MOST_PROMPT_CHARACTERS or "\0" in prompt:
        raise RequestError(
            f"The field `prompt` is wrong: at most {MOST_PROMPT_CHARACTERS} characters of text.", "prompt"
        )
    return Transcription(
        model=form.one("model") or "",
        audio=_file(form),
        language=_language(form),
        translate=translate,
        prompt=prompt,
        temperature=_temperature(form),
        words=wanted.words,
        caller=caller,
        request_id=request_id,
    )


def read_wanted(form: SubmittedForm) -> Wanted:
    """Raises RequestError for what does not go together."""
    chosen = form.one("response_format") or "json"
    if chosen not in FORMATS:
        raise RequestError(
            f"The field `response_format` is wrong: give one of {', '.join(map(str, FORMATS))}.", "response_format"
        )
    granularities = {*form.fields.get(GRANULARITIES, ()), *form.fields.get(f"{GRANULARITIES}[]", ())} - {""}
    if strange := granularities - {"segment", "word"}:
        raise RequestError(f"There is no granularity {min(strange)[:64]!r}; give segment or word.", GRANULARITIES)
    if granularities and chosen != "verbose_json":
        raise RequestError(f"`{GRANULARITIES}` needs a `response_format` of verbose_json.", GRANULARITIES)
    streamed = _is_streamed(form)
    if streamed and chosen != "json":
        raise RequestError("`stream` needs a `response_format` of json.", "stream")
    words = "word" in granularities
    return Wanted(chosen, not words or "segment" in granularities, words, streamed)


def _file(form: SubmittedForm) -> bytes:
    data = form.files.get("file")
    if data is None:
        raise RequestError("The field `file` is missing; it takes the audio, as a file.", "file")
    if not data:
        raise RequestError("The file is empty.", "file")
    if len(data) > MOST_FILE_BYTES:
        raise FileTooLarge
    return data


def _language(form: SubmittedForm) -> str | None:
    given = form.one("language")
    if given is None or given.lower() == "auto":
        return None
    code = find_code(given)
    if code is None:
        raise RequestError(f"The language {given[:64]!r} is not known; give an ISO 639-1 code, such as en.", "language")
    return code


def _temperature(form: SubmittedForm) -> float:
    given = form.one("temperature")
    try:
        value = 0.0 if given is None else float(given)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise RequestError("The field `temperature` is wrong: expected a number from 0 to 1.", "temperature")
    return value


def _is_streamed(form: SubmittedForm) -> bool:
    given = (form.one("stream") or "false").lower()
    if given not in ("true", "false", "1", "0"):
        raise RequestError("The field `stream` is wrong: expected true or false.", "stream")
    return given in ("true", "1")


# --- to the wire -----------------------------------------------------------------------------------------------------


class AudioDialect:
    """Writes a transcript in the format asked for, or its segments as they are heard."""

    def __init__(self, asked: Transcription, wanted: Wanted) -> None:
        self.over = False
        self._asked = asked
        self._wanted = wanted
        self._events: list[Event] = []

    def write(self, events: Sequence[Event]) -> bytes:
        self._events += events
        out: list[bytes] = []
        for event in events:
            match event:
                case Heard(segments=segments):
                    out += (frame_event(ENCODER.encode(TextDeltaEvent(segment.text))) for segment in segments)
                case Finished():
                    self.over = True
                    whole = fold_transcript(self._events)
                    done = TextDoneEvent(whole.text, Duration(round(whole.duration, 2)))
                    out += (frame_event(ENCODER.encode(done)), DONE)
                case Failed(error=error):
                    self.over = True
                    out += (frame_event(translate_error(error).encode()), DONE)
        return b"".join(out)

    def reply(self, events: Sequence[Event]) -> bytes:
        whole = fold_transcript(events)
        match self._wanted.format:
            case "text":
                return (whole.text + "\n").encode()
            case "srt":
                return format_srt(whole.segments).encode()
            case "vtt":
                return format_vtt(whole.segments).encode()
            case "verbose_json":
                return ENCODER.encode(self._verbose(whole))
            case _:
                return ENCODER.encode(PlainReply(whole.text, Duration(round(whole.duration, 2))))

    def _verbose(self, whole: Transcript) -> VerboseReply:
        words = [WireWord(word.text, word.start, word.end) for segment in whole.segments for word in segment.words]
        segments = [self._segment(number, segment) for number, segment in enumerate(whole.segments)]
        duration = round(whole.duration, 2)
        return VerboseReply(
            task="translate" if self._asked.translate else "transcribe",
            language="english" if self._asked.translate else name_of(whole.language),
            duration=duration,
            text=whole.text,
            usage=Duration(duration),
            segments=segments if self._wanted.segments else UNSET,
            words=words if self._wanted.words else UNSET,
        )

    def _segment(self, number: int, segment: SpeechSegment) -> WireSegment:
        return WireSegment(
            id=number,
            seek=round(segment.start * 100),
            start=segment.start,
            end=segment.end,
            text=segment.text,
            tokens=segment.tokens,
            temperature=self._asked.temperature,
            avg_logprob=segment.logprob,
            compression_ratio=round(compute_compression_ratio(segment.text), 4),
            no_speech_prob=segment.silence,
        )
