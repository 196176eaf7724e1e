"""Passes of a GGUF model that makes one vector of each text: many texts side by side, nothing kept between passes."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence

import llama_cpp as native
import numpy as np
import numpy.typing as npt

from core.contract.models import ModelSpec
from core.engines.llamacpp.batch import NativeBatch
from core.engines.llamacpp.model import ABORTED, FAILURES, NO_SLOT
from core.engines.llamacpp.samplers import AbortFlag
from core.engines.llamacpp.tokenizer import LlamaTokenizer
from core.errors import EngineFailed, Interrupted
from core.models.fit.sizing import MOST_SEQUENCES

Vectors = npt.NDArray[np.float32]


class LlamaEncoder:
    """A model and its context, which pools the tokens of a sequence; takes both over, and frees them at last."""

    padded = False

    def __init__(
        self,
        model: native.llama_model_p,
        context: native.llama_context_p,
        tokenizer: LlamaTokenizer,
        spec: ModelSpec,
        *,
        width: int,
    ) -> None:
        """`width`: numbers that the model makes of a text."""
        self.spec = spec
        self.vocabulary = tokenizer.size
        self.width = width
        self._tokenizer = tokenizer
        self._model: native.llama_model_p | None = model
        self._context = context
        self._memory = native.llama_get_memory(context)
        self._most = int(native.llama_n_batch(context))
        """Tokens of a pass."""
        self._batch = NativeBatch(self._most)
        self._encode = native.llama_encode if native.llama_model_has_encoder(model) else native.llama_decode
        self._abort = AbortFlag()
        self._abort.attach(context)

    def interrupt(self, on: bool) -> None:
        self._abort.set(on)

    def set_threads(self, decode: int, batch: int) -> None:
        """All passes are batches."""
        native.llama_set_n_threads(self._context, decode, batch)

    def shutdown(self) -> None:
        if self._model is None:
            return
        self._tokenizer.close()
        native.llama_free(self._context)
        native.llama_model_free(self._model)
        self._model = None

    def compute(self, texts: Sequence[Sequence[int]]) -> Vectors:
        """What the model makes of each text: (texts, width). Raises Interrupted, EngineFailed."""
        made: Vectors = np.empty((len(texts), self.width), np.float32)
        for portion in self._divide(texts):
            self._pass([texts[index] for index in portion])
            for sequence, index in enumerate(portion):
                vector = native.llama_get_embeddings_seq(self._context, sequence)
                if not vector:
                    raise EngineFailed("llama.cpp made no vector of a text; the model has no pooling.")
                ctypes.memmove(made[index].ctypes.data, vector, made.itemsize * self.width)
        if not np.isfinite(made).all():
            raise EngineFailed("The model computed what are no numbers; try a quantization of higher precision.")
        return made

    def _divide(self, texts: Sequence[Sequence[int]]) -> Iterator[range]:
        """The texts in passes that llama.cpp can take."""
        start = held = 0
        for index, tokens in enumerate(texts):
            if len(tokens) > self._most:
                raise EngineFailed(f"A text has {len(tokens)} tokens, and a pass takes {self._most} at most.")
            if index > start and (held + len(tokens) > self._most or index - start == MOST_SEQUENCES):
                yield range(start, index)
                start, held = index, 0
            held += len(tokens)
        yield range(start, len(texts))

    def _pass(self, texts: Sequence[Sequence[int]]) -> None:
        if self._memory:
            native.llama_memory_clear(self._memory, False)
        end = 0
        for sequence, tokens in enumerate(texts):
            end = self._batch.fill(end, tokens, 0, sequence, len(tokens))
        self._batch.native.n_tokens = end
        result = self._encode(self._context, self._batch.native)
        if result == ABORTED:
            raise Interrupted("The pass was interrupted.")
        if result != 0:
            why = "its memory has no room" if result == NO_SLOT else FAILURES.get(result, "it did not say why")
            raise EngineFailed(f"llama.cpp could not compute {end} tokens: {why} (code {result}).")
