"""Whether a model fits: pure arithmetic, and its agreement with a real load."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from core.contract.artifact import Artifact
from core.contract.options import KvType, LoadOptions
from core.devices.device import Backend, Device, DeviceKind
from core.guide import WEIGHTS
from core.models.fit.estimate import Verdict, find_largest_context, judge_fit
from core.models.fit.parts import Parts, Setup, compute_bytes, list_rearranged_types
from core.models.fit.placing import estimate_parts
from core.models.fit.setup import choose_setup, find_kv_room
from core.models.fit.sizing import choose_sizes, count_cells
from core.models.formats.header import Header, Layer, Portion
from core.models.formats.read import read_header
from tests.bench.fit import FitCase, Taken, expected

ROOT = Path(__file__).parents[4]
GIB = 1 << 30
HEADER = Header(
    format="gguf",
    architecture="llama",
    name="shape",
    quantization="Q4_K_M",
    parameters=1_500_000_000,
    weight_bytes=GIB,
    layers=(Layer(2, 128, 128),) * 28,
    trained_context=32_768,
    width=1536,
    hidden=8960,
    heads=12,
    vocabulary=151_936,
    portions=(Portion("Q4_K", 700 << 20), Portion("Q6_K", 300 << 20)),
)
SETUP = Setup(context=4096, slots=1)

contexts = st.integers(256, 131_072)
slots = st.integers(1, 64)
kv_types = st.sampled_from(KvType)
frees = st.integers(0, 64 * GIB)


def host(free: int) -> Device:
    return Device("processor", DeviceKind.HOST, 64 * GIB, free)


def card(free: int) -> Device:
    return Device("card", DeviceKind.CARD, 24 * GIB, free, "CUDA0", Backend.CUDA)


def test_weights_and_kv_cache_are_counted_exactly() -> None:
    parts = estimate_parts(HEADER, SETUP)
    assert parts.weights == GIB
    assert parts.kv == 28 * 2 * 256 * 2 * 4096


@given(contexts, slots)
def test_the_cells_counted_are_those_that_loading_sets_aside(context: int, slots: int) -> None:
    loaded = choose_sizes(LoadOptions(ctx_size=context, slots=slots), 1 << 20, 1, GIB)
    assert loaded.cells == count_cells(context, slots)
    assert estimate_parts(HEADER, Setup(context, slots=slots)).kv == HEADER.kv_bytes(loaded.cells, KvType.F16)


@given(contexts, slots)
def test_reproducible_sequences_have_a_whole_context_each(context: int, slots: int) -> None:
    loaded = choose_sizes(LoadOptions(ctx_size=context, slots=slots, reproducible=True), 1 << 20, 1, GIB)
    assert loaded.sequences == slots + 1
    assert loaded.cells % loaded.sequences == 0
    assert loaded.cells // loaded.sequences >= context
    setup = Setup(context, slots=slots, reproducible=True)
    assert estimate_parts(HEADER, setup).kv == HEADER.kv_bytes(loaded.cells, KvType.F16)
    assert estimate_parts(HEADER, setup).kv >= estimate_parts(HEADER, Setup(context, slots=slots)).kv


@given(contexts, contexts, slots, kv_types)
def test_more_context_never_takes_less(one: int, other: int, slots: int, kv: KvType) -> None:
    small, large = sorted((one, other))
    assert (
        estimate_parts(HEADER, Setup(small, kv, slots)).needed <= estimate_parts(HEADER, Setup(large, kv, slots)).needed
    )


@given(contexts, slots, slots)
def test_more_slots_never_take_less(context: int, one: int, other: int) -> None:
    few, many = sorted((one, other))
    assert (
        estimate_parts(HEADER, Setup(context, slots=few)).needed
        <= estimate_parts(HEADER, Setup(context, slots=many)).needed
    )


@given(contexts, frees, frees)
def test_more_memory_never_makes_it_worse(context: int, one: int, other: int) -> None:
    order = list(Verdict)
    little, much = sorted((one, other))
    setup = replace(SETUP, context=context)
    verdicts = [judge_fit(HEADER, setup, [host(free)]).verdict for free in (much, little)]
    assert order.index(verdicts[0]) <= order.index(verdicts[1])


def test_the_three_verdicts() -> None:
    needed = estimate_parts(HEADER, SETUP).needed
    assert judge_fit(HEADER, SETUP, [host(2 * needed)]).verdict is Verdict.FITS
    assert judge_fit(HEADER, SETUP, [host(needed + 1)]).verdict is Verdict.TIGHT
    answer = judge_fit(HEADER, SETUP, [host(needed - 1)])
    assert (answer.verdict, answer.lacking) == (Verdict.DOES_NOT_FIT, 1)


def test_originals_of_rearranged_weights_make_it_tight_and_not_too_large() -> None:
    setup = replace(SETUP, rearranged=frozenset({"Q4_K"}))
    parts = estimate_parts(HEADER, setup)
    assert parts.copies == 700 << 20
    assert parts.needed == estimate_parts(HEADER, SETUP).needed
    assert judge_fit(HEADER, setup, [host(round(parts.needed * 1.2))]).verdict is Verdict.TIGHT
    assert judge_fit(HEADER, SETUP, [host(round(parts.needed * 1.2))]).verdict is Verdict.FITS


def test_a_card_goes_first_and_takes_what_it_has_room_for() -> None:
    def placed(free: int) -> int:
        return judge_fit(HEADER, SETUP, [host(32 * GIB), card(free)]).plan.placed

    assert placed(16 * GIB) == len(HEADER.layers) + 1
    assert 0 < placed(round(1.7 * GIB)) < len(HEADER.layers) + 1
    assert placed(GIB // 2) == 0


def test_what_lacks_is_told_of_all_memories_together() -> None:
    alone = judge_fit(HEADER, SETUP, [host(900 << 20)])
    both = judge_fit(HEADER, SETUP, [host(900 << 20), card(100 << 20)])
    assert (alone.verdict, both.verdict) == (Verdict.DOES_NOT_FIT, Verdict.DOES_NOT_FIT)
    assert both.lacking == alone.lacking
    assert judge_fit(HEADER, SETUP, [host(900 << 20), card(2 * GIB)]).verdict is not Verdict.DOES_NOT_FIT


@given(slots, kv_types, st.integers(GIB // 2, 8 * GIB))
def test_the_largest_context_is_the_largest(slots: int, kv: KvType, free: int) -> None:
    setup = Setup(1, kv, slots)
    found = find_largest_context(HEADER, setup, [host(free)])
    if found is not None:
        assert judge_fit(HEADER, replace(setup, context=found), [host(free)]).verdict is Verdict.FITS
    if found != HEADER.trained_context:
        beyond = (found or 0) + 256
        assert judge_fit(HEADER, replace(setup, context=beyond), [host(free)]).verdict is not Verdict.FITS


def test_keys_and_values_of_two_types_are_counted_each_in_its_own() -> None:
    header = replace(HEADER, layers=(Layer(2, 128, 64),) * 4)
    assert header.kv_bytes_per_token(KvType.Q8_0_Q4_0) == 4 * 2 * (128 * 34 + 64 * 18) // 32
    assert header.kv_bytes_per_token(KvType.F16_Q8_0) == 4 * 2 * (128 * 64 + 64 * 34) // 32


def test_a_smaller_kv_type_leaves_room_for_more_context() -> None:
    free = [host(round(GIB * 1.6))]
    found = [
        find_largest_context(HEADER, replace(SETUP, kv=kv), free) or 0 for kv in (KvType.F16, KvType.Q8_0, KvType.Q4_0)
    ]
    assert found == sorted(set(found))


def test_windows_count_where_an_engine_keeps_no_more() -> None:
    layers = (Layer(2, 128, 128, window=512),) * 21 + (Layer(2, 128, 128),) * 7
    header = replace(HEADER, layers=layers)
    whole = estimate_parts(header, replace(SETUP, context=32_768)).kv
    windowed = estimate_parts(header, replace(SETUP, context=32_768, windowed=True)).kv
    # A window for each of two sequences, and a batch.
    assert windowed == whole // 28 * 7 + 21 * (2 * 512 + 512) * 2 * 256 * 2


def test_a_cache_that_grows_is_needed_but_not_there_at_once() -> None:
    grows = estimate_parts(HEADER, replace(SETUP, grows=True))
    at_once = estimate_parts(HEADER, SETUP)
    assert grows.needed == at_once.needed
    assert at_once.loaded - grows.loaded == at_once.kv


def test_recurrent_states_are_counted_for_each_sequence() -> None:
    header = replace(HEADER, layers=(Layer(state_bytes=1 << 20),) * 4)
    # The slots' own and one more; no residents, which could not share a state.
    assert estimate_parts(header, replace(SETUP, slots=3)).kv == 4 * 4 << 20


@pytest.mark.parametrize(
    ("cells", "batch", "outputs", "flash", "reported"),
    [
        (1024, 512, 65, True, 39.90),
        (4096, 512, 65, True, 41.67),
        (32_768, 512, 65, True, 68.57),
        (16_384, 2048, 1, True, 206.05),
        (1024, 32, 1, True, 2.28),
        (16_384, 512, 1, False, 489.26),
        (16_384, 512, 512, True, 300.28),
    ],
)
def test_the_compute_buffer_is_what_llama_cpp_reports(
    cells: int, batch: int, outputs: int, flash: bool, reported: float
) -> None:
    """MiB, from llama.cpp's log for the shape of Qwen2.5 0.5B (the packaged version 0.3.36)."""
    header = replace(HEADER, layers=(Layer(2, 64, 64),) * 24, width=896, hidden=4864, heads=14)
    estimated = compute_bytes(header, cells, batch, outputs, flash_attention=flash) / (1 << 20)
    assert estimated == pytest.approx(reported, rel=0.06)


