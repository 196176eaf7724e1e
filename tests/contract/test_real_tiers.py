"""The prefix cache with the weights of a real model: from each tier what the KV cache itself gives."""

from pathlib import Path

from core.cache.disk import DiskTier
from core.cache.store import PrefixStore
from core.contract.artifact import Artifact
from core.contract.options import LoadOptions
from core.engines.llamacpp.engine import LlamaCppEngine
from core.reuse import Tier
from tests.fakes.hosting import HostDesk, answer
from tests.fakes.real_weights import SMOLLM2, real_weights

WAIT = 30.0
TEXT = (
    "<|im_start|>system\nYou are a careful librarian who knows where each book of the house stands.<|im_end|>\n"
    "<|im_start|>user\nWhere would I look for a history of lighthouses, and what else is on that shelf?<|im_end|>\n"
    "<|im_start|>assistant\n"
)
TURNS = ["The lighthouses of the north", "A shelf holds", "1, 2, 3, 4,", "def lighthouse(name):"]


async def test_a_real_model_writes_the_same_from_the_kv_cache_the_memory_and_the_disk(tmp_path: Path) -> None:
    path = real_weights(SMOLLM2)
    artifact = Artifact("smollm2", "gguf", path, path.stat().st_size)
    desk = HostDesk(LlamaCppEngine(), artifact, LoadOptions(ctx_size=1024, slots=2, batch=256))
    store = PrefixStore(200_000_000, DiskTier(tmp_path, 200_000_000), min_tokens=1)
    async with desk.hosting(store) as host:
        first = desk.encode(TEXT * 2)
        prompts = [[*first[: len(first) * part // 4], *desk.encode(turn)] for part in (4, 2) for turn in TURNS]
        for prompt in prompts:
            await answer(host, prompt)
        # The second time all but the last token are reused, as they are from the other tiers.
        expected = [await answer(host, prompt) for prompt in prompts]
    for prompt, (text, usage) in zip(prompts, expected, strict=True):
        async with desk.hosting(store) as host:
            assert await answer(host, prompt) == (text, usage)
            assert host.snapshot().cache.reused == {Tier.MEMORY: len(prompt) - 1}
    store.close(WAIT)
    for prompt, (text, usage) in zip(prompts, expected, strict=True):
        store = PrefixStore(200_000_000, DiskTier(tmp_path, 200_000_000), min_tokens=1)
        async with desk.hosting(store) as host:
            assert await answer(host, prompt) == (text, usage)
            assert host.snapshot().cache.reused == {Tier.DISK: len(prompt) - 1}
        store.close(WAIT)
