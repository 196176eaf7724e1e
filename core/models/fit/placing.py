"""What each device takes of a model that is placed in a certain way: arithmetic, as llama.cpp lays a model out.

Checked against the buffers that llama.cpp tells of on an NVIDIA card, see the tests. Devices are numbers here:
HOST_INDEX is the machine's own memory, others count from 1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from core.models.fit.parts import (
    FLOAT_BYTES,
    Parts,
    Passes,
    Setup,
    add_parts,
    count_draw_bytes,
    count_kept_bytes,
    count_logits,
    count_mask_bytes,
    count_mtp_bytes,
    count_overhead,
    count_pass_bytes,
    count_passes,
    count_tokenizer_bytes,
)
from core.models.formats.header import Header
from core.models.formats.layout import Block, WeightLayout, WeightTensor, divide_weights

HOST_INDEX: Final = 0
PIPELINE_COPIES: Final = 4
"""Batches that llama.cpp has under way at once where all of a model lies on several cards (GGML_SCHED_MAX_COPIES): each
has inputs of its own."""


class Arrangement(Struct, frozen=True):
    """Which device each part of a model lies on."""

    blocks: tuple[int, ...]
    output: int = HOST_INDEX
    expert_layers: int = 0
    """So many of the first layers keep their experts with the host."""
    ruled: tuple[tuple[WeightTensor, int], ...] = ()
    """Tensors that lie on a device of their own, whatever the rest of their layer does."""
    kv_offload: bool = True
    """Keys and values lie where their layer does; else all with the host."""
    helper: int = HOST_INDEX
    """The device that computes large batches with weights of the host; HOST_INDEX: none does."""
    pins: bool = False
    """The host's weights lie in memory that a card reads by itself, where they are not rearranged."""
    pipelines: bool = False
    """Several cards that have all layers work on several batches at once."""
    beside: int = HOST_INDEX
    """Where a draft model lies."""
    rows: tuple[float, ...] = ()
    """What each device, from 1 on, has of the matrices that are split by rows: shares of 1. None: nothing is."""

    @property
    def used(self) -> frozenset[int]:
        """The devices that have weights, or compute with those of the host."""
        split = {index + 1 for index, share in enumerate(self.rows) if share}
        return frozenset(
            {HOST_INDEX, *self.blocks, self.output, self.helper, *(each for _, each in self.ruled), *split}
        )

    @property
    def placed(self) -> int:
        """Layers that lie on devices, the output counted as one."""
        return sum(device != HOST_INDEX for device in (*self.blocks, self.output))


class Companions(Struct, frozen=True):
    """What is loaded beside a model."""

    draft: Header | None = None
    """Of a model that guesses ahead for it, with as much context and as many slots."""
    adapters: int = 0
    """Bytes; they lie where the weights do that they change."""


def count_draft_bytes(companions: Companions, setup: Setup) -> int:
    """What the model that guesses ahead needs, wherever it lies."""
    if companions.draft is None or setup.pooled:
        return 0
    like = Setup(setup.context, slots=setup.slots, rearranged=setup.rearranged)
    return estimate_parts(companions.draft, like).needed


def keep_on_host(header: Header) -> Arrangement:
    return Arrangement((HOST_INDEX,) * len(header.layers))


def estimate_parts(header: Header, setup: Setup) -> Parts:
    """Bytes of each part with all of it in the machine's own memory.

    For other engines than llama.cpp it is rougher: weights and KV cache are the same, what they compute with is not.
    """
    return place_parts(header, setup, keep_on_host(header), 1)[HOST_INDEX]


def place_parts(
    header: Header,
    setup: Setup,
    arrangement: Arrangement,
    devices: int,
    companions: Companions = Companions(),
    layout: WeightLayout | None = None,
    passes: Passes | None = None,
) -> tuple[Parts, ...]:
    """Bytes of each part on each of so many devices, the host first. `layout` and `passes`: what the header and the
    setup come to, where it was counted before."""
    layout = layout or header.lay_out(mtp=setup.mtp)
    passes = passes or count_passes(header, setup)
    ruled = sum_ruled(arrangement.ruled, len(header.layers))
    weights = [_sum_weights(layout, arrangement, ruled, device) for device in range(devices)]
    if arrangement.rows:
        weights = _split_rows(weights, arrangement.rows)
    parts = [_count_host(header, setup, passes, layout, arrangement, weights[HOST_INDEX])]
    parts += [
        _count_device(header, setup, passes, layout, arrangement, device, weights[device])
        for device in range(1, devices)
    ]
    return _add_companions(parts, companions, count_draft_bytes(companions, setup), arrangement)


