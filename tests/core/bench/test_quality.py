"""Perplexity and divergence of two models on one text."""

from __future__ import annotations

import math
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.bench.documents import ExportFormat
from core.bench.quality import NamedSubject, QualityRow, estimate_mean, measure_quality, read_sample
from core.bench.quality_child import CHUNK_TOKENS, QualitySubject
from core.bench.quality_export import QUALITY_HEAD, export_quality, format_quality
from core.contract.artifact import Artifact
from core.contract.options import KvType, LoadOptions
from core.engines.echo import ARTIFACT
from core.errors import UsageError
from core.guide import WEIGHTS

LLAMA = "core.engines.llamacpp.engine:LlamaCppEngine"
TEXT = "How do I serve a model? Press s on the serve screen, or start with --serve. " * 60


def subject(kv_type: KvType = KvType.F16) -> NamedSubject:
    loaded = QualitySubject(
        LLAMA,
        Artifact("guide", "gguf", WEIGHTS, WEIGHTS.stat().st_size),
        LoadOptions(extra_buffers=False, kv_type=kv_type),
    )
    return NamedSubject("guide", kv_type.value, loaded)


def measured(*subjects: NamedSubject, text: str = TEXT, chunks: int = 1) -> list[QualityRow]:
    return measure_quality(subjects, text, chunks, 120.0, threading.Event(), lambda _: None)


def test_the_kv_type_of_fewer_bits_diverges_and_the_same_one_does_not() -> None:
    reference, same, worse = measured(subject(), subject(), subject(KvType.Q4_0))
    assert reference.reference
    assert reference.tokens == CHUNK_TOKENS - CHUNK_TOKENS // 2 - 1
    assert reference.perplexity > 1
    assert (same.divergence, same.agreement, same.perplexity) == (0.0, 1.0, reference.perplexity)
    assert worse.divergence > 0
    assert worse.divergence_p99 >= worse.divergence / 2
    assert worse.agreement < 1
    assert worse.perplexity != reference.perplexity


def test_a_text_that_repeats_itself_is_less_perplexing_than_another() -> None:
    (easy,) = measured(subject())
    (hard,) = measured(subject(), text=read_sample(None))
    assert easy.perplexity < hard.perplexity


def test_what_cannot_be_measured_says_why() -> None:
    (short,) = measured(subject(), text="too short")
    assert short.problem is not None
    assert "tokens" in short.problem
    assert short.tokens == 0
    echo = NamedSubject("echo", "f16", QualitySubject("core.engines.echo:EchoEngine", ARTIFACT, LoadOptions()))
    (refused,) = measured(echo)
    assert "does not tell how likely" in (refused.problem or "")
    reference, other, same = measured(subject(), echo, subject())
    assert other.problem is not None
    # What cannot be compared with it says nothing of the reference.
    assert (reference.problem, reference.perplexity) == (None, same.perplexity)


def test_a_text_of_ones_own_is_read_and_what_is_none_refused(tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    own.write_text("Mine.")
    assert read_sample(own) == "Mine."
    with pytest.raises(UsageError, match="cannot be read"):
        read_sample(tmp_path / "none.txt")
    own.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="UTF-16"):
        read_sample(own)


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=50))
def test_the_error_of_a_mean_is_that_of_its_sample(values: list[float]) -> None:
    mean, error = estimate_mean(values)
    assert mean == pytest.approx(sum(values) / len(values), abs=1e-9)
    spread = math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
    assert error == pytest.approx(spread / math.sqrt(len(values)), abs=1e-9)


def test_rows_are_words_and_documents() -> None:
    rows = [
        QualityRow("a|b", "f16", 255, 9.5, 0.2, reference=True),
        QualityRow("c", "q8_0", 255, 9.6, 0.2, 0.01, 0.001, 0.2, 0.97),
        QualityRow("d", "q4_0", problem="It did not load."),
    ]
    assert format_quality(rows[0])[3:5] == ("9.500 ± 0.200", "reference")
    assert format_quality(rows[1])[4:7] == ("0.0100 ± 0.0010", "0.200", "97.0%")
    assert format_quality(rows[2])[-1] == "It did not load."
    assert all(len(format_quality(row)) == len(QUALITY_HEAD) for row in rows)
    assert export_quality(rows, ExportFormat.CSV).count("\n") == 4
    assert "| a\\|b | f16 |" in export_quality(rows, ExportFormat.MARKDOWN)
    assert '"divergence": 0.01' in export_quality(rows, ExportFormat.JSON)
