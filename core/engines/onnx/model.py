"""A decoder graph as a model of our loop: many sequences, batched where the graph allows it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

import numpy as np
from msgspec import Struct

from core.contract.models import ModelSpec
from core.contract.step import SequenceId, Step, Work
from core.decoding.sampling import Sampler
from core.decoding.verify import verify_draft
from core.engines.hf_tokenizer import JsonTokenizer
from core.engines.onnx.batching import Batching, group_work
from core.engines.onnx.cache import KvBlock, SequenceView, advance_views
from core.engines.onnx.graph import Floats, Graph
from core.engines.onnx.state import pack_arrays, unpack_arrays
from core.errors import EngineError, EngineFailed, Interrupted
from core.requests import Sampling


class _OnnxSequence(Struct):
    """A sequence: what it holds, and how it draws."""

    view: SequenceView
    sampler: Sampler


class OnnxModel:
    """Any decoder graph with a KV cache. Keeps no cells of its own: what the loop counts is what sequences hold."""

    def __init__(self, graph: Graph, tokenizer: JsonTokenizer, spec: ModelSpec, batching: Batching) -> None:
        self.spec = spec
        self.tokenizer = tokenizer
        self._graph = graph
        self._batching = batching
        self._ids = count()
        self._sequences: dict[SequenceId, _OnnxSequence] = {}
        self._nothing = KvBlock(graph.empty(1), 1, 0)

    def open(self, sampling: Sampling, history: Sequence[int] = ()) -> SequenceId:
        return self._add(SequenceView(self._nothing, 0, 0, 0), sampling, history)

    def step(self, work: Sequence[Work]) -> Sequence[Step]:
        if self._graph.interrupted:
            raise Interrupted("The step was interrupted.")
        if sum(len(item.tokens) + len(item.draft) for item in work) > self.spec.batch:
            raise EngineFailed(f"A step takes {self.spec.batch} tokens at most.")
        steps: dict[int, Step] = {}
        lengths = [self._sequences[item.sequence].view.length for item in work]
        for indices in group_work(work, lengths, self._batching):
            logits = self._forward([work[index] for index in indices])
            for index, rows in zip(indices, logits, strict=True):
                steps[index] = self._finish(work[index], rows)
        return [steps[index] for index in range(len(work))]

    def fork(self, sequence: SequenceId, length: int, sampling: Sampling, history: Sequence[int] = ()) -> SequenceId:
        return self._add(self._sequences[sequence].view.share(length), sampling, history)

    def trim(self, sequence: SequenceId, length: int) -> None:
        view = self._sequences[sequence].view
        view.length = min(length, view.length)

    def save(self, sequence: SequenceId) -> bytes:
        return pack_arrays(self._graph.pasts, self._sequences[sequence].view.arrays())

    def restore(self, data: bytes, sampling: Sampling, history: Sequence[int] = ()) -> SequenceId:
        graph = self._graph
        arrays = unpack_arrays(data, graph.pasts, graph.shapes, graph.dtype)
        length = arrays[0].shape[1]
        block = KvBlock([graph.value(array[None].copy()) for array in arrays], 1, length)
        return self._add(SequenceView(block, 0, 0, length), sampling, history)

    def close(self, sequence: SequenceId) -> None:
        self._sequences.pop(sequence).view.leave()

    def interrupt(self, on: bool) -> None:
        self._graph.interrupt(on)

    def shutdown(self) -> None:
        self._sequences.clear()

    def _add(self, view: SequenceView, sampling: Sampling, history: Sequence[int]) -> SequenceId:
        if len(self._sequences) >= self.spec.sequences:
            view.leave()
            raise EngineError(f"All {self.spec.sequences} sequences are open already.")
        sequence = SequenceId(next(self._ids))
        self._sequences[sequence] = _OnnxSequence(view, Sampler(sampling, history, self.spec.context))
        return sequence

    def _forward(self, work: Sequence[Work]) -> Floats:
        """One run of the graph: logits (sequences, tokens to draw at least, vocabulary)."""
        views = [self._sequences[item.sequence].view for item in work]
        ids = np.array([[*item.tokens, *item.draft] for item in work], np.int64)
        keep = max(1 + len(item.draft) if item.sample else 1 for item in work)
        return advance_views(self._graph, views, ids, keep, trailing=self._batching is Batching.TRAILING)

    def _finish(self, work: Work, logits: Floats) -> Step:
        """Draw where asked, and take back the guesses that did not come true."""
        if not work.sample:
            return Step()
        state = self._sequences[work.sequence]
        rows = logits[len(logits) - 1 - len(work.draft) :]
        drawn = verify_draft(work, lambda index, mask: state.sampler.draw(rows[index], mask))
        state.view.length -= len(work.draft) - (len(drawn) - 1)
        return state.sampler.tell(drawn, rows)
