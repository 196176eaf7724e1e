"""What loading a model takes of memory, by what it is for; all of it in the machine's own memory.

All of it is arithmetic without effects. Two sums are told apart. `loaded` is what can be measured: how much the
process's resident set grows until the model has computed its first full batch. llama.cpp maps the file into memory, and
Linux reads all of it in at once, so the weights count, and beside them the copies of those that the processor wants
rearranged. `needed` is what has to be had in the end, and decides whether a model fits. It adds the memory that is
touched only as the context fills, and leaves out the mapped originals of copied weights: nothing reads them again, and
the system drops their pages when it wants memory.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from msgspec import Struct

from core.contract.options import DEFAULT_BATCH_TOKENS, KvType
from core.models.fit.pooled import count_attention_bytes, count_logit_bytes
from core.models.fit.sizing import (
    DEFAULT_SLOTS,
    GRAIN_TOKENS,
    ROLLBACK_TOKENS,
    ROUNDING_CELLS,
    count_cells,
    count_outputs_for,
    count_sequences,
)
from core.models.formats.header import Header

FLOAT_BYTES: Final = 4
"""Bytes of an activation."""
MASK_BYTES: Final = 2
"""Bytes of an element of the attention mask; float16 with flash attention, else FLOAT_BYTES."""
WIDE_ROWS: Final = 4
FED_ROWS: Final = 3
"""Rows of the embedding's width, and of the feed-forward part's, that one layer holds at once for each token."""
WORD_BYTES: Final = 150
MERGE_BYTES: Final = 135
"""Bytes that llama.cpp's tokenizer keeps for a word, and for a pair it joins: the strings with the hash tables around
them. Measured by loading vocabularies of 5,000 to 250,000 words alone."""
OVERHEAD_BYTES: Final = 4 << 20
"""Bytes beside everything counted: the library's own pages, threads, what matrix products are prepared in."""
GRAPHS: Final = 3
"""That llama.cpp keeps: the last two that were computed, and the one by which memory was set aside."""
NODE_BYTES: Final = 420
"""Of a graph for each node that it has room for: a tensor of ggml's with its places in lists and hash tables."""
NODES_PER_TENSOR: Final = 8
"""That a graph has room for (`llama_context::graph_max_nodes`)."""
FEWEST_NODES: Final = 1024
TENSORS_PER_LAYER: Final = 12
"""Where a header does not tell its tensors."""
REARRANGED: Final[dict[str, frozenset[str]]] = {
    "avx2": frozenset({"Q4_0", "Q4_K", "IQ4_NL"}),
    "avx512f": frozenset({"Q2_K"}),
    "amx_int8": frozenset({"Q4_0", "Q4_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K", "IQ4_XS"}),
    "asimddp": frozenset({"Q4_0", "IQ4_NL"}),
    "i8mm": frozenset({"Q4_0", "Q4_K"}),
}
"""By a processor's feature, the types of which llama.cpp keeps a rearranged copy (ggml's `repack.cpp` and `amx.cpp`).
Those of AVX were seen; those of AMX and ARM are as the source has it."""


class Setup(Struct, frozen=True):
    """How a model would be loaded: `LoadOptions` with every value decided."""

    context: int
    """Tokens a single request may hold."""
    kv: KvType = KvType.F16
    slots: int = DEFAULT_SLOTS
    batch: int = DEFAULT_BATCH_TOKENS
    micro_batch: int | None = None
    """None: as large as the batch."""
    flash_attention: bool = True
    windowed: bool = False
    """Layers that look back a window keep no more than it. llama.cpp is loaded so where `swa_full` is off, since
    prompts cannot be reused at any token then; MLX keeps the window."""
    grows: bool = False
    """The KV cache takes memory as it fills (MLX, onnxruntime); llama.cpp sets all of it aside and clears it."""
    reproducible: bool = False
    """Every sequence has a whole context."""
    mtp: bool = False
    """The heads that guess several tokens ahead are loaded; they are computed in a context of their own."""
    pooled: bool = False
    """It makes vectors or scores of whole texts, and keeps nothing between passes."""
    rearranged: frozenset[str] = frozenset()
    """Types of which a copy is kept, see `list_rearranged_types`."""