def sum_ruled(ruled: Sequence[tuple[WeightTensor, int]], layers: int) -> Mapping[int, WeightLayout]:
    """By device, what rules put there; under -1, all that rules put anywhere."""
    found: dict[int, list[WeightTensor]] = {}
    for tensor, device in ruled:
        found.setdefault(device, []).append(tensor)
        found.setdefault(-1, []).append(tensor)
    return {device: divide_weights(tensors, layers, 0) for device, tensors in found.items()}


def find_ruled(header: Header, rules: Sequence[tuple[str, int]]) -> tuple[tuple[WeightTensor, int], ...]:
    """The tensors that rules, patterns and devices, name; the first rule counts. Raises re.error for a pattern that is
    none."""
    compiled = [(re.compile(pattern), device) for pattern, device in rules]
    found = []
    for tensor in header.tensors if compiled else ():
        device = next((device for pattern, device in compiled if pattern.search(tensor.name)), None)
        if device is not None:
            found.append((tensor, device))
    return tuple(found)


def _sum_weights(layout: WeightLayout, arrangement: Arrangement, ruled: Mapping[int, WeightLayout], device: int) -> int:
    apart = ruled.get(-1)
    total = ruled[device].bytes if device in ruled else 0
    for index, block in enumerate(layout.blocks):
        moved = apart.blocks[index] if apart is not None else Block()
        at = arrangement.blocks[index]
        total += (block.steady - moved.steady) * (at == device)
        experts_at = HOST_INDEX if index < arrangement.expert_layers else at
        total += (block.experts - moved.experts) * (experts_at == device)
    total += (layout.output - (apart.output if apart else 0)) * (arrangement.output == device)
    if device == HOST_INDEX:
        total += layout.input - (apart.input if apart else 0)
    elif arrangement.output == device:
        # The embeddings stay with the host, which looks them up there.
        total += layout.tied
    return total


def _split_rows(weights: Sequence[int], rows: Sequence[float]) -> list[int]:
    """What devices have of weights that all of them share, by rows."""
    whole = sum(weights[1:])
    shared = [round(whole * share) for share in rows]
    shared[-1] += whole - sum(shared)
    return [weights[HOST_INDEX], *shared]


def _keeps(arrangement: Arrangement, device: int) -> list[int]:
    """The layers whose keys, values and states lie on a device."""
    kept = arrangement.blocks if arrangement.kv_offload else (HOST_INDEX,) * len(arrangement.blocks)
    return [index for index, at in enumerate(kept) if at == device]


def _count_kept(header: Header, setup: Setup, passes: Passes, arrangement: Arrangement, device: int) -> tuple[int, int]:
    kept = _keeps(arrangement, device)
    if len(kept) < len(header.layers):
        # Heads that guess ahead lie with the output.
        mine = arrangement.output == device if arrangement.kv_offload else device == HOST_INDEX
        heads = header.mtp_layers if mine else ()
        header = replace(header, layers=tuple(header.layers[index] for index in kept), mtp_layers=heads)
    return count_kept_bytes(header, setup, passes)


