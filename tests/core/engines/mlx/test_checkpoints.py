"""Models of MLX whose caches cannot be cut, rotating and recurrent ones: a turn goes on from a state of before."""

from collections.abc import Callable
from pathlib import Path

import pytest

from core.cache.disk import DiskTier
from core.cache.store import PrefixStore
from core.engines.mlx.engine import MlxEngine
from core.reuse import Tier
from core.serving.kv_backup import TAIL_TOKENS
from tests.core.engines.mlx.conftest import OPTIONS, artifact
from tests.fakes.hosting import HostDesk, answer

WAIT = 20.0


@pytest.fixture(params=["rotating", "recurrent"])
def desk(request: pytest.FixtureRequest) -> HostDesk:
    if request.param == "recurrent":
        return HostDesk(MlxEngine(), artifact(request.getfixturevalue("mamba")), OPTIONS)
    variant: Callable[..., Path] = request.getfixturevalue("variant")
    folder = variant(layer_types=["full_attention", "sliding_attention"] * 2, sliding_window=16)
    return HostDesk(MlxEngine(), artifact(folder), OPTIONS)


def turns_of(count: int) -> list[list[int]]:
    """Each begins with the whole one before it."""
    return [[300 + place * 31 % 1500 for place in range(100 + 40 * turn)] for turn in range(count)]


async def test_every_turn_computes_only_what_is_new(desk: HostDesk) -> None:
    turns = turns_of(4)
    async with desk.hosting(None) as plain:
        expected = [(await answer(plain, turn))[0] for turn in turns]
    async with desk.hosting(PrefixStore(100_000_000)) as host:
        found = [await answer(host, turn) for turn in turns]
    assert [text for text, _ in found] == expected
    assert [usage.cached_tokens for _, usage in found] == [0, *(len(turn) - TAIL_TOKENS for turn in turns[:-1])]


async def test_a_restart_goes_on_from_the_disk(desk: HostDesk, tmp_path: Path) -> None:
    first, second = turns_of(2)
    async with desk.hosting(None) as plain:
        expected, _ = await answer(plain, second)
    found = []
    for turn in (first, second):
        store = PrefixStore(100_000_000, DiskTier(tmp_path, 100_000_000), min_tokens=1)
        async with desk.hosting(store) as host:
            found.append(await answer(host, turn))
            reused = host.snapshot().cache.reused
        store.close(WAIT)
    assert (found[1][0], reused) == (expected, {Tier.DISK: len(first) - TAIL_TOKENS})
