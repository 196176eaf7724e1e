"""One whisper model: transcriptions, one at a time, each on a thread that whisper.cpp keeps to its end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final

import _pywhispercpp as native
import numpy as np

from core.decoding.detokenize import decode_whole
from core.engines.whisper.speech import SpeechGauge, is_invented, is_silent
from core.engines.whisper.words import SpokenPiece, join_words
from core.errors import BenchtopError, Cancelled, EngineFailed, RequestError
from core.events import Event, Finished, FinishReason, Heard, SpeechSegment, Timings, Usage, Word
from core.requests import COLDEST_TEMPERATURE
from core.tasks.audio import count_seconds
from core.tasks.languages import LANGUAGES
from core.telemetry.log import get_logger

if TYPE_CHECKING:
    from core.contract.models import ModelSpec
    from core.requests import Transcription

CENTISECOND_SECONDS: Final = 0.01
"""The unit of whisper.cpp's times."""
FALLBACK_TEMPERATURE_STEP: Final = 0.2
"""Added to the temperature each time a passage is heard again; OpenAI's own step."""
ENGLISH: Final = "en"

log = get_logger(__name__)


class WhisperModel:
    """A whisper.cpp context with its one state."""

    def __init__(self, context: native.whisper_context, name: str, spec: ModelSpec) -> None:
        self.spec = spec
        self._context = context
        self._name = name
        self._threads = spec.threads
        self._multilingual = bool(native.whisper_is_multilingual(context))
        self._end = native.whisper_token_eot(context)
        """Ids from here on stand for no text: languages, tasks, times."""
        self._gauge = SpeechGauge(context)
        self._busy = threading.Lock()
        self._unloading = threading.Event()
        self._open = True

    def set_threads(self, decode: int, batch: int) -> None:
        """whisper.cpp has one number for both; hearing a file is nearly all batch."""
        self._threads = batch

    def transcribe(self, request: Transcription, samples: bytes, stop: threading.Event) -> Iterator[Event]:
        """Segments come as they are heard. Waits while another transcription runs."""
        language = self._language(request)
        with self._busy:
            if not self._open:
                raise EngineFailed(f"The model {self._name} has been unloaded.")
            if is_silent(samples):
                yield Heard(0, 1.0, count_seconds(samples), ENGLISH if language == "auto" else language)
                yield Finished(0, FinishReason.STOP, Usage(), Timings())
                return
            hearing = _Hearing(
                self._context, self._gauge, self._end, request, count_seconds(samples), stop, self._unloading
            )
            parameters = self._parameters(request, language)
            yield from hearing.events(parameters, samples)

    def shutdown(self) -> None:
        self._unloading.set()
        with self._busy:
            if self._open:
                self._open = False
                native.whisper_free(self._context)

    def _language(self, request: Transcription) -> str:
        """`auto` lets whisper.cpp find out. Raises RequestError for what the model does not know."""
        if not self._multilingual:
            if request.language not in (None, ENGLISH):
                raise RequestError(f"The model {self._name} knows English alone; leave out `language`.", "language")
            return ENGLISH
        if request.language is not None and request.language not in LANGUAGES:
            raise RequestError(f"Whisper knows no language {request.language!r}; give an ISO 639-1 code.", "language")
        return request.language or "auto"

    def _parameters(self, request: Transcription, language: str) -> native.whisper_full_params:
        parameters = native.whisper_full_default_params(native.whisper_sampling_strategy.WHISPER_SAMPLING_GREEDY)
        parameters.n_threads = self._threads
        # The setter takes languages by name only, and nothing at all for finding out.
        parameters.language = "" if language == "auto" else language
        parameters.translate = request.translate and self._multilingual
        # What is divided by next to nothing is no number.
        parameters.temperature = 0.0 if request.temperature < COLDEST_TEMPERATURE else request.temperature
        # As OpenAI has it: who sets a temperature gets that one.
        parameters.temperature_inc = (
            FALLBACK_TEMPERATURE_STEP if request.fallback and request.temperature < COLDEST_TEMPERATURE else 0.0
        )
        # As OpenAI has it: brackets and notes, which stand for what is no speech, are not written.
        parameters.suppress_nst = True
        # Whether there was speech is judged here, see `core.engines.whisper.speech`.
        parameters.no_speech_thold = 1.0
        parameters.token_timestamps = request.words
        parameters.initial_prompt = request.prompt
        parameters.print_timestamps = parameters.print_realtime = parameters.print_special = False
        return parameters


