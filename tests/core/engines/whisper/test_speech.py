"""Nothing is written where nothing was said, on real weights where there are some."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from core.contract.artifact import Artifact
from core.contract.options import LoadOptions
from core.engines.whisper.engine import WhisperEngine
from core.engines.whisper.model import WhisperModel
from core.engines.whisper.speech import is_invented, is_silent
from core.events import SpeechSegment
from core.requests import Transcription
from core.tasks.audio import SAMPLES_PER_SECOND, decode_audio
from core.tasks.transcribe import Transcript, fold_transcript

Audio = NDArray[np.float32]
WEIGHTS = os.environ.get("BENCHTOP_TEST_WEIGHTS")
MODEL = Path(WEIGHTS or "") / "ggml-whisper-base.bin"
real = pytest.mark.skipif(
    WEIGHTS is None or not MODEL.is_file(), reason="BENCHTOP_TEST_WEIGHTS names no folder with ggml-whisper-base.bin"
)
speaks = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng, which speaks, is not installed")


def segment(text: str, logprob: float = -0.3) -> SpeechSegment:
    return SpeechSegment(text, 0.0, 1.0, tokens=(1, 2, 3), logprob=logprob)


@pytest.mark.parametrize(
    ("silence", "texts", "logprob", "dropped", "expected"),
    [
        (None, (" you",), -2.0, "", False),
        (0.39, (" Yes.",), -2.0, "", False),
        (0.7, (" you",), -0.01, "", True),
        (0.55, (" hello",), -0.3, "", False),
        (0.55, (" hello",), -1.1, "", True),
        (0.55, (" the main room.", " the main room."), -0.1, "", True),
        (0.55, (" the main room.",), -0.1, " the main room.", True),
    ],
)
def test_a_window_without_speech_is_told_by_its_silence_first(
    silence: float | None, texts: tuple[str, ...], logprob: float, dropped: str, expected: bool
) -> None:
    assert is_invented([segment(text, logprob) for text in texts], silence, dropped) is expected


def test_nothing_and_next_to_nothing_are_silence() -> None:
    assert is_silent(b"")
    assert is_silent(np.full(SAMPLES_PER_SECOND, 5e-5, np.float32).tobytes())
    assert not is_silent(noise(1.0, -70.0).tobytes())


@pytest.fixture(scope="module")
def model() -> Iterator[WhisperModel]:
    found = Artifact("base", "ggml-whisper", MODEL, MODEL.stat().st_size)
    loaded = WhisperEngine().load(found, LoadOptions(threads=2))
    yield loaded
    loaded.shutdown()


def noise(seconds: float, decibels: float, *, pink: bool = False) -> Audio:
    samples = np.random.default_rng(7).standard_normal(round(seconds * SAMPLES_PER_SECOND))
    if pink:
        spectrum = np.fft.rfft(samples) / np.sqrt(np.arange(samples.size // 2 + 1).clip(1))
        samples = np.fft.irfft(spectrum, samples.size)
    return np.asarray(samples / samples.std() * 10 ** (decibels / 20), np.float32)


def silence(seconds: float) -> Audio:
    return np.zeros(round(seconds * SAMPLES_PER_SECOND), np.float32)


def spoken(text: str, folder: Path, decibels: float | None = None) -> Audio:
    subprocess.run(["espeak-ng", "-w", str(folder / "said.wav"), text], check=True)
    samples = np.frombuffer(decode_audio((folder / "said.wav").read_bytes(), threading.Event()), np.float32)
    if decibels is None:
        return samples
    return np.asarray(samples / np.sqrt((samples**2).mean()) * 10 ** (decibels / 20), np.float32)


def heard(model: WhisperModel, *parts: Audio) -> Transcript:
    request = Transcription("base", b"", language="en", fallback=False)
    return fold_transcript(model.transcribe(request, np.concatenate(parts).tobytes(), threading.Event()))


@real
def test_silence_is_heard_as_nothing(model: WhisperModel) -> None:
    for seconds in (0.1, 1.0, 65.0):
        whole = heard(model, silence(seconds))
        assert (whole.text, whole.segments, whole.duration) == ("", (), seconds)


@real
@pytest.mark.parametrize("pink", [False, True])
def test_noise_is_heard_as_nothing(model: WhisperModel, pink: bool) -> None:
    assert heard(model, noise(6.0, -30.0, pink=pink)).text == ""


@real
@speaks
def test_nothing_is_added_to_speech_that_ends_in_silence(model: WhisperModel, tmp_path: Path) -> None:
    said = spoken("The quick brown fox jumps over the lazy dog.", tmp_path)
    whole = heard(model, said, silence(40.0))
    assert "brown fox" in whole.text
    assert whole.segments[-1].end <= 30.0
    assert all(each.silence is not None and each.silence < 0.5 for each in whole.segments)


@real
@speaks
def test_quiet_speech_is_not_lost(model: WhisperModel, tmp_path: Path) -> None:
    said = spoken("Please call me tomorrow at nine.", tmp_path, -50.0)
    assert "tomorrow" in heard(model, said).text
