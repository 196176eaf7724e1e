"""Transcribing with whisper.cpp, on a model that hears what its script says."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from core.contract.artifact import Artifact
from core.contract.models import StreamModel, Threaded, Transcriber
from core.contract.options import LoadOptions
from core.engines.whisper.engine import WhisperEngine
from core.engines.whisper.model import WhisperModel
from core.errors import ArtifactError, Cancelled, EngineFailed, LoadFailed, RequestError
from core.events import Event, Finished, Heard
from core.models.formats.detect import detect_format
from core.models.formats.source import Damaged
from core.models.resolve import resolve_own
from core.requests import Transcription
from core.tasks.audio import SAMPLES_PER_SECOND
from core.tasks.transcribe import Transcript, fold_transcript
from core.trial.probe import Prober
from tests.fakes.speech import END, HELLO, SCRIPT, WORLD, at, tone, write_whisper

GO = threading.Event()
OPTIONS = LoadOptions(threads=2)
LOCATION = "core.engines.whisper.engine:WhisperEngine"


def sound(seconds: float = 1.0) -> bytes:
    noise = np.random.default_rng(3).standard_normal(round(seconds * SAMPLES_PER_SECOND)) * 0.01
    return bytes((tone(440.0, seconds, SAMPLES_PER_SECOND)[0] + noise).astype(np.float32).tobytes())


def artifact(path: Path) -> Artifact:
    return Artifact(path.stem, "ggml-whisper", path, path.stat().st_size)


def hear(model: WhisperModel, seconds: float = 1.0, **asked: object) -> Transcript:
    request = Transcription("tiny", b"", **asked)  # type: ignore[arg-type]
    return fold_transcript(model.transcribe(request, sound(seconds), GO))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_whisper(tmp_path_factory.mktemp("whisper") / "tiny.bin")


@pytest.fixture(scope="module")
def model(path: Path) -> Iterator[WhisperModel]:
    loaded = WhisperEngine().load(artifact(path), OPTIONS)
    yield loaded
    loaded.shutdown()


def test_the_file_is_told_by_its_content(path: Path, model: WhisperModel) -> None:
    assert detect_format(path) == "ggml-whisper"
    assert resolve_own(str(path)).format == "ggml-whisper"
    assert artifact(path).format in WhisperEngine().formats
    spec = model.spec
    assert (spec.architecture, spec.quantization, spec.slots, spec.threads) == ("whisper", "F16", 1, 2)
    assert 0 < spec.weight_bytes < path.stat().st_size
    assert isinstance(model, Transcriber)
    assert isinstance(model, Threaded)
    assert not isinstance(model, StreamModel)


def test_segments_carry_text_times_and_tokens(model: WhisperModel) -> None:
    whole = hear(model)
    assert [(each.text, each.start, each.end) for each in whole.segments] == [
        (" hello world", 0.0, 0.5),
        (" ü world", 0.5, 1.0),
    ]
    assert whole.segments[0].tokens == (at(0), HELLO, WORLD, at(0.5))
    assert (whole.language, whole.duration) == ("de", 1.0)
    assert whole.usage.completion_tokens == sum(len(each.tokens) for each in whole.segments)


def test_the_same_audio_is_heard_the_same_at_any_temperature_twice(model: WhisperModel) -> None:
    for temperature in (0.0, 0.7):
        assert hear(model, temperature=temperature) == hear(model, temperature=temperature)


def test_words_lie_in_order_within_their_segment(model: WhisperModel) -> None:
    assert all(each.words == () for each in hear(model).segments)
    for segment in hear(model, words=True).segments:
        assert [word.text for word in segment.words] == segment.text.split()
        times = [time for word in segment.words for time in (word.start, word.end)]
        assert times == sorted(times)
        assert segment.start <= times[0] <= times[-1] <= segment.end


def test_an_hour_that_was_not_there_is_not_told(tmp_path: Path) -> None:
    path = write_whisper(tmp_path / "late.bin", (at(0), HELLO, at(20), END))
    model = WhisperEngine().load(artifact(path), OPTIONS)
    (segment,) = hear(model).segments
    assert (segment.start, segment.end) == (0.0, 1.0)
    model.shutdown()


def test_a_long_file_is_heard_to_its_end_and_progress_only_grows(model: WhisperModel) -> None:
    events = list(model.transcribe(Transcription("tiny", b"", language="en", fallback=False), sound(65.0), GO))
    shares = [event.share for event in events if isinstance(event, Heard)]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert any(0.2 < share < 0.9 for share in shares)
    assert isinstance(events[-1], Finished)
    starts = [segment.start for segment in fold_transcript(events).segments]
    assert starts == sorted(starts)


def test_a_language_asked_for_is_taken_and_an_unknown_one_refused(model: WhisperModel) -> None:
    assert hear(model, language="fr").language == "fr"
    assert hear(model, language="fr", translate=True, prompt="w5 w6").language == "fr"
    with pytest.raises(RequestError) as caught:
        hear(model, language="tlh")
    assert caught.value.field == "language"


def test_an_english_model_knows_english_alone(tmp_path: Path) -> None:
    script = tuple(token - (token >= END) for token in SCRIPT)
    path = write_whisper(tmp_path / "english.bin", (END - 1,) * 2 + script, english=True)
    model = WhisperEngine().load(artifact(path), OPTIONS)
    assert "English" in model.spec.architecture
    assert hear(model).language == "en"
    with pytest.raises(RequestError):
        hear(model, language="de")
    model.shutdown()


def test_a_model_at_which_whisper_cpp_aborts_is_found_out_in_a_child_process(tmp_path: Path) -> None:
    # Its convolutions take halves alone, and end the process at whole floats.
    whole = write_whisper(tmp_path / "whole.bin", half=False)
    with pytest.raises(EngineFailed, match="crashed with SIGABRT"):
        Prober(tmp_path, 60.0).probe(WhisperEngine(), LOCATION, artifact(whole), LoadOptions(), GO, budget=1.0)


def test_cancelling_ends_it_soon_and_leaves_the_model_usable(model: WhisperModel) -> None:
    stop = threading.Event()
    seen: list[Event] = []
    events = model.transcribe(Transcription("tiny", b""), sound(600.0), stop)
    seen.append(next(events))
    stop.set()
    with pytest.raises(Cancelled):
        seen.extend(events)
    assert len(seen) < 20
    assert hear(model).text == "hello world ü world"


def test_whoever_stops_listening_frees_the_model(model: WhisperModel) -> None:
    events = iter(model.transcribe(Transcription("tiny", b""), sound(600.0), GO))
    next(events)
    del events
    assert hear(model).text == "hello world ü world"


def test_unloading_ends_what_runs(path: Path) -> None:
    model = WhisperEngine().load(artifact(path), OPTIONS)
    events = model.transcribe(Transcription("tiny", b""), sound(600.0), GO)
    next(events)
    unloading = threading.Thread(target=model.shutdown)
    unloading.start()
    with pytest.raises(Cancelled):
        list(events)
    unloading.join(20)
    model.shutdown()
    with pytest.raises(EngineFailed, match="unloaded"):
        hear(model)


def test_loading_can_be_given_up(path: Path) -> None:
    with pytest.raises(Cancelled):
        WhisperEngine().load(artifact(path), OPTIONS, lambda _: False)


@pytest.mark.parametrize("keep", [60, 5_000, 500_000, 2_000_000])
def test_a_file_that_breaks_off_is_damaged(path: Path, tmp_path: Path, keep: int) -> None:
    broken = tmp_path / "broken.bin"
    broken.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ArtifactError, match="damaged"):
        WhisperEngine().load(artifact(broken), OPTIONS)


def test_another_ggml_file_is_no_whisper_model(tmp_path: Path) -> None:
    other = tmp_path / "llama.bin"
    other.write_bytes(b"lmgg" + (32_000).to_bytes(4, "little") * 11)
    with pytest.raises(Damaged, match="no whisper model, with a n_vocab of 32000"):
        detect_format(other)


def test_a_model_that_lacks_tensors_is_refused_in_whisper_cpps_words(path: Path, tmp_path: Path) -> None:
    # The last record is a vector of 64 floats with a name of 15 bytes.
    short = tmp_path / "short.bin"
    short.write_bytes(path.read_bytes()[: -(16 + 15 + 64 * 4)])
    with pytest.raises(LoadFailed, match=r"whisper\.cpp could not load short"):
        WhisperEngine().load(artifact(short), OPTIONS)


def test_a_trial_run_in_a_child_process_times_it(path: Path, tmp_path: Path) -> None:
    engine = WhisperEngine()
    verdict = Prober(tmp_path, 60.0).probe(engine, LOCATION, artifact(path), LoadOptions(), GO, budget=1.0)
    assert verdict.failures == ()
    assert verdict.best is not None
    assert verdict.best.prefill > 0