def test_processors_rearrange_what_they_have_kernels_for() -> None:
    assert list_rearranged_types(("avx2", "sse4_1")) == {"Q4_0", "Q4_K", "IQ4_NL"}
    assert "Q8_0" in list_rearranged_types(("amx_int8",))
    assert list_rearranged_types(("avx2",), extra_buffers=False) == list_rearranged_types(()) == frozenset()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems count mapped files otherwise")
@pytest.mark.parametrize("kv", [KvType.F16, KvType.Q8_0_Q4_0], ids=lambda kv: kv.value)
def test_loading_the_built_in_model_takes_what_was_estimated(kv: KvType) -> None:
    case = FitCase(str(WEIGHTS), 1024, 2, kv)
    command = [sys.executable, "-m", "tests.bench.fit", msgspec.json.encode(case).decode()]
    done = subprocess.run(command, capture_output=True, check=True, cwd=ROOT)
    taken = msgspec.json.decode(done.stdout, type=Taken)
    header = read_header(Artifact("guide", "gguf", WEIGHTS, 0))
    assert taken.cells == count_cells(1024, 2)
    assert taken.kv_bytes_per_token == header.kv_bytes_per_token(kv)
    assert expected(case).loaded == pytest.approx(taken.resident, rel=0.2)


def test_what_the_options_leave_open_is_chosen_as_loading_does() -> None:
    options = LoadOptions(kv_type=KvType.Q8_0, extra_buffers=False)
    setup = choose_setup(HEADER, options, 8 * GIB, ("avx2",))
    sizes = choose_sizes(options, 32_768, HEADER.kv_bytes_per_token(KvType.Q8_0), 8 * GIB)
    assert (setup.context, setup.slots, setup.kv) == (sizes.context, sizes.slots, KvType.Q8_0)
    assert setup.rearranged == frozenset()
    assert choose_setup(HEADER, LoadOptions(ctx_size=777, slots=3), 8 * GIB, ()).context == 777


