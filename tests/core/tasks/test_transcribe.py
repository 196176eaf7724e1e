"""Transcripts and their text formats."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import EngineFailed
from core.events import Event, Failed, Finished, FinishReason, Heard, SpeechSegment, Timings, Usage
from core.tasks.transcribe import compute_compression_ratio, fold_transcript, format_srt, format_vtt

TIMES = st.floats(0, 360_000).map(lambda time: round(time, 3))
SEGMENTS = st.lists(st.builds(lambda text, a, b: SpeechSegment(text, min(a, b), max(a, b)), st.text(), TIMES, TIMES))


def test_srt_is_written_as_its_readers_expect() -> None:
    segments = [SpeechSegment(" One", 0.0, 1.5), SpeechSegment(" two\nlines", 3661.007, 3661.9996)]
    assert format_srt(segments) == (
        "1\n00:00:00,000 --> 00:00:01,500\nOne\n\n2\n01:01:01,007 --> 01:01:02,000\ntwo lines\n\n"
    )
    assert format_srt([]) == ""


def test_vtt_has_a_header_and_escapes_what_would_be_markup() -> None:
    assert format_vtt([SpeechSegment(" a < b & c --> d", 0.25, 59.999)]) == (
        "WEBVTT\n\n00:00:00.250 --> 00:00:59.999\na &lt; b &amp; c --&gt; d\n\n"
    )
    assert format_vtt([]) == "WEBVTT\n\n"


def milliseconds(clock: str) -> int:
    hours, minutes, seconds, rest = (int(part) for part in re.split("[:,.]", clock))
    assert minutes < 60
    assert seconds < 60
    return ((hours * 60 + minutes) * 60 + seconds) * 1000 + rest


@given(SEGMENTS)
def test_every_cue_of_srt_reads_back_with_its_times(segments: list[SpeechSegment]) -> None:
    blocks = format_srt(segments).split("\n\n")
    segments = [segment for segment in segments if segment.text.split()]
    assert blocks.pop() == ""
    assert len(blocks) == len(segments)
    for number, (block, segment) in enumerate(zip(blocks, segments, strict=True), 1):
        index, times, text = block.split("\n")
        start, end = times.split(" --> ")
        assert int(index) == number
        assert (milliseconds(start), milliseconds(end)) == (round(segment.start * 1000), round(segment.end * 1000))
        assert "-->" not in text
        assert text.split() == segment.text.replace("-->", "->").split()


@given(SEGMENTS)
def test_every_cue_of_vtt_reads_back_with_its_text(segments: list[SpeechSegment]) -> None:
    header, *blocks = format_vtt(segments).split("\n\n")
    segments = [segment for segment in segments if segment.text.split()]
    assert header == "WEBVTT"
    assert blocks.pop() == ""
    for block, segment in zip(blocks, segments, strict=True):
        times, text = block.split("\n")
        start, end = times.split(" --> ")
        assert (milliseconds(start), milliseconds(end)) == (round(segment.start * 1000), round(segment.end * 1000))
        assert "<" not in text
        unescaped = text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
        assert unescaped.split() == segment.text.split()


def test_the_fold_gathers_segments_language_and_usage() -> None:
    usage = Usage(completion_tokens=5)
    events: list[Event] = [
        Heard(0, 0.0, 9.0),
        Heard(0, 0.5, 9.0, "de", (SpeechSegment(" eins", 0, 1),)),
        Heard(0, 1.0, 9.0, segments=(SpeechSegment(" zwei", 1, 2),)),
        Finished(0, FinishReason.STOP, usage, Timings()),
    ]
    whole = fold_transcript(events)
    assert (whole.text, whole.language, whole.duration, whole.usage) == ("eins zwei", "de", 9.0, usage)


def test_the_fold_of_a_failure_is_its_error() -> None:
    with pytest.raises(EngineFailed):
        fold_transcript([Heard(0, 0.0, 1.0), Failed(EngineFailed("broken"))])


def test_repetition_compresses() -> None:
    assert compute_compression_ratio("yes " * 100) > 2.4 > compute_compression_ratio("What he said was short.")
