"""How large a context and how many slots to give a model: pure arithmetic on its header and the memory that is free."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from core.contract.abilities import BatchSize
from core.contract.models import ModelSpec
from core.contract.options import DEFAULT_BATCH_TOKENS, KvType, LoadOptions

KV_SHARE = 0.25
"""Part of the memory available after the weights that the KV cache takes when nothing was asked for."""
DEFAULT_CONTEXT_TOKENS = 16_384
DEFAULT_SLOTS = 8
SLOT_SHARE = 2_048
"""Cells set aside for each slot beyond the first; a request that needs more waits until others have freed theirs."""
ROUNDING_CELLS = 256
"""llama.cpp rounds a context up to this many cells."""
RESIDENT_SEQUENCES = 64
"""Sequences beyond the running ones that may stay in the KV cache."""
MOST_SEQUENCES = 256
"""llama.cpp's own bound (LLAMA_MAX_SEQ)."""

SMALLER_BATCH_TOKENS = (256, 128)
"""Micro-batches that leave more of a processor's cache to the weights than the usual one."""
LARGER_BATCH_TOKENS = (1024, 2048)
"""Batches that keep many cores, or an accelerator, busier than the usual one."""

GRAIN_TOKENS = 64
"""Tokens of the passes that a prompt is divided into where a model is reproducible. Larger passes are faster; smaller
ones reuse more of a prefix, and hold up running streams less."""

ROLLBACK_TOKENS = 3
"""Tokens that a recurrent model can take back where its heads guess ahead: it keeps so many copies of its state."""

OUTPUTS_PER_SLOT = 8
"""Rows of logits that a sequence may draw from in one step: that of its token, and those of its guesses."""

BLOBS = "blobs"
"""The folder in which the Hub's cache keeps files by their content."""
COPY_SHARE = 0.5
"""Part of the available memory that a copy of the weights may take."""


def is_mapped(path: Path, available: int) -> bool:
    """Whether weights are read through a mapping of their file, which takes the whole process with it when somebody
    cuts the file short while it is in use.

    The Hub's cache names files by their content and never writes one anew, so those may be mapped. Others are read into
    memory of our own, unless that is more than COPY_SHARE of what is `available`, in bytes.
    """
    real = path.resolve()
    return real.parent.name == BLOBS or real.stat().st_size > available * COPY_SHARE


class Sizes(Struct, frozen=True):
    context: int
    slots: int
    cells: int
    sequences: int
    batch: int
    notes: tuple[str, ...]


def count_token_bytes(layers: int, kv_heads: int, key_length: int, value_length: int, kv: KvType) -> int:
    """KV bytes = layers * kv_heads * (key_length * bytes of a key's element + value_length * those of a value's)."""
    return kv.count_bytes(layers * kv_heads * key_length, layers * kv_heads * value_length)


def choose_sizes(
    options: LoadOptions, trained: int, token_bytes: int, available: int, *, weights: int = 0, residents: bool = True
) -> Sizes:
    """Sizes for a model trained on contexts of `trained` tokens, with `available` bytes free beside its `weights`.

    What the options name is taken as it is; the rest is fitted, and a note says where that is less than the model has.
    Without `residents` no room is made for sequences beyond the running ones: a recurrent model holds a whole state
    for each, and could not share a part of it.
    """
    if options.kv_room is not None:
        # What the model may take of main memory says nothing of the memory where its KV cache lies.
        available = options.kv_room
    elif options.memory is not None:
        available = min(available, max(0, options.memory - weights))
    apart = bool(options.reproducible)
    affordable = int(available * KV_SHARE / max(1, token_bytes))
    notes = []
    if options.ctx_size is not None:
        context = options.ctx_size
        if context > trained:
            notes.append(f"A context of {context} tokens was asked for; the model was trained on {trained}.")
    else:
        context = max(ROUNDING_CELLS, min(trained, DEFAULT_CONTEXT_TOKENS, affordable // (2 if apart else 1)))
        if context < trained:
            notes.append(f"The context is {context} of the {trained} tokens the model was trained on; see --ctx-size.")
    share = context if apart else min(context, SLOT_SHARE)
    # The sequence that is kept beside the running ones has a context of its own, too.
    left = affordable - context * (2 if apart else 1)
    slots = options.slots or max(1, min(DEFAULT_SLOTS, 1 + left // share))
    return Sizes(
        context=context,
        slots=slots,
        cells=count_cells(context, slots, apart=apart),
        sequences=count_sequences(slots, residents=residents and not apart),
        batch=max(options.step_tokens, slots + GRAIN_TOKENS if apart else slots),
        notes=tuple(notes),
    )


def list_batch_sizes(options: LoadOptions, context: int, affordable: Callable[[int], bool]) -> list[BatchSize]:
    """Sizes worth timing for requests of `context` tokens: that of the options, then what takes long last.

    `affordable` says whether there is memory for a larger micro-batch.
    """
    usual = BatchSize(options.step_tokens, options.pass_tokens)
    if options.micro_batch is not None:
        return [usual]
    # A user's own batch may be larger than the usual one, which is then a smaller micro-batch.
    smaller = [size for size in (DEFAULT_BATCH_TOKENS, *SMALLER_BATCH_TOKENS) if size < min(usual.batch, context)]
    larger = [size for size in LARGER_BATCH_TOKENS if options.batch is None and size <= context and affordable(size)]
    return [usual, *(BatchSize(usual.batch, size) for size in smaller), *(BatchSize(size, size) for size in larger)]


def count_cells(context: int, slots: int, *, apart: bool = False) -> int:
    """Tokens of KV state for one request of `context` tokens and a share for each slot beyond the first; with `apart`
    a whole context for every sequence."""
    if apart:
        return _rounded(context) * count_sequences(slots, residents=False)
    return _rounded(context + (slots - 1) * min(context, SLOT_SHARE))


def count_sequences(slots: int, *, residents: bool) -> int:
    """Sequences that may exist at once, see `choose_sizes`."""
    return min(MOST_SEQUENCES, slots + (RESIDENT_SEQUENCES if residents else 1))


def count_outputs(spec: ModelSpec) -> int:
    """Rows of logits that a step may draw from. llama.cpp aborts the process when there are fewer than sequences."""
    return count_outputs_for(spec.sequences, spec.slots)


def count_drawn_rows(spec: ModelSpec) -> int:
    """Tokens that a step may draw behind, guessed ones and those that are due."""
    return min(spec.batch, count_outputs(spec))


def count_outputs_for(sequences: int, slots: int) -> int:
    """`count_outputs` of a model that is not loaded."""
    return max(sequences, slots * OUTPUTS_PER_SLOT)


def _rounded(cells: int) -> int:
    return -(-cells // ROUNDING_CELLS) * ROUNDING_CELLS