class _Hearing:
    """One run of whisper.cpp over one file. Its callbacks come on the thread that runs it."""

    def __init__(
        self,
        context: native.whisper_context,
        gauge: SpeechGauge,
        end: int,
        request: Transcription,
        duration: float,
        stop: threading.Event,
        unloading: threading.Event,
    ) -> None:
        self._context = context
        self._gauge = gauge
        self._threads = 1
        self._end = end
        self._request = request
        self._duration = duration
        self._stop = stop
        self._unloading = unloading
        self._abandoned = threading.Event()
        self._told: SimpleQueue[Heard | BenchtopError | None] = SimpleQueue()
        self._share = 0.0
        self._segments = 0
        """Those that have been read."""
        self._window: list[SpeechSegment] = []
        """Those of the window that is being heard."""
        self._silence: float | None = None
        """The chance of no speech in it; known when it has a segment."""
        self._dropped = ""
        self._tokens = 0
        self._began = time.monotonic()
        self._first = 0.0
        self._fault: Exception | None = None

    def events(self, parameters: native.whisper_full_params, samples: bytes) -> Iterator[Event]:
        # For the whole of a file whisper.cpp does not return, and a generator can only yield outside of it.
        thread = threading.Thread(target=self._run, args=(parameters, samples), name="whisper", daemon=True)
        thread.start()
        try:
            while (told := self._told.get()) is not None:
                if isinstance(told, BenchtopError):
                    raise told
                yield told
        finally:
            self._abandoned.set()
            thread.join()
        yield Finished(0, FinishReason.STOP, Usage(completion_tokens=self._tokens), self._timings())

    # On the thread that whisper.cpp runs on.

    def _run(self, parameters: native.whisper_full_params, samples: bytes) -> None:
        try:
            self._told.put(self._outcome(parameters, samples))
        except Exception as error:
            # The edge of the thread: the generator waits for a word, whatever happened.
            log.exception("transcription failed")
            self._told.put(EngineFailed(f"Transcribing failed by a fault of the workbench: {error!r}."))
        self._told.put(None)

    def _outcome(self, parameters: native.whisper_full_params, samples: bytes) -> Heard | BenchtopError:
        native.assign_abort_callback(parameters, self._aborted)
        self._threads = parameters.n_threads
        native.assign_encoder_begin_callback(parameters, self._on_window)
        native.assign_new_segment_callback(parameters, self._on_segments)
        # Without `print_progress` the bindings would not call; with a callback they print nothing.
        native.assign_progress_callback(parameters, self._on_progress)
        parameters.print_progress = True
        audio = np.frombuffer(samples, dtype=np.float32)
        code = native.whisper_full(self._context, parameters, audio, audio.size)
        if self._fault is not None:
            raise self._fault
        if self._aborted():
            return Cancelled()
        if code:
            return EngineFailed(f"whisper.cpp gave up on the audio, with code {code}.")
        return self._heard(1.0, self._spoken())

    def _aborted(self) -> bool:
        return self._stop.is_set() or self._abandoned.is_set() or self._unloading.is_set() or self._fault is not None

    def _on_window(self, *_: object) -> bool:
        """Before a window is encoded, and the one before it has been heard to its end."""
        try:
            if segments := self._spoken():
                self._told.put(self._heard(self._share, segments))
        except Exception as error:
            # As below.
            log.exception("segments could not be judged")
            self._fault = error
        return not self._aborted()

    def _on_segments(self, *_: object) -> None:
        try:
            if not self._window:
                self._silence = self._gauge.silence(self._threads)
            self._window += self._new_segments()
        except Exception as error:
            # An exception that crossed native code would end the process; `_outcome` raises it again.
            log.exception("segments could not be read")
            self._fault = error

    def _on_progress(self, percent: int, *_: object) -> None:
        self._share = max(self._share, min(1.0, percent / 100))
        self._told.put(Heard(0, self._share, self._duration))

    def _heard(self, share: float, segments: tuple[SpeechSegment, ...]) -> Heard:
        language = native.whisper_lang_str(native.whisper_full_lang_id(self._context))
        return Heard(0, share, self._duration, language, segments)

    def _spoken(self) -> tuple[SpeechSegment, ...]:
        """The segments of the window that is over, unless there was no speech in it."""
        segments, self._window = tuple(self._window), []
        if not segments:
            return ()
        if is_invented(segments, self._silence, self._dropped):
            self._dropped = "".join(segment.text for segment in segments)
            return ()
        self._first = self._first or time.monotonic()
        self._tokens += sum(len(segment.tokens) for segment in segments)
        return segments

    def _new_segments(self) -> tuple[SpeechSegment, ...]:
        count = native.whisper_full_n_segments(self._context)
        found = tuple(self._segment(index) for index in range(self._segments, count))
        self._segments = count
        return found

    def _segment(self, index: int) -> SpeechSegment:
        context = self._context
        count = native.whisper_full_n_tokens(context, index)
        tokens = [native.whisper_full_get_token_data(context, index, number) for number in range(count)]
        start = self._time(native.whisper_full_get_segment_t0(context, index))
        return SpeechSegment(
            text=decode_whole(native.whisper_full_get_segment_text(context, index)),
            start=start,
            end=max(start, self._time(native.whisper_full_get_segment_t1(context, index))),
            tokens=tuple(token.id for token in tokens),
            logprob=sum(token.plog for token in tokens) / count if count else 0.0,
            words=self._words(tokens) if self._request.words else (),
            silence=self._silence,
        )

    def _words(self, tokens: list[native.whisper_token_data]) -> tuple[Word, ...]:
        language = native.whisper_lang_str(native.whisper_full_lang_id(self._context))
        pieces = (
            SpokenPiece(
                native.whisper_token_to_bytes(self._context, token.id), self._time(token.t0), self._time(token.t1)
            )
            for token in tokens
            if token.id < self._end
        )
        return join_words(pieces, ENGLISH if self._request.translate else language)

    def _time(self, centiseconds: int) -> float:
        """Within the audio: the model hears whole windows of 30 s, and may place words in what is not there."""
        return min(self._duration, max(0.0, round(centiseconds * CENTISECOND_SECONDS, 2)))

    def _timings(self) -> Timings:
        """Hearing comes before the first segment, and goes on between others; it is told as a whole."""
        now = time.monotonic()
        first = self._first or now
        return Timings(prefill=first - self._began, decode=now - first)
