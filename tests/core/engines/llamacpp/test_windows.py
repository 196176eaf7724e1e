"""Layers that look back a window, kept whole or cut to it: the same tokens, and what cutting saves."""

import subprocess
import sys
from itertools import accumulate
from pathlib import Path

import msgspec
import pytest

from core.cache.store import PrefixStore
from core.contract.artifact import Artifact
from core.contract.models import Trims
from core.contract.options import KvType, LoadOptions
from core.engines.llamacpp.engine import LlamaCppEngine
from core.models.fit.placing import estimate_parts
from core.models.fit.setup import choose_setup
from core.models.formats.read import read_header
from core.serving.kv_backup import TAIL_TOKENS
from tests.fakes.architectures import BATCH, CELLS, SEQUENCES, Reserved, write, write_random
from tests.fakes.hosting import HostDesk, answer
from tests.fakes.real_weights import GEMMA, real_weights

MEBIBYTE = 2**20
ENOUGH = 64 * 2**30


def desks(path: Path) -> tuple[HostDesk, HostDesk]:
    """With windows kept whole, and cut."""
    artifact = Artifact(path.stem, "gguf", path, path.stat().st_size)
    whole, cut = (LoadOptions(ctx_size=2048, slots=2, batch=256, swa_full=full) for full in (None, False))
    return HostDesk(LlamaCppEngine(), artifact, whole), HostDesk(LlamaCppEngine(), artifact, cut)


async def check_turns(path: Path, first: list[int], *more: list[int]) -> None:
    whole, cut = desks(path)
    turns = list(accumulate((first, *more)))
    async with whole.hosting(None) as plain:
        expected = [await answer(plain, prompt) for prompt in turns]
    store = PrefixStore(400_000_000)
    async with cut.hosting(store) as host:
        found = [await answer(host, prompt) for prompt in turns]
    assert [text for text, _ in found] == [text for text, _ in expected]
    assert [usage.cached_tokens for _, usage in found] == [0, *(len(turn) - TAIL_TOKENS for turn in turns[:-1])]
    assert store.stats()[0].entries == 1


async def test_a_turn_behind_several_windows_goes_on_from_a_state_of_before(tmp_path: Path) -> None:
    path = write_random("gemma3", tmp_path)
    first = [300 + place * 31 % 1500 for place in range(1200)]
    more = [[300 + place * step % 1500 for place in range(60)] for step in (37, 41, 43)]
    await check_turns(path, first, *more)


async def test_a_real_model_with_windows_writes_the_same() -> None:
    path = real_weights(GEMMA)
    whole, _ = desks(path)
    async with whole.hosting(None):
        # Sense, so that what is likeliest is so by far: quantized kernels round as the size of a pass has it.
        first = [2, *whole.encode("".join(f"The number after {count} is {count + 1}.\n" for count in range(70)))]
        more = [
            whole.encode(f"The number after {count} is {count + 1}.\nThe number after {count + 1} is")
            for count in (70, 72, 74, 76)
        ]
    assert len(first) > 700
    await check_turns(path, first, *more)


def test_a_model_whose_windows_are_cut_offers_no_cutting_of_sequences(tmp_path: Path) -> None:
    path = write_random("gemma3", tmp_path)
    artifact = Artifact("gemma3", "gguf", path, path.stat().st_size)
    for full, trims in ((None, True), (False, False)):
        model = LlamaCppEngine().load(artifact, LoadOptions(ctx_size=512, slots=1, swa_full=full))
        assert isinstance(model, Trims) is trims
        model.shutdown()


def test_what_cut_windows_save_is_in_the_estimate(tmp_path: Path) -> None:
    path = write("gemma3", tmp_path)
    header = read_header(Artifact("gemma3", "gguf", path, path.stat().st_size))
    whole, cut = (
        estimate_parts(header, choose_setup(header, LoadOptions(ctx_size=8192, slots=1, swa_full=full), ENOUGH, ())).kv
        for full in (None, False)
    )
    assert cut < whole / 2


def test_the_estimate_is_what_llama_cpp_sets_aside(tmp_path: Path) -> None:
    path = write("gemma3", tmp_path)
    header = read_header(Artifact("gemma3", "gguf", path, path.stat().st_size))
    assert header.window is not None
    predicted = header.kv_bytes(CELLS, KvType.F16, windowed=True, ahead=header.window * (SEQUENCES - 1) + BATCH)
    command = [sys.executable, "-m", "tests.fakes.architectures", str(path), "cut"]
    told = subprocess.run(command, capture_output=True, check=True, timeout=100)
    set_aside = msgspec.json.decode(told.stdout, type=Reserved).kv * MEBIBYTE
    assert predicted == pytest.approx(set_aside, rel=0.05)
