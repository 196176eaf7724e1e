"""The child process of `core.bench.quality`: two models hear the same text, pass by pass."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from importlib import import_module
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from core.contract.artifact import Artifact
from core.contract.engine import Engine
from core.contract.models import TellsLogits, TokenModel
from core.contract.options import LoadOptions
from core.errors import BenchtopError
from core.trial.child_process import take_request

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

CHUNK_TOKENS: Final = 512


class QualitySubject(Struct, frozen=True):
    """`engine` is `module:Class`."""

    engine: str
    artifact: Artifact
    options: LoadOptions


class QualityRequest(Struct, frozen=True):
    subjects: tuple[QualitySubject, ...]
    """The reference, and what is compared with it."""
    text: str
    chunks: int
    """At most."""


class ScoredChunk(Struct, frozen=True, tag="scored"):
    """One value for each token of the second half of a chunk, in nats."""

    losses: tuple[tuple[float, ...], ...]
    """Negative log-likelihoods, for each subject."""
    divergences: tuple[float, ...]
    """Of the second subject from the first."""
    agreeing: int
    """Tokens of which both find the same one likeliest."""


class SubjectRefused(Struct, frozen=True, tag="refused"):
    reason: str


QualityLine = ScoredChunk | SubjectRefused


def main() -> None:
    request, tell = take_request(QualityRequest)
    with ExitStack() as models:
        try:
            loaded = [_load(subject, models) for subject in request.subjects]
            for chunk in _cut(loaded, request):
                tell(_score(loaded, chunk))
        except BenchtopError as error:
            tell(SubjectRefused(str(error)))


class _Loaded(Struct, frozen=True):
    model: TokenModel
    source: TellsLogits
    """The same."""


def _load(subject: QualitySubject, models: ExitStack) -> _Loaded:
    module, _, attribute = subject.engine.partition(":")
    engine: Engine = getattr(import_module(module), attribute)()
    options = replace(subject.options, ctx_size=CHUNK_TOKENS, slots=1)
    model = engine.load(subject.artifact, options)
    if not isinstance(model, TokenModel) or not isinstance(model, TellsLogits):
        model.shutdown()
        raise BenchtopError(f"{engine.name} does not tell how likely tokens are, so it cannot be compared.")
    models.callback(model.shutdown)
    return _Loaded(model, model)


def _cut(loaded: Sequence[_Loaded], request: QualityRequest) -> list[list[int]]:
    """The text in chunks of tokens, each with what the model begins texts with. Raises BenchtopError for models that
    read it otherwise, and for a text that is too short."""
    texts = [each.model.tokenizer.encode(request.text, special=False, begin=True) for each in loaded]
    if any(text != texts[0] for text in texts):
        raise BenchtopError("The two models divide a text into other tokens, so they cannot be compared.")
    first = loaded[0].model.tokenizer.encode("", special=True, begin=True)[:1]
    tokens = texts[0][len(first) :] if first and texts[0][:1] == first else texts[0]
    size = CHUNK_TOKENS - len(first)
    chunks = [first + tokens[at : at + size] for at in range(0, len(tokens) - size + 1, size)]
    if not chunks:
        raise BenchtopError(f"The text has {len(tokens)} tokens, and {size} are needed at least.")
    return chunks[: request.chunks]


def _score(loaded: Sequence[_Loaded], chunk: Sequence[int]) -> ScoredChunk:
    import numpy as np

    half = len(chunk) // 2
    losses: list[list[float]] = [[] for _ in loaded]
    divergences: list[float] = []
    agreeing = at = 0
    passes = zip(*(each.source.logits(chunk) for each in loaded), strict=True)
    for rows in passes:
        count = len(rows[0])
        # The logits behind a token tell the next one; the last token of a chunk has none behind it.
        kept = [index for index in range(count) if half <= at + index < len(chunk) - 1]
        at += count
        if not kept:
            continue
        known = [_normalise(each[kept]) for each in rows]
        wanted = [chunk[at - count + index + 1] for index in kept]
        for number, each in enumerate(known):
            losses[number] += (-each[np.arange(len(kept)), wanted]).tolist()
        if len(known) > 1:
            first, second = known
            divergences += (np.exp(first) * (first - second)).sum(axis=1).clip(min=0.0).tolist()
            agreeing += int((first.argmax(axis=1) == second.argmax(axis=1)).sum())
    return ScoredChunk(tuple(map(tuple, losses)), tuple(divergences), agreeing)


def _normalise(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Log-probabilities."""
    import numpy as np

    rows = logits.astype(np.float64)
    rows -= rows.max(axis=1, keepdims=True)
    rows -= np.log(np.exp(rows).sum(axis=1, keepdims=True))
    return rows


if __name__ == "__main__":
    main()
