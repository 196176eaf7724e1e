"""Encoder graphs as embedders: a text in, a vector out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
from msgspec import Struct

from core.contract.models import ModelSpec
from core.engines.hf_tokenizer import JsonTokenizer
from core.engines.onnx.folder import ModelFolder
from core.engines.onnx.graph import ERRORS, FATAL_LEVEL, Ids, explain_error
from core.engines.onnx.pooling import Floats, Recipe, normalize_vectors, pool_vectors
from core.errors import EngineFailed, Interrupted, LoadFailed

WHOLE: Final = ("sentence_embedding", "text_embeds", "pooled_embeddings")
"""Outputs that are the text's vector already."""
TOKENS: Final = ("last_hidden_state", "token_embeddings", "hidden_states")
"""Outputs with a vector for each token."""
INPUTS: Final = frozenset({"input_ids", "attention_mask", "token_type_ids", "position_ids"})
INTEGERS: Final = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
FLOATS: Final = frozenset({"tensor(float)", "tensor(float16)"})
ROUNDING_DISTANCE: Final = 1e-3
"""Largest distance between two vectors of length one that rounding makes; 16 times that in half precision."""
ROBERTA: Final = frozenset({"roberta", "xlm-roberta", "camembert", "mpnet", "xlm-roberta-xl"})
"""Families that count positions from behind the padding token's number on."""
UNBOUND_TOKENS: Final = 1 << 20
"""Tokenizers without a limit tell an astronomic one."""
FALLBACK_TOKENS: Final = 512
"""Tokens that a text may have where neither the folder nor the graph tells a limit."""


class ChosenOutput(Struct, frozen=True):
    """Of a graph's outputs the one that is taken."""

    name: str
    pooled: bool
    """Whether there is one row for each text."""
    half: bool
    """Whether it is in half precision."""


class SentenceGraph:
    """A loaded encoder. Raises LoadFailed for a graph of another kind."""

    def __init__(
        self,
        name: str,
        session: onnxruntime.InferenceSession,
        find: Callable[[str, onnxruntime.InferenceSession], ChosenOutput] | None = None,
    ) -> None:
        """`find` says which output to take; that with vectors where it is left out."""
        self._session = session
        self.providers: tuple[str, ...] = tuple(session.get_providers())
        self._options = onnxruntime.RunOptions()
        self._options.log_severity_level = FATAL_LEVEL
        inputs = {each.name: each.type for each in session.get_inputs()}
        _refuse_foreign(name, inputs)
        self._types = {each: INTEGERS[kind] for each, kind in inputs.items()}
        chosen = (find or find_vectors)(name, session)
        self._output, self.pooled, self.half = chosen.name, chosen.pooled, chosen.half

    def interrupt(self, on: bool) -> None:
        """From any thread: the run under way, and any later one, ends as soon as it can."""
        self._options.terminate = on

    def run(self, ids: Ids, mask: Ids, types: Ids | None = None) -> Floats:
        """Vectors of the texts (texts, width) where the graph is `pooled`, else of the tokens (texts, length, width).

        `ids`, `mask` and `types`, which are zeros where they are left out, are (texts, length), padded behind.
        """
        kinds = np.zeros_like(ids) if types is None else types
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": kinds}
        given["position_ids"] = np.broadcast_to(np.arange(ids.shape[1], dtype=np.int64), ids.shape)
        feeds = {each: np.ascontiguousarray(given[each], kind) for each, kind in self._types.items()}
        if self._options.terminate:
            raise Interrupted("The pass was interrupted.")
        try:
            (made,) = self._session.run([self._output], feeds, self._options)
        except ERRORS as error:
            if self._options.terminate:
                raise Interrupted("The pass was interrupted.") from error
            raise EngineFailed(f"onnxruntime failed: {explain_error(error)}.") from error
        vectors: Floats = np.asarray(made, np.float32)
        return vectors


