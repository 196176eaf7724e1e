"""Files in, 16 kHz mono out: lengths, pitches, and refusals."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from core.errors import Cancelled, RequestError
from core.tasks import audio
from tests.fakes.speech import FORMATS, Floats, encoded, tone

GO = threading.Event()


def heard(data: bytes) -> Floats:
    return np.frombuffer(audio.decode_audio(data, GO), dtype=np.float32)


def pitch(samples: Floats) -> float:
    """The strongest frequency, in Hz."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(samples.size)))
    return float(np.fft.rfftfreq(samples.size, 1 / audio.SAMPLES_PER_SECOND)[int(spectrum.argmax())])


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_lossless_audio_keeps_its_length_to_the_sample_and_its_pitch(rate: int, suffix: str) -> None:
    samples = heard(encoded(tone(440.0, 2.0, rate), suffix, rate))
    assert samples.size == 2 * audio.SAMPLES_PER_SECOND
    assert pitch(samples) == pytest.approx(440.0, abs=0.5)
    assert np.abs(samples).max() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_keeps_its_pitch_and_its_length_but_for_the_padding_of_its_codec(suffix: str) -> None:
    samples = heard(encoded(tone(1000.0, 2.0, 48_000), suffix, 48_000))
    assert samples.size == pytest.approx(2 * audio.SAMPLES_PER_SECOND, abs=0.06 * audio.SAMPLES_PER_SECOND)
    assert pitch(samples) == pytest.approx(1000.0, abs=0.5)


def test_at_16_khz_nothing_is_resampled() -> None:
    wave = tone(440.0, 0.5, audio.SAMPLES_PER_SECOND)
    np.testing.assert_allclose(heard(encoded(wave, "flac", audio.SAMPLES_PER_SECOND)), wave[0], atol=1e-4)


def test_what_lies_above_8_khz_does_not_fold_down() -> None:
    assert np.abs(heard(encoded(tone(12_000.0, 1.0), "wav"))[400:-400]).max() < 0.01


def test_channels_are_mixed_down() -> None:
    wave = tone(440.0, 1.0, audio.SAMPLES_PER_SECOND, channels=2)
    both = heard(encoded(wave, "wav", audio.SAMPLES_PER_SECOND))
    wave[1] = 0.0
    one = heard(encoded(wave, "wav", audio.SAMPLES_PER_SECOND))
    assert both.size == one.size == audio.SAMPLES_PER_SECOND
    np.testing.assert_allclose(one, both / 2, atol=1e-3)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"RIFF",
        b"no audio at all" * 50,
        b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n",
        b"ffconcat version 1.0\nfile /etc/hostname\n",
        encoded(tone(), "wav")[:44],
        encoded(tone(), "m4a")[:200],
    ],
)
def test_what_is_no_audio_is_refused_by_the_name_of_its_field(data: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        audio.decode_audio(data, GO)
    assert caught.value.field == "file"


def test_a_file_that_breaks_off_is_heard_as_far_as_it_goes() -> None:
    whole = encoded(tone(seconds=2.0), "wav")
    assert 0 < heard(whole[: len(whole) // 2]).size < 2 * audio.SAMPLES_PER_SECOND


def test_audio_too_short_or_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RequestError, match="shorter than 0.1 s"):
        audio.decode_audio(encoded(tone(seconds=0.09)), GO)
    monkeypatch.setattr(audio, "LONGEST_SECONDS", 1.0)
    assert heard(encoded(tone(seconds=1.0))).size == audio.SAMPLES_PER_SECOND
    with pytest.raises(RequestError, match="longer than"):
        audio.decode_audio(encoded(tone(seconds=1.5)), GO)


def test_decoding_can_be_cancelled() -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        audio.decode_audio(encoded(tone()), stop)
