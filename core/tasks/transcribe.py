"""Transcribing: from an audio file to events, and from events to a transcript and its text formats."""

from __future__ import annotations

import re
import threading
import zlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from core.events import Event, Failed, Finished, Heard, SpeechSegment, Usage
from core.tasks.audio import decode_audio

if TYPE_CHECKING:
    from core.contract.models import Transcriber
    from core.requests import Transcription

_MARKS: Final = re.compile(r"[\\`*_\[\]<>#|~]")
"""What Markdown would take for more than a letter."""
_ESCAPED: Final = r"\\\g<0>"


class Transcript(Struct, frozen=True):
    """All that was heard in one file."""

    language: str
    """ISO 639-1; the one asked for, or the one detected."""
    duration: float
    """Seconds of audio."""
    segments: tuple[SpeechSegment, ...]
    usage: Usage = Usage()

    @property
    def text(self) -> str:
        return "".join(segment.text for segment in self.segments).strip()


def transcribe_audio(model: Transcriber, request: Transcription, stop: threading.Event) -> Iterator[Event]:
    """The events of a request. Raises RequestError for audio that cannot be decoded, Cancelled on `stop`."""
    yield from model.transcribe(request, decode_audio(request.audio, stop), stop)


def fold_transcript(events: Iterable[Event]) -> Transcript:
    """The fold of a transcription's events; raises the error of a `Failed`."""
    segments: list[SpeechSegment] = []
    language, duration, usage = "", 0.0, Usage()
    for event in events:
        match event:
            case Heard():
                segments += event.segments
                language, duration = event.language or language, event.duration
            case Finished():
                usage = event.usage
            case Failed(error=error):
                raise error
    return Transcript(language, duration, tuple(segments), usage)


def format_srt(segments: Iterable[SpeechSegment]) -> str:
    """SubRip: numbered from one, `HH:MM:SS,mmm`, a blank line after each. Segments without text are left out."""
    return "".join(
        f"{number}\n{_format_clock(segment.start, ',')} --> {_format_clock(segment.end, ',')}\n"
        f"{_line(segment, '-->', '->')}\n\n"
        for number, segment in enumerate(_drop_silent(segments), 1)
    )


def format_vtt(segments: Iterable[SpeechSegment]) -> str:
    """WebVTT (W3C): a header, then cues `HH:MM:SS.mmm`; `&` and `<` are escaped, as its cue text demands.

    Segments without text are left out.
    """
    cues = "".join(
        f"{_format_clock(segment.start, '.')} --> {_format_clock(segment.end, '.')}\n{_escape_cue(segment)}\n\n"
        for segment in _drop_silent(segments)
    )
    return "WEBVTT\n\n" + cues


def format_text(segments: Iterable[SpeechSegment]) -> str:
    """A line for each segment that has words."""
    return "".join(f"{' '.join(segment.text.split())}\n" for segment in _drop_silent(segments))


def format_markdown(segments: Iterable[SpeechSegment]) -> str:
    """A list, with the time at which each segment begins; marks of Markdown in what is said are escaped."""
    return "".join(
        f"- **{_format_clock(segment.start, '.')[:8]}** {_MARKS.sub(_ESCAPED, ' '.join(segment.text.split()))}\n"
        for segment in _drop_silent(segments)
    )


def compute_compression_ratio(text: str) -> float:
    """Bytes of the text for each byte that deflate makes of it: above 2.4, a model has likely repeated itself."""
    data = text.encode()
    return len(data) / len(zlib.compress(data))


def _drop_silent(segments: Iterable[SpeechSegment]) -> Iterator[SpeechSegment]:
    """A cue without text would be none."""
    return (segment for segment in segments if segment.text.split())


def _format_clock(at: float, mark: str) -> str:
    milliseconds = max(0, round(at * 1000))
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{rest // 1000:02}{mark}{rest % 1000:03}"


def _line(segment: SpeechSegment, arrow: str, harmless: str) -> str:
    """On one line, for a blank one would end the cue; an arrow within it would begin another."""
    return " ".join(segment.text.split()).replace(arrow, harmless)


def _escape_cue(segment: SpeechSegment) -> str:
    text = " ".join(segment.text.split())
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
