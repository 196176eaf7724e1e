"""How a model would be loaded here: what options leave open, chosen for the memory where its KV cache comes to lie."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from msgspec.structs import replace

from core.contract.options import LoadOptions
from core.devices.device import Device
from core.models.fit.parts import Setup, list_rearranged_types
from core.models.fit.placing import Companions
from core.models.fit.plan import Correction, LoadPlan, leave_uncorrected, plan_placement
from core.models.fit.pooled import choose_pooled_sizes
from core.models.fit.sizing import DEFAULT_CONTEXT_TOKENS, KV_SHARE, choose_sizes
from core.models.fit.wish import PlacementWish
from core.models.formats.header import Header

LEAST_CONTEXT_TOKENS: Final = 4_096
"""A context that is worth layers: with less, the next layers leave an accelerator for main memory."""
MOST_HOST_SHARE: Final = 0.5
"""Of the KV cache in main memory, above which a model runs as slowly as that whatever the accelerators do."""


def choose_setup(header: Header, options: LoadOptions, room: int, features: Collection[str]) -> Setup:
    """What loading with these options chooses of what they leave open, with `room` bytes free beside the weights where
    the KV cache lies, on a processor with `features`."""
    rearranged = list_rearranged_types(features, extra_buffers=options.repacks)
    if header.pooling or options.pooling:
        pooled = choose_pooled_sizes(options, header.trained_context, header.vocabulary, room)
        return Setup(
            context=pooled.context,
            slots=1,
            batch=pooled.batch,
            flash_attention=options.blockwise_attention,
            pooled=True,
            rearranged=rearranged,
        )
    sizes = choose_sizes(
        options,
        header.trained_context or DEFAULT_CONTEXT_TOKENS,
        header.kv_bytes_per_token(options.cache_type, mtp=options.mtp),
        room,
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
        rearranged=rearranged,
    )


def plan_load(
    header: Header,
    options: LoadOptions,
    devices: Sequence[Device],
    features: Collection[str],
    wish: PlacementWish = PlacementWish(),
    *,
    companions: Companions = Companions(),
    correct: Correction = leave_uncorrected,
) -> LoadPlan:
    """Where a model is to lie with these options, and its sizes. `devices`: the host first, each with what may be taken
    of it as its free memory. Raises UsageError for a wish that cannot be met."""
    room = find_kv_room(header, options, devices, features, wish, companions=companions, correct=correct)
    setup = choose_setup(header, options, room, features)
    plan = plan_placement(header, setup, devices, wish, companions=companions, correct=correct)
    return replace(plan, kv_room=room)


def find_kv_room(
    header: Header,
    options: LoadOptions,
    devices: Sequence[Device],
    features: Collection[str],
    wish: PlacementWish = PlacementWish(),
    *,
    companions: Companions = Companions(),
    correct: Correction = leave_uncorrected,
) -> int:
    """Bytes beside the weights, of which the KV cache takes its part, where that comes to lie: on the devices that take
    layers while the context is a small one."""
    known = header.trained_context or LEAST_CONTEXT_TOKENS
    least = replace(options, ctx_size=options.ctx_size or min(known, LEAST_CONTEXT_TOKENS), slots=options.slots or 1)
    setup = choose_setup(header, least, 0, features)
    plan = plan_placement(header, setup, devices, wish, companions=companions, correct=correct)
    room = _measure_room(plan, wish)
    if not plan.placed or not plan.fits or setup.pooled:
        return room
    floor = setup.context * header.kv_bytes_per_token(options.cache_type, mtp=options.mtp) / KV_SHARE
    return max(room, round(floor) + 1)


def _measure_room(plan: LoadPlan, wish: PlacementWish) -> int:
    host = plan.host
    main = max(0, host.room - host.parts.weights)
    taking = [share for share in plan.on_devices if share.layers]
    if not taking or not wish.kv_offload or plan.setup.pooled:
        return main
    whole = sum(share.parts.kv for share in plan.shares)
    part = host.parts.kv / whole if whole else 0.0
    if part <= MOST_HOST_SHARE:
        # Where layers lie with the host already, a larger KV cache would send more of them there.
        return sum(max(0, share.room - share.parts.needed + share.parts.kv) for share in taking)
    return int(min(sum(share.room for share in taking) / (1 - part) if part < 1 else main, main / part))
