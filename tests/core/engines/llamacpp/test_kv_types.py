"""The types of llama.cpp's KV cache: what a token takes, states that come back as they were, what is refused."""

import pytest
from msgspec.structs import replace

from core.cache.store import PrefixStore
from core.contract.artifact import Artifact
from core.contract.models import TokenModel
from core.contract.options import KvType, LoadOptions
from core.contract.step import Work
from core.engines.llamacpp.engine import LlamaCppEngine
from core.errors import LoadFailed
from core.guide import WEIGHTS
from core.models.formats.header import Header, Layer
from core.models.formats.kv_conflict import explain_kv_conflict
from core.models.formats.read import read_header
from core.requests import Sampling
from core.reuse import Tier
from tests.fakes.hosting import HostDesk, answer
from tests.fakes.loading import load_decoder

GUIDE = Artifact("guide", "gguf", WEIGHTS, WEIGHTS.stat().st_size)
OPTIONS = LoadOptions(ctx_size=1024, slots=2, batch=128, threads=1, extra_buffers=False)
PLACE_BYTES = 12
"""Of each token in a state, beside its keys and values: its position, and its sequence."""
QUANTIZED = (KvType.Q8_0, KvType.Q4_0, KvType.Q8_0_Q4_0, KvType.F16_Q4_0)


def load(kv_type: KvType) -> TokenModel:
    return load_decoder(GUIDE, replace(OPTIONS, kv_type=kv_type))


def state_bytes(model: TokenModel, count: int) -> int:
    sequence = model.open(Sampling())
    model.step([Work(sequence, range(300, 300 + count), sample=False)])
    data = model.save(sequence)
    model.close(sequence)
    return len(data)


@pytest.mark.parametrize("kv_type", KvType, ids=lambda each: each.value)
def test_a_token_takes_what_the_header_tells(kv_type: KvType) -> None:
    model = load(kv_type)
    assert model.spec.kv_type is kv_type
    assert model.spec.kv_bytes_per_token == read_header(GUIDE).kv_bytes_per_token(kv_type)
    grown = state_bytes(model, 120) - state_bytes(model, 20)
    assert grown == 100 * (model.spec.kv_bytes_per_token + PLACE_BYTES)
    model.shutdown()


@pytest.mark.parametrize("kv_type", QUANTIZED, ids=lambda each: each.value)
async def test_a_quantized_prefix_comes_back_from_memory_with_the_tokens_of_the_resident_one(kv_type: KvType) -> None:
    desk = HostDesk(LlamaCppEngine(), GUIDE, replace(OPTIONS, kv_type=kv_type))
    store = PrefixStore(50_000_000)
    async with desk.hosting(store) as host:
        prompt = desk.encode("The workbench serves language models, and keeps what it has computed of a prompt. " * 6)
        first = await answer(host, prompt)
        resident = await answer(host, prompt)
        assert resident[1].cached_tokens == len(prompt) - 1
    async with desk.hosting(store) as host:
        restored = await answer(host, prompt)
        assert host.snapshot().cache.reused == {Tier.MEMORY: len(prompt) - 1}
    assert first[0] == resident[0] == restored[0]


async def test_what_another_kv_type_computed_is_not_reused() -> None:
    store = PrefixStore(50_000_000)
    for kv_type in (KvType.F16, KvType.Q8_0, KvType.Q8_0_Q4_0):
        desk = HostDesk(LlamaCppEngine(), GUIDE, replace(OPTIONS, kv_type=kv_type))
        async with desk.hosting(store) as host:
            _, usage = await answer(host, desk.encode("What does a workbench keep of the prompts it has seen? " * 5))
        assert usage.cached_tokens == 0


def header_of(*layers: Layer) -> Header:
    return Header("gguf", "shape", "shape", "F16", 1, 1, layers, 1024)


