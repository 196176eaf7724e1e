"""Whether a model fits: the bytes that loading it takes, told by its header, against the memory that is free.

All of it is arithmetic without effects. `records.py` keeps how much loading really took, which corrects the next
estimate.

Two sums are told apart. `loaded` is what can be measured: how much the process's resident set grows until the model
has computed its first full batch. llama.cpp maps the file into memory, and Linux reads all of it in at once, so the
weights count, and beside them the copies of those that the processor wants rearranged. `needed` is what has to be had
in the end, and decides whether a model fits. It adds the memory that is touched only as the context fills, and leaves
out the mapped originals of copied weights: nothing reads them again, and the system drops their pages when it wants
memory.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from enum import Enum
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from core.contract.options import DEFAULT_BATCH_TOKENS, KvType, LoadOptions
from core.devices.device import Device, DeviceKind
from core.models.fit.pooled import choose_pooled_sizes, count_attention_bytes, count_logit_bytes
from core.models.fit.sizing import (
    DEFAULT_CONTEXT_TOKENS,
    DEFAULT_SLOTS,
    GRAIN_TOKENS,
    ROLLBACK_TOKENS,
    ROUNDING_CELLS,
    choose_sizes,
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
OVERHEAD_BYTES: Final = 6 << 20
"""Bytes beside everything counted: the library's own pages, graphs, threads."""
TIGHT_SHARE: Final = 0.9
"""Share of the free memory above which it is tight: other programs want some soon."""
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
        return self.weights + self.kv + self.compute + self.output + self.vocabulary + self.overhead


class Verdict(Enum):
    FITS = "fits"
    TIGHT = "tight"
    """It can be loaded, and leaves next to no memory for other programs."""
    DOES_NOT_FIT = "does not fit"


class Fit(Struct, frozen=True):
    """An answer to a question; the model may be loaded all the same."""

    verdict: Verdict
    parts: Parts
    device: Device
    """The device on which it fits best."""
    notes: tuple[str, ...] = ()

    @property
    def lacking(self) -> int:
        """Bytes that would have to become free."""
        return max(0, self.parts.needed - self.device.free)


Correction = Callable[[Parts], Parts]
"""What earlier loads have taught; see `core.models.fit.records`."""


def leave_uncorrected(parts: Parts) -> Parts:
    return parts


def judge_fit(header: Header, setup: Setup, memory: Sequence[Device], correct: Correction = leave_uncorrected) -> Fit:
    """The verdict for the device on which the model fits best. `memory` must not be empty."""
    parts = correct(estimate_parts(header, setup))
    judged = [(_judge(parts, device), device) for device in _accelerators_first(memory)]
    order = list(Verdict)
    verdict, device = min(judged, key=lambda each: (order.index(each[0]), -each[1].free if _bad(each[0]) else 0))
    return Fit(verdict, parts, device, header.notes)


def choose_setup(header: Header, options: LoadOptions, available: int, features: Collection[str]) -> Setup:
    """What loading with these options chooses of what they leave open, with `available` bytes free now on a processor
    with `features`."""
    if header.pooling or options.pooling:
        return _choose_pooled_setup(header, options, available, features)
    sizes = choose_sizes(
        options,
        header.trained_context or DEFAULT_CONTEXT_TOKENS,
        header.kv_bytes_per_token(options.cache_type, mtp=options.mtp),
        max(0, available - header.loaded_bytes(mtp=options.mtp)),
        residents=not header.recurrent and not (options.cuts_windows and header.window),
    )
    return Setup(
        context=sizes.context,
        kv=options.cache_type,
        slots=sizes.slots,
        batch=options.step_tokens,
        micro_batch=options.micro_batch,
        flash_attention=options.blockwise_attention,
        windowed=options.cuts_windows,
        reproducible=bool(options.reproducible),
        mtp=options.mtp and bool(header.mtp_layers),
        rearranged=list_rearranged_types(features, extra_buffers=options.repacks),
    )


def _choose_pooled_setup(header: Header, options: LoadOptions, available: int, features: Collection[str]) -> Setup:
    left = max(0, available - header.weight_bytes)
    sizes = choose_pooled_sizes(options, header.trained_context, header.vocabulary, left)
    return Setup(
        context=sizes.context,
        slots=1,
        batch=sizes.batch,
        flash_attention=options.blockwise_attention,
        pooled=True,
        rearranged=list_rearranged_types(features, extra_buffers=options.repacks),
    )


