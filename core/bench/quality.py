"""Quality beside speed: how much worse a quant, or a type of the KV cache, tells a text than the best at hand.

Perplexity is e to the mean negative log-likelihood of each token behind those before it, over the second half of each
chunk of CHUNK_TOKENS, so that every token has context; as llama.cpp's own tool counts it. The Kullback-Leibler
divergence says how far a model's distributions are from those of the reference: it tells more from fewer tokens, since
both hear the same text, and a token that either may be wrong about costs nothing.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from core.bench.quality_child import (
    QualityLine,
    QualityRequest,
    QualitySubject,
    ScoredChunk,
    SubjectRefused,
)
from core.errors import UsageError
from core.files import read_regular
from core.text_files import decode_text
from core.trial.child_process import run_child

DEFAULT_CHUNKS: Final = 8
MOST_TEXT_BYTES: Final = 1 << 26
LINES: Final[msgspec.json.Decoder[QualityLine]] = msgspec.json.Decoder(QualityLine)


class QualityRow(Struct, frozen=True):
    """What one subject came to. Divergences are in nats for a token; those of the reference are zero."""

    model: str
    kv_type: str
    tokens: int = 0
    """Scored."""
    perplexity: float = 0.0
    perplexity_error: float = 0.0
    """Standard error."""
    divergence: float = 0.0
    """Mean."""
    divergence_error: float = 0.0
    divergence_p99: float = 0.0
    """A hundredth of the tokens diverge more."""
    agreement: float = 1.0
    """Share of the tokens of which the likeliest is that of the reference."""
    reference: bool = False
    problem: str | None = None
    """Why there are no figures, or no more."""


class NamedSubject(Struct, frozen=True):
    """A model with a type of KV cache, and the words that name it."""

    model: str
    kv_type: str
    loaded: QualitySubject


def read_sample(path: Path | None) -> str:
    """The user's own text, or the one at hand everywhere: Python's reference, prose and code in English. Numbers of
    different texts cannot be compared. Raises UsageError."""
    if path is not None:
        try:
            return decode_text(read_regular(path, MOST_TEXT_BYTES))
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise UsageError(f"The text {path} cannot be read: {why}.") from error
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise UsageError("This Python comes without its reference, so there is no text at hand; name one.") from error
    return "\n\n".join(topics.values())


def measure_quality(
    subjects: Sequence[NamedSubject],
    text: str,
    chunks: int,
    timeout: float,
    stop: threading.Event,
    tell: Callable[[QualityRow], None],
) -> list[QualityRow]:
    """Each subject beside the first one, which is the reference; with one alone its perplexity. Each is told as it
    grows. A child process holds the two models that are compared, and no other. Blocks. Raises Cancelled on `stop`."""
    reference = subjects[0]
    tallies: list[_PairTally] = []
    for subject in subjects[1:] or subjects[:1]:
        both = () if subject is reference else (subject.loaded,)
        request = QualityRequest((reference.loaded, *both), text, chunks)
        tally = _PairTally(reference, subject)

        def hear(line: QualityLine, tally: _PairTally = tally) -> None:
            tally.take(line)
            tell(tally.row())

        ended = run_child("core.bench.quality_child", request, LINES, timeout, stop, hear)
        if ended.trouble is not None:
            tally.problem = f"The process that measured it {ended.trouble}."
        tallies.append(tally)
    # What could not be compared with it at all says nothing of the reference.
    of_reference = max((tally.row_of_reference() for tally in tallies), key=lambda row: row.tokens)
    return [of_reference, *(tally.row() for tally in tallies if len(subjects) > 1)]


class _PairTally:
    """Chunks of two subjects, as they come."""

    def __init__(self, reference: NamedSubject, subject: NamedSubject) -> None:
        self._reference, self._subject = reference, subject
        self._chunks: list[ScoredChunk] = []
        self.problem: str | None = None

    def take(self, line: QualityLine) -> None:
        match line:
            case ScoredChunk():
                self._chunks.append(line)
            case SubjectRefused(reason=reason):
                self.problem = reason

    def row_of_reference(self) -> QualityRow:
        return self._row(self._reference, 0)

    def row(self) -> QualityRow:
        return self._row(self._subject, -1)

    def _row(self, subject: NamedSubject, index: int) -> QualityRow:
        losses = [loss for chunk in self._chunks for loss in chunk.losses[index]]
        apart = [each for chunk in self._chunks for each in chunk.divergences] if index else []
        same = sum(chunk.agreeing for chunk in self._chunks)
        mean, error = estimate_mean(losses)
        divergence, divergence_error = estimate_mean(apart)
        return QualityRow(
            subject.model,
            subject.kv_type,
            len(losses),
            math.exp(mean) if losses else 0.0,
            math.exp(mean) * error if losses else 0.0,
            divergence,
            divergence_error,
            sorted(apart)[int(len(apart) * 0.99)] if apart else 0.0,
            same / len(apart) if apart else 1.0,
            reference=subject is self._reference,
            problem=self.problem,
        )


def estimate_mean(values: Sequence[float]) -> tuple[float, float]:
    """The mean and its standard error; zeros for no values, an error of zero for one."""
    if not values:
        return 0.0, 0.0
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return mean, 0.0
    squares = math.fsum((value - mean) ** 2 for value in values)
    return mean, math.sqrt(squares / (len(values) - 1) / len(values))