class OnnxEmbedder:
    """A graph with its tokenizer and the recipe for what is around it."""

    padded = True

    def __init__(self, graph: SentenceGraph, tokenizer: JsonTokenizer, recipe: Recipe, spec: ModelSpec) -> None:
        self.spec = spec
        self.vocabulary = tokenizer.size
        self._graph = graph
        self._tokenizer = tokenizer
        self._recipe = recipe
        self._padding = find_padding(tokenizer)
        self.batched = True
        """Whether a text's vector is the same beside others as alone; else each is computed by itself."""
        self.width = self._measure()

    def encode(self, text: str, *, limit: int | None = None) -> list[int]:
        return self._tokenizer.framed(text.lower() if self._recipe.lowercase else text, limit)

    def embed(self, inputs: Sequence[Sequence[int]]) -> list[bytes]:
        passes = [inputs] if self.batched else [[each] for each in inputs]
        vectors = np.concatenate([self._vectors(each) for each in passes])
        if not np.isfinite(vectors).all():
            raise EngineFailed("The model computed vectors that are no numbers; try a variant of higher precision.")
        return [vector.tobytes() for vector in vectors.astype("<f4")]

    def interrupt(self, on: bool) -> None:
        self._graph.interrupt(on)

    def shutdown(self) -> None:
        """Nothing is held beyond the graph, which goes with this object."""

    def _vectors(self, inputs: Sequence[Sequence[int]]) -> Floats:
        ids, mask = fill_texts(inputs, self._padding)
        made = self._graph.run(ids, mask)
        if not self._graph.pooled:
            made = pool_vectors(made, mask, self._recipe.modes)
        return normalize_vectors(made) if self._recipe.normalize else made

    def _measure(self) -> int:
        """The width of a vector; on the way, whether texts may be computed together.

        Activations may be quantized over the whole batch, and a mask may be ignored; neither can be read off a graph.
        """
        texts = [self.encode("a short one"), self.encode("and another text that is quite a bit longer than that")]
        texts = [tokens[: self.spec.context] for tokens in texts]
        alone = np.concatenate([self._vectors([tokens]) for tokens in texts])
        try:
            together = self._vectors(texts)
        except EngineFailed:
            self.batched = False
        else:
            rounding = ROUNDING_DISTANCE * (16 if self._graph.half else 1)
            far = np.linalg.norm(normalize_vectors(alone) - normalize_vectors(together), axis=-1).max()
            self.batched = bool(far <= rounding)
        return int(alone.shape[1])


def fill_texts(texts: Sequence[Sequence[int]], padding: int) -> tuple[Ids, Ids]:
    """Tokens and mask (texts, length), padded behind."""
    shape = (len(texts), max(map(len, texts)))
    ids, mask = np.full(shape, padding, np.int64), np.zeros(shape, np.int64)
    for row, tokens in enumerate(texts):
        ids[row, : len(tokens)] = tokens
        mask[row, : len(tokens)] = 1
    return ids, mask


def find_token_limits(folder: ModelFolder, recipe: Recipe) -> tuple[int, int]:
    """Tokens that a text may have as the makers say, and as the graph's positions allow."""
    positions = folder.trained_context(0)
    if folder.architecture in ROBERTA and positions:
        padding = folder.config.get("pad_token_id")
        positions -= 1 + (padding if isinstance(padding, int) else 1)
    told = folder.tokenizer_config.get("model_max_length")
    told = told if isinstance(told, int) and 0 < told < UNBOUND_TOKENS else 0
    positions = positions or max(told, recipe.limit or 0) or FALLBACK_TOKENS
    return min(recipe.limit or told or positions, positions), positions


def find_padding(tokenizer: JsonTokenizer) -> int:
    """Masked out anyway, but it must be a token."""
    found = (tokenizer.id_of(text) for text in ("[PAD]", "<pad>", "<|endoftext|>"))
    return next((token for token in found if token is not None), 0)


def _refuse_foreign(name: str, inputs: dict[str, str]) -> None:
    foreign = sorted(set(inputs) - INPUTS)
    if foreign or "input_ids" not in inputs:
        raise LoadFailed(
            name,
            f"The graph of {name} takes {', '.join(foreign[:4]) or 'no input_ids'}, which this engine does not know "
            "for an embedder; export it as feature-extraction, without a cache.",
        )
    strange = [each for each, kind in inputs.items() if kind not in INTEGERS]
    if strange:
        raise LoadFailed(name, f"The input {strange[0]} of {name} is a {inputs[strange[0]]}, not integers.")


def find_vectors(name: str, session: onnxruntime.InferenceSession) -> ChosenOutput:
    """The output with vectors. Raises LoadFailed where there is none."""
    outputs: dict[str, Any] = {each.name: each for each in session.get_outputs() if each.type in FLOATS}
    for names, pooled in ((WHOLE, True), (TOKENS, False)):
        for each in names:
            if each in outputs:
                return ChosenOutput(each, pooled, outputs[each].type == "tensor(float16)")
    said = ", ".join(each.name for each in session.get_outputs())
    raise LoadFailed(
        name,
        f"The graph of {name} gives {said[:200]}, and neither {WHOLE[0]} nor {TOKENS[0]}; "
        "export it as feature-extraction.",
    )
