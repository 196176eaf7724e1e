"""Where the parts of a model are to lie: what always holds, and the buffers that llama.cpp told of on a real card."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from core.contract.placement import Placement, SplitMode, TensorRule
from core.devices.device import Backend, Device, DeviceKind
from core.errors import UsageError
from core.models.fit.parts import Setup, add_parts, count_passes
from core.models.fit.placing import Arrangement, Companions, estimate_parts, keep_on_host, place_parts
from core.models.fit.plan import (
    CONTEXT_BYTES,
    PASS_BYTES,
    LoadPlan,
    list_limited,
    list_reachable,
    order_accelerators,
    plan_placement,
)
from core.models.fit.plan_words import describe_place, describe_plan
from core.models.fit.wish import PlacementWish
from core.models.formats.layout import divide_weights
from tests.fakes.shaped_headers import HALF, MIXED, SEVEN, ModelShape, make_header

MIB, GIB = 1 << 20, 1 << 30
RESERVE = CONTEXT_BYTES + PASS_BYTES
HEADERS = {shape: make_header(shape) for shape in (HALF, SEVEN, MIXED)}
SETUP = Setup(4096, slots=1)
HOST = Device("a processor", DeviceKind.HOST, 128 * GIB, 120 * GIB)
FEW = settings(max_examples=40)
frees = st.integers(0, 24 * GIB)
shapes = st.sampled_from([HALF, SEVEN, MIXED])


def card(free: int, number: int = 0, name: str = "NVIDIA GeForce RTX 3060") -> Device:
    return Device(name, DeviceKind.CARD, 24 * GIB, free, f"CUDA{number}", Backend.CUDA)


def plan(shape: ModelShape, *devices: Device, wish: PlacementWish = PlacementWish(), setup: Setup = SETUP) -> LoadPlan:
    return plan_placement(HEADERS[shape], setup, devices, wish)


@pytest.mark.parametrize(
    ("shape", "layers", "told"),
    [
        (HALF, 25, {"weights": (137.94, 500.84), "kv": (0, 48), "compute": (7.51, 298.5)}),
        (SEVEN, 29, {"weights": (551.77, 7164.98), "kv": (0, 224), "compute": (18.01, 303.75)}),
        (SEVEN, 14, {"weights": (4094.55, 3622.2), "kv": (120, 104), "compute": (18.01, 303.75)}),
        (SEVEN, 0, {"weights": (7716.75, 0), "kv": (224, 0), "compute": (18.01, 855.52)}),
    ],
    ids=["0.5B, all", "7B, all", "7B, 14 layers", "7B, none, the card helps with prompts"],
)
def test_each_device_takes_what_llama_cpp_told_of_it(
    shape: ModelShape, layers: int, told: dict[str, tuple[float, float]]
) -> None:
    """MiB of the host and of an NVIDIA H200, with 4,096 cells, passes of 512 tokens and as many rows of logits."""
    header = HEADERS[shape]
    blocks = (0,) * (shape.layers + 1 - layers) + (1,) * max(0, layers - 1)
    arrangement = Arrangement(
        blocks[: shape.layers], output=int(layers > 0), helper=int(layers <= shape.layers), pins=True
    )
    passes = replace(count_passes(header, SETUP), outputs=512)
    host, device = place_parts(header, SETUP, arrangement, 2, passes=passes)
    # A buffer is there before all of it is touched.
    host = replace(host, compute=host.compute + host.filling)
    for part, (of_host, of_device) in told.items():
        assert getattr(host, part) / MIB == pytest.approx(of_host, rel=0.05), part
        assert getattr(device, part) / MIB == pytest.approx(of_device, rel=0.05), part


@FEW
@given(shapes, frees, frees, st.integers(GIB, 64 * GIB), st.sampled_from([512, 4096, 32_768]))
def test_nothing_takes_more_than_is_free_less_the_reserve(
    shape: ModelShape, one: int, other: int, main: int, context: int
) -> None:
    made = plan(shape, replace(HOST, free=main), card(one), card(other, 1), setup=replace(SETUP, context=context))
    for share in made.on_devices:
        assert share.reserve == RESERVE
        assert share.parts.needed <= share.device.free - RESERVE
    assert made.fits == (made.host.parts.needed <= main)


@FEW
@given(shapes, frees, frees, st.integers(0, 8 * GIB))
def test_more_memory_never_gives_a_slower_placement(shape: ModelShape, one: int, other: int, more: int) -> None:
    def rank(first: int) -> tuple[int, int]:
        made = plan(shape, HOST, card(first), card(other, 1))
        return made.placed, -made.expert_layers

    assert rank(one + more) >= rank(one)


@FEW
@given(shapes, frees, frees)
def test_the_sum_of_the_parts_is_the_whole(shape: ModelShape, one: int, other: int) -> None:
    header = HEADERS[shape]
    made = plan(shape, HOST, card(one), card(other, 1))
    whole = add_parts(share.parts for share in made.shares)
    copied = header.lay_out().tied if made.placed else 0
    assert whole.weights == header.weight_bytes + copied
    assert whole.kv == estimate_parts(header, SETUP).kv
    assert sum(share.layers for share in made.shares) == shape.layers + 1


@FEW
@given(
    shapes,
    frees,
    st.none() | st.integers(0, 200),
    st.none() | st.integers(0, 60),
    st.booleans(),
    st.sampled_from([(), (1.0, 1.0), (3.0, 1.0), (0.0, 1.0)]),
)
def test_what_the_user_fixed_stays_fixed(
    shape: ModelShape,
    free: int,
    layers: int | None,
    experts: int | None,
    kv_offload: bool,
    shares: tuple[float, ...],
) -> None:
    wish = PlacementWish(layers, experts, shares=shares, kv_offload=kv_offload)
    made = plan(shape, HOST, card(free), card(24 * GIB, 1), wish=wish)
    if layers is not None:
        assert made.placed == min(layers, shape.layers + 1)
    if experts is not None and made.placed:
        assert made.placement.expert_layers == min(experts, shape.layers if shape.experts else 0)
    if not kv_offload:
        assert not any(share.parts.kv for share in made.on_devices)
    if shares == (0.0, 1.0):
        assert {share.device.id for share in made.on_devices} <= {"CUDA1"}
    assert made.placement.kv_offload is kv_offload


def test_layers_leave_a_card_that_is_too_small_one_by_one() -> None:
    needed = plan(SEVEN, HOST, card(24 * GIB)).shares[1].parts.needed + RESERVE
    assert plan(SEVEN, HOST, card(needed)).placed == 29
    less = plan(SEVEN, HOST, card(needed - 1))
    assert (less.placed, less.placement.layers, less.placement.devices) == (28, 28, ("CUDA0",))


def test_experts_leave_before_attention_and_as_few_of_them_as_must() -> None:
    made = plan(MIXED, HOST, card(12 * GIB))
    assert (made.placed, made.placement.layers) == (49, 49)
    assert 0 < made.expert_layers < 48
    room = made.shares[1].room - made.shares[1].parts.needed
    assert room < HEADERS[MIXED].lay_out().blocks[0].experts
    # Where not even the attention of all layers fits, the last ones stay.
    little = plan(MIXED, HOST, card(RESERVE + GIB))
    assert little.expert_layers == little.placed - 1 < 48


def test_one_card_that_holds_all_is_taken_alone_and_else_they_share() -> None:
    alone = plan(SEVEN, HOST, card(4 * GIB), card(16 * GIB, 1))
    assert alone.placement.devices == ("CUDA1",)
    shared = plan(SEVEN, HOST, card(6 * GIB), card(6 * GIB, 1))
    assert (shared.placed, shared.placement.devices) == (29, ("CUDA0", "CUDA1"))
    assert sum(shared.placement.shares) == 29
    assert [share.layers for share in shared.on_devices] == list(shared.placement.shares)


def test_the_fastest_memory_is_filled_first() -> None:
    slow, fast = card(6 * GIB, 0, "Tesla P40"), card(6 * GIB, 1, "NVIDIA GeForce RTX 4090")
    made = plan(SEVEN, HOST, slow, fast)
    assert made.placement.devices == ("CUDA1", "CUDA0")
    shared = Device("graphics", DeviceKind.UNIFIED, 8 * GIB, 8 * GIB, "Vulkan1", Backend.VULKAN)
    far = Device("far", DeviceKind.REMOTE, 8 * GIB, 8 * GIB, "RPC0[a:1]", Backend.RPC)
    assert order_accelerators([HOST, far, shared, slow, fast]) == [fast, slow, far]
    assert order_accelerators([HOST, far, shared]) == [shared, far]


def test_what_lies_on_shared_memory_is_missing_in_main_memory() -> None:
    graphics = Device("Apple M2", DeviceKind.UNIFIED, 12 * GIB, 12 * GIB, "MTL0", Backend.METAL)
    assert plan(SEVEN, replace(HOST, free=12 * GIB), graphics).placed == 29
    assert not plan(SEVEN, replace(HOST, free=7 * GIB), graphics).fits


def test_shares_divide_layers_as_llama_cpp_does() -> None:
    made = plan(SEVEN, HOST, card(24 * GIB), card(24 * GIB, 1), wish=PlacementWish(shares=(3, 1)))
    assert [share.layers for share in made.on_devices] == [22, 7]
    rows = plan(SEVEN, HOST, card(24 * GIB), card(24 * GIB, 1), wish=PlacementWish(split=SplitMode.ROW, shares=(3, 1)))
    first, second = (share.parts for share in rows.on_devices)
    assert first.weights == pytest.approx(3 * second.weights, rel=0.001)
    assert second.kv == 0
    assert (rows.placement.split, rows.placement.main) == (SplitMode.ROW, 0)
    single = plan(SEVEN, HOST, card(24 * GIB), card(24 * GIB, 1), wish=PlacementWish(split=SplitMode.NONE, main=1))
    assert single.placement.devices == ("CUDA1",)


def test_the_output_alone_may_be_divided_by_rows() -> None:
    wish = PlacementWish(gpu_layers=1, split=SplitMode.ROW, main=1)
    made = plan(SEVEN, HOST, card(24 * GIB), card(24 * GIB, 1), wish=wish)
    assert (made.placed, made.placement.devices, made.placement.main) == (1, ("CUDA0", "CUDA1"), 1)
    first, second = (share.parts.weights for share in made.on_devices)
    assert first == pytest.approx(second, rel=0.001)
    assert first + second == HEADERS[SEVEN].lay_out().head


def test_tensors_lie_where_rules_put_them() -> None:
    rules = (TensorRule(r"blk\.[0-3]\.ffn_", ""), TensorRule(r"^output\.weight", ""))
    usual, ruled = (plan(SEVEN, HOST, card(24 * GIB), wish=PlacementWish(rules=each)) for each in ((), rules))
    tensors = HEADERS[SEVEN].tensors
    moved = [tensor for tensor in tensors if tensor.name.startswith(("blk.0.ffn_", "blk.1.ffn_", "blk.2.ffn_"))]
    moved += [tensor for tensor in tensors if tensor.name.startswith("blk.3.ffn_") or tensor.name == "output.weight"]
    size = sum(tensor.bytes for tensor in moved)
    assert ruled.host.parts.weights == usual.host.parts.weights + size
    assert ruled.on_devices[0].parts.weights == usual.on_devices[0].parts.weights - size
    assert ruled.placement.rules == rules


def test_zero_layers_leave_the_accelerators_idle() -> None:
    made = plan(SEVEN, HOST, card(24 * GIB), wish=PlacementWish(gpu_layers=0))
    assert made.placement == Placement()
    assert [share.device for share in made.shares] == [HOST]


def test_what_is_loaded_beside_a_model_leaves_less_for_it() -> None:
    beside = Companions(draft=HEADERS[HALF], adapters=100 * MIB)
    free = card(8 * GIB + RESERVE)
    draft = estimate_parts(HEADERS[HALF], Setup(SETUP.context, slots=SETUP.slots)).needed
    alone = plan_placement(HEADERS[SEVEN], SETUP, [HOST, free])
    with_others = plan_placement(HEADERS[SEVEN], SETUP, [HOST, free], companions=beside)
    assert with_others.placed < alone.placed
    assert sum(share.parts.beside for share in with_others.shares) == draft + 100 * MIB
    assert with_others.on_devices[0].parts.needed <= 8 * GIB


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        (PlacementWish(main=2), "There is no accelerator 2 for --main-gpu; these are here, counted from 0: CUDA0"),
        (PlacementWish(shares=(1, 1, 1)), "--tensor-split names 3 shares for 1 accelerator: CUDA0"),
        (PlacementWish(shares=(0,)), "must be zero or more, and not all of them zero"),
        (PlacementWish(rules=(TensorRule("exps", "CUDA7"),)), "names the device CUDA7; here are CPU, CUDA0"),
        (PlacementWish(rules=(TensorRule("(", ""),)), "cannot be read"),
        (PlacementWish(0, rules=(TensorRule("exps", "CUDA0"),)), "--gpu-layers 0 leaves CUDA0 idle, and"),
    ],
)
def test_a_wish_that_cannot_be_is_refused_with_what_there_is(wish: PlacementWish, words: str) -> None:
    with pytest.raises(UsageError, match=words.replace("(", r"\(").replace(")", r"\)")):
        plan(SEVEN, HOST, card(GIB), wish=wish)


def test_layers_that_are_asked_for_stay_in_main_memory_where_there_is_nothing_else() -> None:
    assert plan(SEVEN, HOST, wish=PlacementWish(gpu_layers=4)).placement == plan(SEVEN, HOST).placement


def test_a_plan_says_in_one_line_what_it_did_and_why() -> None:
    assert describe_plan(plan(SEVEN, HOST, card(24 * GIB))) == (
        "All 29 layers on NVIDIA GeForce RTX 3060 (7.9 of 25.1 GB)."
    )
    some = plan(SEVEN, HOST, card(6 * GIB))
    assert describe_plan(some) == (
        "20 of 29 layers on NVIDIA GeForce RTX 3060 (5.7 of 5.8 GB), the rest in main memory: all would take 7.9 GB."
    )
    assert describe_place(some) == "20 of 29 layers on NVIDIA GeForce RTX 3060"
    assert "experts of 33 in main memory: all would take" in describe_plan(plan(MIXED, HOST, card(12 * GIB)))
    assert describe_plan(plan(SEVEN, HOST, wish=PlacementWish(gpu_layers=0))).endswith(", as asked.")
    assert "no accelerator has room for a layer" in describe_plan(plan(SEVEN, HOST, card(GIB)))
    none = plan(SEVEN, replace(HOST, free=GIB), card(2 * GIB))
    assert "it does not fit" in describe_plan(none)
    assert "are lacking on main memory" in describe_plan(none)


def test_no_more_of_a_device_is_planned_with_than_may_be_taken() -> None:
    limited = list_limited([HOST, card(24 * GIB)], {"CUDA0": 6 * GIB})
    assert plan(SEVEN, *limited).placed == plan(SEVEN, HOST, card(6 * GIB)).placed


def test_devices_of_a_server_are_reached_by_its_address_with_and_without_a_port() -> None:
    far = Device("far", DeviceKind.REMOTE, 8 * GIB, 8 * GIB, "RPC0[box:50052]", Backend.RPC)
    apart: list[list[str] | None] = [None, ["other"], ["box:50053"]]
    assert [list_reachable([HOST, far], servers) for servers in apart] == [(HOST,)] * 3
    reaching = [["box"], ["other", "box:50052"]]
    assert [list_reachable([HOST, far], servers) for servers in reaching] == [(HOST, far)] * 2


def test_parts_that_no_file_tells_of_lie_in_the_layers_that_are_unknown() -> None:
    tensors = HEADERS[SEVEN].tensors
    read = [tensor for tensor in tensors if "blk.27." not in tensor.name and "blk.26." not in tensor.name]
    whole, filled = (divide_weights(some, 28, HEADERS[SEVEN].weight_bytes) for some in (tensors, read))
    assert filled.bytes == whole.bytes
    assert filled.blocks[27].bytes == pytest.approx(whole.blocks[27].bytes, rel=0.001)
    unknown = replace(HEADERS[SEVEN], tensors=()).lay_out()
    assert (unknown.bytes, len(unknown.blocks)) == (HEADERS[SEVEN].weight_bytes, 28)
    assert place_parts(HEADERS[SEVEN], SETUP, keep_on_host(HEADERS[SEVEN]), 1)[0].weights == whole.bytes
