"""A GGUF model in llama.cpp whose sequences are computed apart, so that each comes out alike in any company."""

from __future__ import annotations

from collections.abc import Sequence

from core.contract.step import SequenceId, Step, Work
from core.engines.llamacpp.model import TrimmingLlamaModel
from core.requests import Sampling


class ReproducibleLlamaModel(TrimmingLlamaModel):
    """Every sequence has KV cells of its own, in order and from the first on, and a pass holds a single sequence.

    Which kernel computes a row, and in which order it sums, depends on how many rows a pass has and on where the cells
    lie; here both follow from the sequence alone.
    """

    def step(self, work: Sequence[Work]) -> Sequence[Step]:
        return [step for item in work for step in super(ReproducibleLlamaModel, self).step([item])]

    def fork(self, sequence: SequenceId, length: int, sampling: Sampling, history: Sequence[int] = ()) -> SequenceId:
        """Copies the state: sequences that have cells of their own cannot share any."""
        child = self.restore(self.save(sequence), sampling, history)
        self.trim(child, length)
        return child
