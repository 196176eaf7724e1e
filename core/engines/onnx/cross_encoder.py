"""Graphs that read a query and a document together and give one number: how well the document answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import onnxruntime  # type: ignore[import-untyped]

from core.contract.models import ModelSpec, TokenPair
from core.engines.hf_tokenizer import JsonTokenizer
from core.engines.onnx.pooling import Floats
from core.engines.onnx.sentence import (
    FLOATS,
    ROUNDING_DISTANCE,
    ChosenOutput,
    SentenceGraph,
    fill_texts,
    find_padding,
)
from core.errors import EngineFailed, LoadFailed

LOGITS: Final = ("logits", "logit")
SHARES: Final = ("scores", "score", "probabilities", "probs", "sigmoid")
"""Outputs behind the logistic function."""
QUERY: Final = "a question"
DOCUMENTS: Final = ("a short one", "and another text that is quite a bit longer than that")


class OnnxReranker:
    """A graph with its tokenizer."""

    padded = True

    def __init__(self, graph: SentenceGraph, tokenizer: JsonTokenizer, spec: ModelSpec, *, bounded: bool) -> None:
        """Raises EngineFailed where the graph does not run, or gives more than a number a pair."""
        self.spec = spec
        self.vocabulary = tokenizer.size
        self.bounded = bounded
        self._graph = graph
        self._tokenizer = tokenizer
        self._padding = find_padding(tokenizer)
        self.batched = True
        """Whether a pair's score is the same beside others as alone; else each is computed by itself."""
        self.batched = self._measure_batching()

    def encode_pair(self, query: str, document: str, *, limit: int | None = None) -> TokenPair:
        return TokenPair(*self._tokenizer.framed_pair(query, document, limit))

    def score(self, pairs: Sequence[TokenPair]) -> list[float]:
        passes = [pairs] if self.batched else [[each] for each in pairs]
        scores = np.concatenate([self._pass(each) for each in passes])
        if not np.isfinite(scores).all():
            raise EngineFailed("The model computed scores that are no numbers; try a variant of higher precision.")
        made: list[float] = scores.tolist()
        return made

    def interrupt(self, on: bool) -> None:
        self._graph.interrupt(on)

    def shutdown(self) -> None:
        """Nothing is held beyond the graph, which goes with this object."""

    def _pass(self, pairs: Sequence[TokenPair]) -> Floats:
        ids, mask = fill_texts([pair.tokens for pair in pairs], self._padding)
        types = np.zeros_like(ids)
        for row, pair in enumerate(pairs):
            types[row, pair.second : len(pair)] = 1
        made = self._graph.run(ids, mask, types).reshape(len(pairs), -1)
        if made.shape[1] != 1:
            raise EngineFailed(f"The graph gives {made.shape[1]} numbers for a pair, and a reranker gives one.")
        return made[:, 0]

    def _measure_batching(self) -> bool:
        """A mask may be ignored, and activations quantized over the whole batch; neither can be read off a graph."""
        pairs = [self.encode_pair(QUERY, document, limit=self.spec.context) for document in DOCUMENTS]
        alone = np.concatenate([self._pass([pair]) for pair in pairs])
        try:
            together = self._pass(pairs)
        except EngineFailed:
            return False
        rounding = ROUNDING_DISTANCE * (16 if self._graph.half else 1) * max(1.0, float(np.abs(alone).max()))
        return bool(np.abs(alone - together).max() <= rounding)


def find_score(name: str, session: onnxruntime.InferenceSession) -> ChosenOutput:
    """The output with a number for each pair. Raises LoadFailed where there is none."""
    outputs: dict[str, Any] = {each.name: each for each in session.get_outputs() if each.type in FLOATS}
    for each in (*LOGITS, *SHARES):
        if each in outputs:
            return ChosenOutput(each, True, outputs[each].type == "tensor(float16)")
    said = ", ".join(each.name for each in session.get_outputs())
    raise LoadFailed(name, f"The graph of {name} gives {said[:200]}, and no logits; export it as text-classification.")


def is_bounded(name: str, session: onnxruntime.InferenceSession) -> bool:
    """Whether the scores are from 0 to 1."""
    return find_score(name, session).name in SHARES


def count_labels(config: Mapping[str, Any]) -> int:
    """Classes that a model sorts into; zero where its configuration does not say."""
    labels = config.get("id2label") or config.get("label2id")
    if isinstance(labels, Mapping):
        return len(labels)
    told = config.get("num_labels")
    return told if isinstance(told, int) else 0
