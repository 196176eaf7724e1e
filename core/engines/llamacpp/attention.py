"""What forward passes take of memory with flash attention and without, and when there is room to do without."""

from __future__ import annotations

from msgspec.structs import replace

from core.contract.artifact import Artifact
from core.contract.options import LoadOptions

SCORES_MEMORY_DIVISOR = 24
"""The part of the machine's memory, 1 / SCORES_MEMORY_DIVISOR, that attention may take beyond that with flash
attention."""
LEAST_PASS_TOKENS = 128
"""Smaller passes slow prompts down more than plain attention is worth."""


class PassMemory:
    """What forward passes take beside weights and KV cache. Raises ArtifactError where the header cannot be read."""

    def __init__(self, artifact: Artifact, options: LoadOptions) -> None:
        from core.models.fit.sizing import DEFAULT_CONTEXT_TOKENS, DEFAULT_SLOTS, count_cells
        from core.models.formats.read import read_header

        self.header = read_header(artifact)
        usual = min(self.header.trained_context or DEFAULT_CONTEXT_TOKENS, DEFAULT_CONTEXT_TOKENS)
        self.context = options.ctx_size or usual
        self._slots = options.slots or DEFAULT_SLOTS
        self._cells = count_cells(self.context, self._slots)

    def count_bytes(self, size: int, *, flash: bool) -> int:
        """With passes of `size` tokens."""
        from core.models.fit.parts import compute_bytes
        from core.models.fit.sizing import count_outputs_for

        outputs = count_outputs_for(self._slots, self._slots)
        return compute_bytes(self.header, self._cells, size, outputs, flash_attention=flash)


def drop_flash_attention(artifact: Artifact, options: LoadOptions) -> LoadOptions | None:
    """The options without flash attention, and with smaller passes where its scores would take too much memory; None
    where that is no choice, or takes too much with the smallest passes too."""
    from core.hardware import describe_machine

    if options.flash_attention is not None or options.reproducible or options.cache_type.of_values.quantized:
        return None
    if options.placement is not None and not options.placement.on_host:
        # The scores would lie where layers do, and send some of them away; kernels of accelerators gain nothing.
        return None
    passes = PassMemory(artifact, options)
    if options.pooling or passes.header.pooling:
        # Passes over many texts at once, which a trial has none of, are slower without.
        return None
    room = passes.count_bytes(options.pass_tokens, flash=True) + describe_machine().memory // SCORES_MEMORY_DIVISOR
    size = options.pass_tokens
    while size >= min(LEAST_PASS_TOKENS, options.pass_tokens):
        if passes.count_bytes(size, flash=False) <= room:
            smaller = options.micro_batch if size == options.pass_tokens else size
            return replace(options, flash_attention=False, micro_batch=smaller)
        size //= 2
    return None
