"""Goes from word to word as the pairs say, until a word has none after it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from random import Random

from benchtop_example.format import Pairs, read_pairs
from core.contract.artifact import Artifact
from core.contract.engine import Availability, Available
from core.contract.models import ModelSpec
from core.contract.options import LoadOptions, LoadProgress, ignore_progress
from core.decoding.detokenize import TextStream
from core.errors import ArtifactError, Cancelled, RequestError
from core.events import Event, Finished, FinishReason, TextDelta, Timings, Usage
from core.models.formats.source import Damaged, FileSource
from core.requests import Conversation, RawText, ResolvedGeneration, Sampling

CONTEXT = 4096
"""Words of an answer at most: a ring of pairs has no end of its own."""


class PairsEngine:
    """Runs everywhere: it needs no package. One that does says so with `core.engines.installed.check_packages`."""

    name = "pairs"
    platform = "any"
    formats = ("pairs",)
    priority = 50

    def availability(self) -> Availability:
        return Available("1")

    def load(self, artifact: Artifact, options: LoadOptions, progress: LoadProgress = ignore_progress) -> PairsModel:
        try:
            pairs = read_pairs(FileSource(artifact.path))
        except Damaged as error:
            raise ArtifactError(
                artifact.name, f"The model {artifact.name} is damaged: {error}; write it anew."
            ) from error
        except OSError as error:
            raise ArtifactError(artifact.name, f"{artifact.name} cannot be read: {error.strerror}.") from error
        if not progress(1.0):
            raise Cancelled(f"Loading {artifact.name} was stopped.")
        return PairsModel(artifact, pairs)


class PairsModel:
    """A StreamModel: it schedules itself, and answers several requests at once."""

    def __init__(self, artifact: Artifact, pairs: Pairs) -> None:
        self._pairs = pairs
        self.spec = ModelSpec(
            architecture="word pairs",
            parameters=sum(map(len, pairs.values())),
            quantization="none",
            context=CONTEXT,
            trained_context=1,
            slots=4,
            sequences=4,
            cells=0,
            batch=0,
            threads=1,
            weight_bytes=artifact.size,
            kv_bytes_per_token=0,
            template=None,
            sampling=Sampling(temperature=0.0),
        )

    def generate(self, request: ResolvedGeneration, stop: threading.Event) -> Iterator[Event]:
        words = _words_of(request)
        for index in range(request.n):
            yield from self._answer(index, words, request, stop)

    def shutdown(self) -> None:
        """There is nothing to free."""

    def _answer(
        self, index: int, words: list[str], request: ResolvedGeneration, stop: threading.Event
    ) -> Iterator[Event]:
        began = time.monotonic()
        most = min(request.max_tokens or CONTEXT, CONTEXT)
        stream, count, reason = TextStream(request.stop), 0, FinishReason.STOP
        for word in self._walk(self._first(words), request.sampling.choice(index)):
            if stop.is_set():
                raise Cancelled
            if count == most:
                reason = FinishReason.LENGTH
                break
            count += 1
            yield TextDelta(index, stream.push(f"{' ' if count > 1 else ''}{word}".encode()))
            if stream.stopped is not None:
                reason = FinishReason.STOP_SEQUENCE
                break
        yield TextDelta(index, stream.finish(), tokens=0)
        timings = Timings(decode=time.monotonic() - began)
        yield Finished(index, reason, Usage(len(words), 0, count), timings, stream.stopped)

    def _first(self, words: list[str]) -> str:
        """The last word of the prompt that has another after it, else the first of the file."""
        return next((word for word in reversed(words) if word in self._pairs), next(iter(self._pairs)))

    def _walk(self, word: str, sampling: Sampling) -> Iterator[str]:
        draw = Random(sampling.seed)
        while after := self._pairs.get(word):
            likeliest = max(after, key=after.__getitem__)
            word = likeliest if sampling.greedy else draw.choices([*after], [*after.values()])[0]
            yield word


def _words_of(request: ResolvedGeneration) -> list[str]:
    match request.prompt:
        case Conversation(messages=messages):
            return messages[-1].text.split()
        case RawText(text=text):
            return text.split()
        case _:
            raise RequestError("The pairs engine has no tokens; send a text.", "prompt")
