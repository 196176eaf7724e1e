"""From an audio file's bytes to what speech models hear: 16 kHz, one channel, 32-bit floats."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from core.errors import Cancelled, RequestError

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.resampler import AudioResampler
    from av.container import InputContainer

SAMPLES_PER_SECOND: Final = 16_000
"""Samples a second."""
SAMPLE_BYTES: Final = 4
SHORTEST_SECONDS: Final = 0.1
"""Seconds below which there is nothing to hear."""
LONGEST_SECONDS: Final = 7200.0
"""Seconds. A small file can hold days of silence, and all of it is held in memory at once."""
FORMATS: Final = "wav,flac,mp3,ogg,mov,aac,matroska"
"""ffmpeg's names of the containers that are read; others (playlists, images, subtitles) may name files to open."""


def decode_audio(data: bytes, stop: threading.Event) -> bytes:
    """Samples in the machine's byte order, between -1 and 1; channels are mixed down.

    Raises RequestError naming `file` for what is no audio, too short or too long; Cancelled on `stop`.
    """
    import av

    parts: list[bytes] = []
    size = 0
    try:
        with av.open(io.BytesIO(data), "r", options={"format_whitelist": FORMATS}) as container:
            for samples in _samples(container):
                if stop.is_set():
                    raise Cancelled
                parts.append(samples)
                size += len(samples)
                if size > LONGEST_SECONDS * SAMPLES_PER_SECOND * SAMPLE_BYTES:
                    raise RequestError(
                        f"The audio is longer than {LONGEST_SECONDS / 3600:g} hours; send it in parts.", "file"
                    )
    except (av.FFmpegError, ValueError) as error:
        # PyAV raises ValueError where a file claims a layout or a rate that no audio has.
        raise RequestError(
            "The file is not audio that can be decoded; send wav, flac, mp3, ogg, m4a or webm.", "file"
        ) from error
    if size < SHORTEST_SECONDS * SAMPLES_PER_SECOND * SAMPLE_BYTES:
        raise RequestError(f"The audio is shorter than {SHORTEST_SECONDS} s; there is nothing in it to hear.", "file")
    return b"".join(parts)


def count_seconds(samples: bytes) -> float:
    """How long decoded audio is."""
    return len(samples) / (SAMPLES_PER_SECOND * SAMPLE_BYTES)


def _samples(container: InputContainer) -> Iterator[bytes]:
    from av.audio.resampler import AudioResampler

    stream = next(iter(container.streams.audio), None)
    if stream is None:
        raise RequestError("The file holds no audio.", "file")
    resampler = AudioResampler(format="flt", layout="mono", rate=SAMPLES_PER_SECOND)
    for frame in container.decode(stream):
        # Where packets were lost, times jump; what is heard goes on.
        frame.pts = None
        yield from _resample_frame(resampler, frame)
    yield from _resample_frame(resampler, None)


def _resample_frame(resampler: AudioResampler, frame: AudioFrame | None) -> Iterator[bytes]:
    for each in resampler.resample(frame):
        # A plane is padded beyond its samples.
        yield bytes(each.planes[0])[: each.samples * SAMPLE_BYTES]
