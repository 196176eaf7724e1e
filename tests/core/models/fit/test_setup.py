"""Sizes for the memory where the KV cache comes to lie."""

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from core.contract.options import KvType, LoadOptions
from core.devices.device import Backend, Device, DeviceKind
from core.models.fit.plan import CONTEXT_BYTES, PASS_BYTES, LoadPlan
from core.models.fit.setup import LEAST_CONTEXT_TOKENS, plan_load
from core.models.fit.sizing import DEFAULT_CONTEXT_TOKENS, DEFAULT_SLOTS, choose_sizes
from core.models.fit.wish import PlacementWish
from tests.fakes.shaped_headers import SEVEN, make_header

GIB = 1 << 30
RESERVE = CONTEXT_BYTES + PASS_BYTES
HEADER = make_header(SEVEN)
HOST = Device("a processor", DeviceKind.HOST, 128 * GIB, 100 * GIB)


def plan(free: int, options: LoadOptions = LoadOptions(), wish: PlacementWish = PlacementWish()) -> LoadPlan:
    card = Device("a card", DeviceKind.CARD, 80 * GIB, free + RESERVE, "CUDA0", Backend.CUDA)
    return plan_load(HEADER, options, (HOST, card), (), wish)


def test_a_card_with_room_beside_the_weights_gives_the_usual_context_and_slots() -> None:
    made = plan(20 * GIB)
    assert (made.placed, made.setup.context, made.setup.slots) == (29, DEFAULT_CONTEXT_TOKENS, DEFAULT_SLOTS)


def test_a_card_that_is_nearly_full_gives_a_shorter_context_whatever_main_memory_has() -> None:
    made = plan(round(8.5 * GIB))
    assert made.placed == 29
    assert LEAST_CONTEXT_TOKENS <= made.setup.context < DEFAULT_CONTEXT_TOKENS
    assert made.setup.slots == 1


def test_layers_are_not_sent_away_for_more_than_the_least_context() -> None:
    made = plan(7 * GIB)
    assert 0 < made.placed < 29
    assert (made.setup.context, made.setup.slots) == (LEAST_CONTEXT_TOKENS, 1)


def test_a_kv_cache_in_main_memory_is_sized_by_that() -> None:
    there = plan(round(8.5 * GIB), wish=PlacementWish(kv_offload=False))
    assert (there.placed, there.setup.context, there.setup.slots) == (29, DEFAULT_CONTEXT_TOKENS, DEFAULT_SLOTS)
    assert plan(20 * GIB, wish=PlacementWish(gpu_layers=0)).setup.context == DEFAULT_CONTEXT_TOKENS


def test_what_was_asked_for_is_taken_whatever_it_costs() -> None:
    made = plan(8 * GIB, LoadOptions(ctx_size=32_768, slots=3, kv_type=KvType.Q8_0))
    assert (made.setup.context, made.setup.slots, made.setup.kv) == (32_768, 3, KvType.Q8_0)
    assert made.placed < 29


@settings(max_examples=30)
@given(st.integers(0, 24 * GIB))
def test_loading_chooses_the_sizes_that_were_planned(free: int) -> None:
    made = plan(free)
    token = HEADER.kv_bytes_per_token(KvType.F16)
    sizes = choose_sizes(LoadOptions(kv_room=made.kv_room), HEADER.trained_context, token, 1)
    assert (sizes.context, sizes.slots) == (made.setup.context, made.setup.slots)
    assert all(share.lacking == 0 for share in made.on_devices)


def test_scores_without_flash_attention_count_where_a_layer_is_computed() -> None:
    options = LoadOptions(ctx_size=16_384, slots=1)
    blocks, scores = (plan(24 * GIB, replace(options, flash_attention=flash)) for flash in (None, False))
    grown = scores.on_devices[0].parts.compute - blocks.on_devices[0].parts.compute
    assert grown > 512 * 16_384 * 28 * 4 * 0.8
    # The masks alone go from the host to the card.
    masks = [made.host.parts.compute + made.host.parts.filling for made in (blocks, scores)]
    assert masks[1] - masks[0] == 512 * 16_384 * 2