def _count_host(
    header: Header, setup: Setup, passes: Passes, layout: WeightLayout, arrangement: Arrangement, weights: int
) -> Parts:
    kv, state = _count_kept(header, setup, passes, arrangement, HOST_INDEX)
    computing = HOST_INDEX in arrangement.blocks or arrangement.output == HOST_INDEX or not arrangement.kv_offload
    if arrangement.helper != HOST_INDEX or not computing:
        # What goes to the devices and comes back: the embeddings of the tokens, twice, and the masks.
        empty, full = (
            FLOAT_BYTES * 2 * passes.computed * header.width
            + count_mask_bytes(header, cells, passes.computed, flash_attention=passes.flash)
            for cells in (passes.begun, passes.seen)
        )
    else:
        rows = passes.outputs if arrangement.output == HOST_INDEX else 0
        empty, full = count_pass_bytes(header, setup, passes, rows)
    ahead = count_mtp_bytes(header, setup, passes) if arrangement.output == HOST_INDEX else 0
    logits, most_logits = count_logits(header, setup, passes)
    return Parts(
        weights=weights,
        copies=_count_copies(header, setup, layout, arrangement),
        kv=state + (0 if setup.grows else kv),
        compute=empty + ahead,
        filling=full - empty + (kv if setup.grows else 0) + most_logits - logits,
        output=logits,
        vocabulary=count_tokenizer_bytes(header),
        overhead=count_overhead(header),
    )


def _count_copies(header: Header, setup: Setup, layout: WeightLayout, arrangement: Arrangement) -> int:
    """Of weights of the host, rearranged for its processor."""
    copies = sum(portion.bytes for portion in header.portions if portion.type in setup.rearranged)
    if arrangement.pins or not copies:
        return 0
    matrices = sum(block.bytes for block in layout.blocks) + layout.output
    mine = sum(
        (block.steady if at == HOST_INDEX else 0)
        + (block.experts if at == HOST_INDEX or index < arrangement.expert_layers else 0)
        for index, (block, at) in enumerate(zip(layout.blocks, arrangement.blocks, strict=True))
    )
    mine += layout.output if arrangement.output == HOST_INDEX else 0
    return copies if mine == matrices else round(copies * mine / max(1, matrices))


def _count_device(
    header: Header,
    setup: Setup,
    passes: Passes,
    layout: WeightLayout,
    arrangement: Arrangement,
    device: int,
    weights: int,
) -> Parts:
    """Buffers on a device are there at once, and as large as they ever get."""
    kv, state = _count_kept(header, setup, passes, arrangement, device)
    compute = 0
    if device in arrangement.blocks or device in (arrangement.output, arrangement.helper):
        compute = _count_device_pass(header, setup, passes, layout, arrangement, device)
    return Parts(
        weights=weights, copies=0, kv=kv + state, compute=compute, filling=0, output=0, vocabulary=0, overhead=0
    )


def _count_device_pass(
    header: Header, setup: Setup, passes: Passes, layout: WeightLayout, arrangement: Arrangement, device: int
) -> int:
    """Where it computes with weights of the host, the largest of these is copied over for the moment."""
    helps = arrangement.helper == device
    drawing = arrangement.output == device or (helps and arrangement.output == HOST_INDEX)
    _, layers = count_pass_bytes(header, setup, passes, 0)
    lent = max(
        (
            block.largest
            for index, (block, at) in enumerate(zip(layout.blocks, arrangement.blocks, strict=True))
            if at == HOST_INDEX or (block.experts and index < arrangement.expert_layers)
        ),
        default=0,
    )
    total = layers + (lent if helps else 0)
    if drawing:
        logits = count_draw_bytes(header, setup, passes)
        total = max(total, logits + (layout.head if arrangement.output == HOST_INDEX else 0))
        total += count_mtp_bytes(header, setup, passes)
    if arrangement.pipelines:
        mask = count_mask_bytes(header, passes.seen, passes.computed, flash_attention=passes.flash)
        total += (PIPELINE_COPIES - 1) * (mask + FLOAT_BYTES * passes.computed * header.width)
    return total


def _add_companions(
    parts: Sequence[Parts], companions: Companions, draft: int, arrangement: Arrangement
) -> tuple[Parts, ...]:
    beside = [0] * len(parts)
    beside[arrangement.beside] += draft
    weights = add_parts(parts).weights
    spread = [companions.adapters * part.weights // max(1, weights) for part in parts]
    spread[HOST_INDEX] += companions.adapters - sum(spread)
    return tuple(
        replace(part, beside=mine + adapters) for part, mine, adapters in zip(parts, beside, spread, strict=True)
    )