def find_largest_context(
    header: Header, setup: Setup, memory: Sequence[Device], correct: Correction = leave_uncorrected
) -> int | None:
    """The most tokens a request may hold so that the model still fits, and not only just; at most what it was trained
    on. None where no context fits, `setup.context` has no say."""
    most = header.trained_context or setup.context

    def fits(context: int) -> bool:
        return judge_fit(header, replace(setup, context=context), memory, correct).verdict is Verdict.FITS

    if fits(most):
        return most
    low, high = 0, most // ROUNDING_CELLS
    while low < high:
        middle = -(-(low + high) // 2)
        low, high = (middle, high) if fits(middle * ROUNDING_CELLS) else (low, middle - 1)
    return low * ROUNDING_CELLS if low else None


def estimate_parts(header: Header, setup: Setup) -> Parts:
    """Bytes of each part, as llama.cpp lays a model out with this workbench's settings; see `sizing.size`.

    For other engines it is rougher: weights and KV cache are the same, what they compute with is not.
    """
    if setup.pooled:
        return _estimate_pooled_parts(header, setup)
    cells = count_cells(setup.context, setup.slots, apart=setup.reproducible)
    rigid = header.recurrent or (setup.windowed and not setup.grows and header.window is not None)
    sequences = count_sequences(setup.slots, residents=not rigid and not setup.reproducible)
    outputs = count_outputs_for(sequences, setup.slots)
    batch = max(setup.batch, setup.slots)
    flash = setup.flash_attention
    # A pass looks at one sequence's own cells where every sequence has its own.
    seen = cells // sequences if setup.reproducible else cells
    computed = GRAIN_TOKENS if setup.reproducible else min(batch, setup.micro_batch or batch, cells)
    # The attention mask grows in steps, and after a first batch and one more token it is one step beyond the batch.
    empty = compute_bytes(header, min(seen, batch + ROUNDING_CELLS), computed, outputs, flash_attention=flash)
    full = compute_bytes(header, seen, computed, outputs, flash_attention=flash)
    # llama.cpp sets a window aside for each sequence; MLX has what runs.
    others = 0 if setup.grows else (header.window or 0) * (sequences - 1)
    kv = header.kv_bytes(cells, setup.kv, windowed=setup.windowed, ahead=others + batch, mtp=setup.mtp)
    # One layer and the logits of each sequence, computed apart; and the hidden states that go from here to there.
    ahead = FLOAT_BYTES * (sequences * header.vocabulary + 2 * batch * header.width) if setup.mtp else 0
    return Parts(
        weights=header.loaded_bytes(mtp=setup.mtp),
        copies=sum(portion.bytes for portion in header.portions if portion.type in setup.rearranged),
        kv=header.state_bytes(sequences) * (1 + ROLLBACK_TOKENS * setup.mtp) + (0 if setup.grows else kv),
        compute=empty + ahead,
        filling=full - empty + (kv if setup.grows else 0),
        output=outputs * header.vocabulary * FLOAT_BYTES,
        vocabulary=header.vocabulary * WORD_BYTES + header.merges * MERGE_BYTES,
        overhead=OVERHEAD_BYTES,
    )


def _estimate_pooled_parts(header: Header, setup: Setup) -> Parts:
    """Of a model that computes a text in one pass. What passes of the longest text take is touched with the first such
    text."""
    longest = max(setup.context, setup.batch)

    def taken(tokens: int) -> int:
        attention = count_attention_bytes(header.heads, tokens, flash_attention=setup.flash_attention)
        return max(compute_bytes(header, tokens, tokens, 0), attention)

    logits = count_logit_bytes(header.vocabulary, setup.batch)
    return Parts(
        weights=header.weight_bytes,
        copies=sum(portion.bytes for portion in header.portions if portion.type in setup.rearranged),
        kv=header.kv_bytes(longest, KvType.F16),
        compute=taken(setup.batch),
        filling=taken(longest) - taken(setup.batch) + count_logit_bytes(header.vocabulary, longest) - logits,
        output=logits,
        vocabulary=header.vocabulary * WORD_BYTES + header.merges * MERGE_BYTES,
        overhead=OVERHEAD_BYTES,
    )


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
    logits = FLOAT_BYTES * (outputs * header.vocabulary + batch * header.width)
    kinds = {layer.window is None for layer in header.layers if layer.elements}
    attending = bool(kinds)
    mask = batch * cells * (MASK_BYTES if flash_attention else FLOAT_BYTES) * len(kinds)
    scores = 0 if flash_attention else FLOAT_BYTES * batch * (cells * header.heads + 5 * header.width) * attending
    return max(fed + mask, scores + mask, logits)


def list_rearranged_types(features: Collection[str], *, extra_buffers: bool = True) -> frozenset[str]:
    """Types of which llama.cpp keeps copies on a processor with these features (`Machine.features`)."""
    if not extra_buffers:
        return frozenset()
    return frozenset().union(*(types for feature, types in REARRANGED.items() if feature in features))


def _judge(parts: Parts, device: Device) -> Verdict:
    if parts.needed > device.free:
        return Verdict.DOES_NOT_FIT
    # A card holds the weights once, in its own memory.
    wanted = parts.needed + (0 if device.kind is DeviceKind.CARD else parts.copies)
    return Verdict.FITS if wanted <= device.free * TIGHT_SHARE else Verdict.TIGHT


def _accelerators_first(memory: Sequence[Device]) -> list[Device]:
    return sorted(memory, key=lambda device: (device.kind is not DeviceKind.CARD, -device.free))


def _bad(verdict: Verdict) -> bool:
    return verdict is Verdict.DOES_NOT_FIT


class Judged(Struct, frozen=True):
    """A model's header with the verdict, and what it was judged for."""

    header: Header
    setup: Setup
    fit: Fit
    largest: int | None
    """The most tokens of context with which it fits; None where none does."""