class Parts(Struct, frozen=True):
    """Bytes of an estimate, by what they are for."""

    weights: int
    copies: int
    """Of weights, rearranged."""
    kv: int
    """Keys and values that are set aside at once, and recurrent states."""
    compute: int
    """Activations of one batch, while the context is empty."""
    filling: int
    """What a full context takes beyond `compute`: activations that are not touched yet, and a KV cache that grows."""
    output: int
    """Logits."""
    vocabulary: int
    overhead: int
    beside: int = 0
    """A draft model, adapters."""

    @property
    def loaded(self) -> int:
        """What the process grows by until the first batch is computed."""
        return self._once + self.copies

    @property
    def needed(self) -> int:
        """What has to be free, with a full context and without the originals of what was copied."""
        return self._once + self.filling

    @property
    def _once(self) -> int:
        return self.weights + self.kv + self.compute + self.output + self.vocabulary + self.overhead + self.beside


class Passes(Struct, frozen=True):
    """What a setup comes to in cells and tokens, which all parts but the weights are counted by."""

    cells: int
    """Tokens of the KV cache, of all sequences together."""
    seen: int
    """Cells that one pass looks at, at most."""
    begun: int
    """Those that the first full batch and one token more look at."""
    sequences: int
    outputs: int
    """Rows of logits."""
    batch: int
    computed: int
    """Tokens of one forward pass."""
    flash: bool


def count_passes(header: Header, setup: Setup) -> Passes:
    """See `sizing.choose_sizes`, and `pooled.choose_pooled_sizes` for models that compute a text in one pass: the pass
    of the longest text is touched with the first such text."""
    if setup.pooled:
        longest = max(setup.context, setup.batch)
        return Passes(longest, longest, setup.batch, 1, longest, longest, longest, setup.flash_attention)
    cells = count_cells(setup.context, setup.slots, apart=setup.reproducible)
    rigid = header.recurrent or (setup.windowed and not setup.grows and header.window is not None)
    sequences = count_sequences(setup.slots, residents=not rigid and not setup.reproducible)
    batch = max(setup.batch, setup.slots)
    # A pass looks at one sequence's own cells where every sequence has its own.
    seen = cells // sequences if setup.reproducible else cells
    return Passes(
        cells=cells,
        seen=seen,
        # The attention mask grows in steps, and after a first batch and one more token it is one step beyond the batch.
        begun=min(seen, batch + ROUNDING_CELLS),
        sequences=sequences,
        outputs=count_outputs_for(sequences, setup.slots),
        batch=batch,
        computed=GRAIN_TOKENS if setup.reproducible else min(batch, setup.micro_batch or batch, cells),
        flash=setup.flash_attention,
    )


def count_kept_bytes(header: Header, setup: Setup, passes: Passes) -> tuple[int, int]:
    """Of keys and values, and of recurrent states. Of some layers, where the header has those alone."""
    if setup.pooled:
        return header.kv_bytes(passes.cells, KvType.F16), 0
    # If a KV cache grows, a window is set aside for what runs; llama.cpp sets one aside for each sequence.
    others = 0 if setup.grows else (header.window or 0) * (passes.sequences - 1)
    kv = header.kv_bytes(passes.cells, setup.kv, windowed=setup.windowed, ahead=others + passes.batch, mtp=setup.mtp)
    return kv, header.state_bytes(passes.sequences) * (1 + ROLLBACK_TOKENS * setup.mtp)


def count_pass_bytes(header: Header, setup: Setup, passes: Passes, outputs: int) -> tuple[int, int]:
    """What passes compute with that draw from so many rows: at first, and with a full context."""
    if setup.pooled:
        return _count_pooled_pass(header, passes, passes.begun), _count_pooled_pass(header, passes, passes.computed)
    empty, full = (
        compute_bytes(header, cells, passes.computed, rows, flash_attention=passes.flash)
        # The first passes draw once, whatever number of rows there is room for.
        for cells, rows in ((passes.begun, min(outputs, 1)), (passes.seen, outputs))
    )
    return empty, full


def count_draw_bytes(header: Header, setup: Setup, passes: Passes) -> int:
    """What the logits of a pass are computed with; a part of what `count_pass_bytes` tells for a pass that draws."""
    if setup.pooled:
        return 0
    return _count_draw_bytes(header, passes.computed, passes.outputs)


