"""A model of onnxruntime-genai as one of our loop: a generator of the library for each sequence, tokens drawn by us.

The library computes logits when tokens are appended (`append_tokens`, `get_logits`) and takes tokens back
(`rewind_to`); see https://onnxruntime.ai/docs/genai/api/python.html. It cannot copy what a generator holds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
from msgspec import Struct

from core.contract.models import ModelSpec
from core.contract.step import SequenceId, Step, Work
from core.decoding.sampling import Sampler
from core.decoding.verify import verify_draft
from core.engines.hf_tokenizer import JsonTokenizer
from core.errors import EngineError, EngineFailed, Interrupted, LoadFailed
from core.requests import Sampling

if TYPE_CHECKING:
    from core.decoding.sampling import Logits

    Native = Any
    """The library is untyped."""

MAGIC: Final = b"BTG1"
SUM_BYTES: Final = 32
Made = TypeVar("Made")


class _GenaiSequence(Struct):
    """A sequence: the library's generator, the tokens in it, and how it draws."""

    generator: Native
    tokens: list[int]
    sampler: Sampler


def open_library(name: str, folder: Path, threads: int, providers: Sequence[str], card: int | None) -> Native:
    """The library's model, on those of the folder's `providers` that are to be used. `card`: the number of the one that
    they use. Raises LoadFailed."""
    try:
        library = import_module("onnxruntime_genai")
        config = library.Config(str(folder))
        config.overlay(build_overlay(threads))
        if not providers:
            config.clear_providers()
        for provider in providers if card is not None else ():
            config.set_provider_option(provider, "device_id", str(card))
        return library.Model(config)
    except (RuntimeError, ValueError, ImportError) as error:
        raise LoadFailed(name, f"onnxruntime-genai will not run {name}: {_sentence(error)}.") from error


class GenaiModel:
    """Sequences are computed one after another: the library shares no pass among generators."""

    def __init__(self, name: str, native: Native, tokenizer: JsonTokenizer, spec: ModelSpec) -> None:
        """Raises LoadFailed where not even one token can be computed."""
        self.spec = spec
        self.tokenizer = tokenizer
        self._native = native
        self._ids = count()
        self._sequences: dict[SequenceId, _GenaiSequence] = {}
        self._interrupted = False
        try:
            self._feed(self._add(Sampling(), ()), [0])
        except EngineError as error:
            raise LoadFailed(name, f"{name} loads but does not run: {error}") from error
        self._sequences.clear()

    def open(self, sampling: Sampling, history: Sequence[int] = ()) -> SequenceId:
        return self._add(sampling, history)

    def step(self, work: Sequence[Work]) -> Sequence[Step]:
        if sum(len(item.tokens) + len(item.draft) for item in work) > self.spec.batch:
            raise EngineFailed(f"A step takes {self.spec.batch} tokens at most.")
        return [self._one(item) for item in work]

    def save(self, sequence: SequenceId) -> bytes:
        """The tokens alone: what the library computed of them cannot be taken out of it."""
        body = np.asarray(self._sequences[sequence].tokens, "<i4").tobytes()
        return MAGIC + hashlib.sha256(body).digest() + body

    def restore(self, data: bytes, sampling: Sampling, history: Sequence[int] = ()) -> SequenceId:
        """Computes the saved tokens again."""
        body = data[len(MAGIC) + SUM_BYTES :]
        if data[: len(MAGIC)] != MAGIC or hashlib.sha256(body).digest() != data[len(MAGIC) : len(MAGIC) + SUM_BYTES]:
            raise EngineError("The saved state is damaged, or not one of onnxruntime-genai's sequences.")
        sequence = self._add(sampling, history)
        tokens = np.frombuffer(body, "<i4").tolist()
        try:
            for start in range(0, len(tokens), self.spec.batch):
                self._feed(sequence, tokens[start : start + self.spec.batch])
        except EngineError:
            self.close(sequence)
            raise
        return sequence

    def close(self, sequence: SequenceId) -> None:
        del self._sequences[sequence]

    def interrupt(self, on: bool) -> None:
        self._interrupted = on

    def shutdown(self) -> None:
        self._sequences.clear()
        self._native = None

    def _add(self, sampling: Sampling, history: Sequence[int]) -> SequenceId:
        if len(self._sequences) >= self.spec.sequences:
            raise EngineError(f"All {self.spec.sequences} sequences are open already.")
        generator = _asked(self._generator)
        sequence = SequenceId(next(self._ids))
        self._sequences[sequence] = _GenaiSequence(generator, [], Sampler(sampling, history, self.spec.context))
        return sequence

    def _generator(self) -> Native:
        library = import_module("onnxruntime_genai")
        parameters = library.GeneratorParams(self._native)
        # Drawing is ours; this keeps the library from any work on the logits.
        parameters.set_search_options(max_length=self.spec.context, do_sample=False, num_beams=1)
        return library.Generator(self._native, parameters)

    def _one(self, work: Work) -> Step:
        """Guesses are looked at one by one: the library tells the logits of the last token only."""
        running = self._sequences[work.sequence]
        rows = [self._feed(work.sequence, work.tokens)]
        if not work.sample:
            return Step()

        def draw(index: int, mask: bytes | None) -> int:
            if index:
                rows.append(self._feed(work.sequence, work.draft[index - 1 : index]))
            return running.sampler.draw(rows[index], mask)

        return running.sampler.tell(verify_draft(work, draw), rows)

    def _feed(self, sequence: SequenceId, tokens: Sequence[int]) -> Logits:
        """Append tokens, one at least; the logits behind the last."""
        if self._interrupted:
            raise Interrupted("The step was interrupted.")
        running = self._sequences[sequence]
        _asked(lambda: running.generator.append_tokens(np.asarray(tokens, np.int32)))
        running.tokens += tokens
        made = np.array(_asked(running.generator.get_logits), np.float32)
        logits: Logits = made.reshape(-1, made.shape[-1])[-1]
        return logits


def _asked(call: Callable[[], Made]) -> Made:
    """What the library answers. Raises EngineFailed."""
    try:
        return call()
    except (RuntimeError, ValueError) as error:
        raise EngineFailed(f"onnxruntime-genai failed: {_sentence(error)}.") from error


def _sentence(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(". ")[:300] or type(error).__name__


def build_overlay(threads: int) -> str:
    """What is laid over a folder's configuration."""
    session = {"intra_op_num_threads": threads}
    return json.dumps({"model": {"decoder": {"session_options": session}}})