def test_heads_that_are_not_loaded_leave_their_room_to_the_context() -> None:
    heads = replace(HEADER, weight_bytes=4 * GIB, mtp_bytes=3 * GIB, mtp_layers=HEADER.layers[:1])
    rooms = [find_kv_room(heads, LoadOptions(mtp=mtp), [host(round(4.5 * GIB))], ()) for mtp in (False, True)]
    assert rooms == [round(3.5 * GIB), GIB // 2]
    without, loaded = (choose_setup(heads, LoadOptions(), room, ()) for room in rooms)
    assert without.context > loaded.context


def test_activations_are_those_of_a_micro_batch() -> None:
    whole = estimate_parts(HEADER, replace(SETUP, batch=2048))
    divided = estimate_parts(HEADER, replace(SETUP, batch=2048, micro_batch=256))
    assert divided.compute < whole.compute
    assert divided.compute + divided.filling == sum(
        getattr(estimate_parts(HEADER, replace(SETUP, batch=256)), part) for part in ("compute", "filling")
    )
    # No pass is larger than its batch, nor than all that the cache holds.
    assert estimate_parts(HEADER, replace(SETUP, micro_batch=4096)) == estimate_parts(HEADER, SETUP)
    small = replace(SETUP, context=256)
    assert (
        estimate_parts(HEADER, replace(small, batch=2048)).compute
        == estimate_parts(HEADER, replace(small, batch=256)).compute
    )
    options = LoadOptions(batch=1024, micro_batch=128)
    assert (choose_setup(HEADER, options, GIB, ()).batch, choose_setup(HEADER, options, GIB, ()).micro_batch) == (
        1024,
        128,
    )


def test_parts_add_up() -> None:
    parts = Parts(weights=1, copies=2, kv=4, compute=8, filling=16, output=32, vocabulary=64, overhead=128)
    assert parts.loaded == 255 - 16
    assert parts.needed == 255 - 2