@pytest.mark.parametrize(
    ("layer", "options", "told"),
    [
        (Layer(2, 64, 64), LoadOptions(kv_type=KvType.Q8_0), None),
        (Layer(2, 64, 64), LoadOptions(kv_type=KvType.Q8_0_F16, flash_attention=False), None),
        (Layer(2, 64, 64), LoadOptions(kv_type=KvType.Q4_0, reproducible=True, flash_attention=True), None),
        (Layer(2, 80, 80), LoadOptions(kv_type=KvType.BF16), None),
        (Layer(state_bytes=9), LoadOptions(kv_type=KvType.Q4_0), None),
        (
            Layer(2, 64, 64),
            LoadOptions(kv_type=KvType.F16_Q8_0, flash_attention=False),
            "Quantized values need flash attention; leave out --no-flash-attention, or use --kv-type f16.",
        ),
        (
            Layer(2, 64, 64),
            LoadOptions(kv_type=KvType.Q4_0, reproducible=True),
            (
                "Quantized values need flash attention, which --reproducible leaves out; add --flash-attention, or "
                "use --kv-type q4_0/f16."
            ),
        ),
        (
            Layer(2, 80, 64),
            LoadOptions(kv_type=KvType.Q8_0),
            "The keys of shape have 80 elements a head, and q8_0 packs 32 together; use --kv-type f16.",
        ),
        (
            Layer(2, 64, 80),
            LoadOptions(kv_type=KvType.Q8_0_Q4_0),
            "The values of shape have 80 elements a head, and q4_0 packs 32 together; use --kv-type f16.",
        ),
        (
            Layer(1, 576),
            LoadOptions(kv_type=KvType.Q8_0_F16),
            "shape reads its values out of its keys, so both have one type; use --kv-type q8_0 or f16.",
        ),
    ],
)
def test_what_conflicts_is_told_in_one_sentence(layer: Layer, options: LoadOptions, told: str | None) -> None:
    assert explain_kv_conflict(header_of(Layer(), layer), options) == told


@pytest.mark.parametrize(("kv_type", "told"), [(KvType.Q4_0, True), (KvType.Q8_0_Q4_0, False), (KvType.F16, False)])
def test_keys_in_4_bits_are_cautioned_against_when_they_are_loaded(kv_type: KvType, told: bool) -> None:
    model = load_decoder(GUIDE, replace(OPTIONS, kv_type=kv_type))
    assert any("4 bits" in note for note in model.spec.notes) == told
    model.shutdown()


def test_what_conflicts_is_refused_before_the_weights_are_read() -> None:
    options = replace(OPTIONS, kv_type=KvType.Q8_0, flash_attention=False)
    told: list[float] = []

    def progress(share: float) -> bool:
        told.append(share)
        return True

    with pytest.raises(LoadFailed, match="Quantized values need flash attention"):
        LlamaCppEngine().load(GUIDE, options, progress)
    assert told == []


def test_measuring_tries_no_setting_that_quantized_values_exclude() -> None:
    variants = LlamaCppEngine().variants(GUIDE, LoadOptions(kv_type=KvType.Q8_0))
    assert variants
    assert all(each.flash_attention is not False for each in variants)


def test_plain_attention_takes_smaller_passes_in_large_contexts_and_gives_way_in_larger_ones() -> None:
    engine = LlamaCppEngine()
    measured = LoadOptions(flash_attention=False)
    found: list[tuple[bool | None, int | None]] = []
    for context in (4096, *(10**power for power in range(5, 9))):
        asked = LoadOptions(ctx_size=context, slots=1)
        adapted = engine.adapt(GUIDE, replace(measured, ctx_size=context, slots=1), asked)
        assert adapted in (*engine.variants(GUIDE, asked), asked)
        found.append((adapted.flash_attention, adapted.micro_batch))
    assert found[0] == (False, None)
    assert found[-1] == (None, None)
    sizes = [512 if size is None else size for flash, size in found if flash is False]
    assert sizes == sorted(sizes, reverse=True)


def test_plain_attention_that_was_asked_for_is_not_taken_away() -> None:
    asked = LoadOptions(flash_attention=False, ctx_size=10**8)
    assert LlamaCppEngine().adapt(GUIDE, asked, asked) == asked