def _count_draw_bytes(header: Header, batch: int, outputs: int) -> int:
    return FLOAT_BYTES * (outputs * header.vocabulary + batch * header.width)


def _count_pooled_pass(header: Header, passes: Passes, tokens: int) -> int:
    attention = count_attention_bytes(header.heads, tokens, flash_attention=passes.flash)
    return max(compute_bytes(header, tokens, tokens, 0), attention)


def count_logits(header: Header, setup: Setup, passes: Passes) -> tuple[int, int]:
    """Of the logits that are drawn from, which lie with the host: at first, and with the longest text."""
    if not setup.pooled:
        logits = passes.outputs * header.vocabulary * FLOAT_BYTES
        return logits, logits
    return count_logit_bytes(header.vocabulary, setup.batch), count_logit_bytes(header.vocabulary, passes.computed)


def count_mtp_bytes(header: Header, setup: Setup, passes: Passes) -> int:
    """What heads that guess ahead compute with: one layer and the logits of each sequence, computed apart, and the
    hidden states that go from here to there."""
    if not setup.mtp:
        return 0
    return FLOAT_BYTES * (passes.sequences * header.vocabulary + 2 * passes.batch * header.width)


def count_mask_bytes(header: Header, cells: int, batch: int, *, flash_attention: bool) -> int:
    """Of the attention masks: there are two where some layers look back a window and others do not."""
    kinds = {layer.window is None for layer in header.layers if layer.elements}
    return batch * cells * (MASK_BYTES if flash_attention else FLOAT_BYTES) * len(kinds)


def count_overhead(header: Header) -> int:
    """What there is beside all that is counted otherwise: most of it are llama.cpp's graphs, which grow with the number
    of tensors that a model has."""
    tensors = len(header.tensors) or TENSORS_PER_LAYER * len(header.layers)
    return OVERHEAD_BYTES + GRAPHS * NODE_BYTES * max(FEWEST_NODES, NODES_PER_TENSOR * tensors)


def count_tokenizer_bytes(header: Header) -> int:
    return header.vocabulary * WORD_BYTES + header.merges * MERGE_BYTES


def add_parts(parts: Iterable[Parts]) -> Parts:
    """Of all devices together."""
    each = list(parts)
    return Parts(*(sum(getattr(part, name) for part in each) for name in Parts.__struct_fields__))


def compute_bytes(header: Header, cells: int, batch: int, outputs: int, *, flash_attention: bool = True) -> int:
    """llama.cpp's compute buffer: the most that is alive at once of a graph over `batch` tokens, a micro-batch.

    With n tokens, c cells, h heads, width w and feed-forward width f the buffer is the largest of

        feed-forward   4n (4w + 3f)  + mask     residual and norm with the holes they leave; gate, up and their product
        attention      4nch + 4n 5w  + mask     scores of every head, without flash attention only
        logits         4 outputs vocabulary + 4nw

    where the mask is 2nc bytes with flash attention and 4nc without, and there are two where some layers look back a
    window and others do not. Found from what ggml's allocator keeps alive, and checked against the sizes that
    llama.cpp reports for six shapes in 34 settings: within 6%, save one 11% too small and one 20% too large. Layers
    with recurrent states are counted as others are, which is too little for them.
    """
    fed = FLOAT_BYTES * batch * (WIDE_ROWS * header.width + FED_ROWS * header.hidden)
    logits = _count_draw_bytes(header, batch, outputs)
    attending = any(layer.elements for layer in header.layers)
    mask = count_mask_bytes(header, cells, batch, flash_attention=flash_attention)
    scores = 0 if flash_attention else FLOAT_BYTES * batch * (cells * header.heads + 5 * header.width) * attending
    return max(fed + mask, scores + mask, logits)


def list_rearranged_types(features: Collection[str], *, extra_buffers: bool = True) -> frozenset[str]:
    """Types of which llama.cpp keeps copies on a processor with these features (`Machine.features`)."""
    if not extra_buffers:
        return frozenset()
    return frozenset().union(*(types for feature, types in REARRANGED.items() if feature in features))
