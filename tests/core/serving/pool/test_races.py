"""What happens to the pool's models while others are on their way out: decisions are made anew after every wait."""

import asyncio
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from core.contract.artifact import SCRIPT, Artifact
from core.contract.options import LoadOptions
from core.engines.echo import EchoModel, EchoTokenizer
from core.errors import BenchtopError, LoadFailed, ModelNotReady, QueueFull
from core.serving.pool import pool as pools
from core.serving.pool.member import Member
from core.settings.profile import Profile
from core.snapshots import ModelState
from tests.core.serving.pool.test_pool import PATIENCE, EchoShelf, Shelves, shelves, until
from tests.fakes.support import GatedEcho, asks

__all__ = ["shelves"]


class SlowToEnd(EchoModel):
    """Its thread ends when the test lets it."""

    def __init__(self) -> None:
        super().__init__(LoadOptions())
        self.ending = threading.Event()
        self.may_end = threading.Event()

    def shutdown(self) -> None:
        self.ending.set()
        self.may_end.wait(PATIENCE)
        super().shutdown()


def made(**models: EchoModel) -> Callable[[str], EchoModel]:
    """The given ones the first time, plain ones afterwards."""
    return lambda name: models.pop(name, None) or EchoModel(LoadOptions())


def on_demand(shelf: EchoShelf, name: str, profile: Profile = Profile()) -> Member:
    return shelf.pool.add(Artifact(name, SCRIPT, Path(name), shelf.sizes[name]), profile)


async def busy(shelf: EchoShelf, name: str, gate: GatedEcho) -> asyncio.Task[str]:
    task = asyncio.create_task(shelf.ask(name, "busy"))
    await until(gate.stepping.is_set)
    return task


async def test_a_second_model_that_was_to_go_stays_when_it_is_pinned_meanwhile(shelves: Shelves) -> None:
    shelf = shelves(100, a=40, b=40, c=90)
    slow = SlowToEnd()
    shelf.make = made(a=slow)
    await shelf.ask("a")
    await shelf.ask("b")
    third = asyncio.create_task(shelf.ask("c"))
    await until(slow.ending.is_set)
    shelf.pool.pin(shelf.member("b"), True)
    slow.may_end.set()
    with pytest.raises(LoadFailed, match="beside b, pinned"):
        await third
    assert shelf.loaded() == {"b"}


async def test_a_second_model_that_was_to_go_finishes_what_it_was_asked_meanwhile(shelves: Shelves) -> None:
    shelf = shelves(100, a=40, b=40, c=90)
    slow, gate = SlowToEnd(), GatedEcho()
    shelf.make = made(a=slow, b=gate)
    gate.open_gate()
    await shelf.ask("a")
    await shelf.ask("b")
    held = await shelf.pool.lease(shelf.member("a"))
    held.release()
    third = asyncio.create_task(shelf.ask("c"))
    await until(lambda: slow.ending.is_set() or shelf.member("b").stopping is not None)
    slow.may_end.set()
    assert await shelf.ask("b", "meanwhile") == "meanwhile"
    assert await third == "hello"


async def test_a_second_model_that_is_unloaded_meanwhile_is_no_hindrance(shelves: Shelves) -> None:
    shelf = shelves(100, a=40, b=40, c=90)
    slow = SlowToEnd()
    shelf.make = made(a=slow)
    await shelf.ask("a")
    other = on_demand(shelf, "b")
    await shelf.pool.load(other)
    third = asyncio.create_task(shelf.ask("c"))
    await until(slow.ending.is_set)
    await shelf.pool.unload(other)
    slow.may_end.set()
    assert await third == "hello"


async def test_unloading_one_of_those_that_are_drained_lets_all_go_on(shelves: Shelves) -> None:
    shelf = shelves(100, a=40, b=40, c=90)
    gates = {"a": GatedEcho(), "b": GatedEcho()}
    shelf.make = made(**gates)
    first = await busy(shelf, "a", gates["a"])
    second = await busy(shelf, "b", gates["b"])
    third = asyncio.create_task(shelf.ask("c", "three"))
    await until(lambda: shelf.member("b").leaving)
    late = asyncio.create_task(shelf.ask("b", "late"))
    await until(lambda: shelf.member("b").awaited)
    await shelf.pool.unload(shelf.member("b"))
    with pytest.raises(ModelNotReady):
        await second
    gates["a"].open_gate()
    assert [*await asyncio.wait_for(asyncio.gather(first, third, late), PATIENCE)] == ["busy", "three", "late"]


async def test_a_model_that_is_ending_takes_its_memory_until_it_has(shelves: Shelves) -> None:
    shelf = shelves(100, a=60, b=60)
    slow = SlowToEnd()
    shelf.make = made(a=slow)
    await shelf.ask("a")
    unloading = asyncio.create_task(shelf.pool.unload(shelf.member("a")))
    await until(slow.ending.is_set)
    again, other = asyncio.create_task(shelf.ask("a")), asyncio.create_task(shelf.ask("b"))
    await asyncio.sleep(0.05)
    assert shelf.loads == ["a"]
    slow.may_end.set()
    await unloading
    assert [*await asyncio.gather(again, other)] == ["hello", "hello"]


async def test_an_eviction_goes_on_when_the_model_that_wanted_it_is_unloaded(shelves: Shelves) -> None:
    shelf = shelves(100, a=60, b=60)
    slow = SlowToEnd()
    shelf.make = made(a=slow)
    await shelf.ask("a")
    wanting = asyncio.create_task(shelf.ask("b"))
    await until(slow.ending.is_set)
    await shelf.pool.unload(shelf.member("b"))
    with pytest.raises(ModelNotReady):
        await wanting
    again = asyncio.create_task(shelf.ask("a"))
    await asyncio.sleep(0.05)
    assert shelf.loads == ["a"]
    slow.may_end.set()
    assert await again == "hello"


async def test_what_others_free_during_a_load_is_not_taken_off_its_size(shelves: Shelves) -> None:
    shelf = shelves(100, a=50, b=50)
    await shelf.ask("a")
    shelf.held.clear()
    loading = asyncio.create_task(shelf.ask("b"))
    await until(lambda: shelf.member("b").seated and shelf.member("b").turn is None)
    await shelf.pool.unload(shelf.member("a"))
    shelf.held.set()
    await loading
    assert shelf.member("b").size == 50


async def test_a_size_that_did_not_fit_is_measured_anew_the_next_time(shelves: Shelves) -> None:
    shelf = shelves(100, a=10)
    shelf.member("a")
    shelf.sizes["a"] = 200
    with pytest.raises(LoadFailed, match="takes"):
        await shelf.ask("a")
    shelf.sizes["a"] = 10
    assert await shelf.ask("a") == "hello"


async def test_unloading_in_the_moment_in_which_a_load_begins_does_not_wait_for_its_turn(shelves: Shelves) -> None:
    shelf = shelves(100, a=10, b=10)
    shelf.held.clear()
    first = asyncio.create_task(shelf.ask("a"))
    await until(lambda: shelf.member("a").seated)
    for _ in range(20):
        second = asyncio.create_task(shelf.ask("b"))
        await asyncio.sleep(0)
        await asyncio.wait_for(shelf.pool.unload(shelf.member("b")), PATIENCE)
        with pytest.raises(ModelNotReady):
            await second
    shelf.held.set()
    assert await first == "hello"


async def test_a_load_that_is_given_up_as_it_begins_does_not_keep_the_turn(shelves: Shelves) -> None:
    shelf = shelves(100, a=10, b=10)
    for _ in range(30):
        await shelf.ask("a")
        await shelf.pool.unload(shelf.member("a"))
        asking = asyncio.create_task(shelf.ask("a"))
        await asyncio.sleep(0)
        await shelf.pool.unload(shelf.member("a"))
        await asyncio.gather(asking, return_exceptions=True)
        assert await asyncio.wait_for(shelf.ask("b"), PATIENCE) == "hello"
        await shelf.pool.unload(shelf.member("b"))


async def test_a_model_that_never_ends_keeps_others_from_loading_only_where_its_room_is_wanted(
    shelves: Shelves, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.serving.pool.ending.ENDING_SECONDS", 0.1)
    shelf = shelves(100, a=60, b=60, c=10)
    slow = SlowToEnd()
    shelf.make = made(a=slow)
    await shelf.ask("a")
    with pytest.raises(LoadFailed, match="lacking"):
        await shelf.ask("b")
    assert await shelf.ask("c") == "hello"
    slow.may_end.set()
    await until(lambda: shelf.member("a").host is None)
    assert await shelf.ask("b") == "hello"


async def test_a_model_whose_loop_cannot_be_made_is_freed_and_told(
    shelves: Shelves, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("no room")

    shelf = shelves(100, a=60, b=60)
    with monkeypatch.context() as patched:
        patched.setattr("core.serving.loops.scheduler.KvMemory", fail)
        with pytest.raises(LoadFailed, match="no room"):
            await asyncio.wait_for(shelf.ask("a"), PATIENCE)
    assert shelf.taken == 1000
    assert await shelf.ask("b") == "hello"


async def test_closing_waits_for_models_on_their_way_out(shelves: Shelves) -> None:
    shelf = shelves(100, a=60, b=60)
    slow = SlowToEnd()
    shelf.make = made(a=slow)
    await shelf.ask("a")
    wanting = asyncio.create_task(shelf.ask("b"))
    await until(slow.ending.is_set)
    closing = asyncio.create_task(shelf.pool.close())
    await asyncio.sleep(0.05)
    assert not closing.done()
    slow.may_end.set()
    await closing
    assert shelf.taken == 1000
    assert isinstance((await asyncio.gather(wanting, return_exceptions=True))[0], BenchtopError)


async def test_the_bound_of_the_queue_holds_while_a_model_is_leaving(shelves: Shelves) -> None:
    shelf = shelves(100, a=60, b=60, max_queue=2)
    gate = GatedEcho()
    shelf.make = made(a=gate)
    running = await busy(shelf, "a", gate)
    other = asyncio.create_task(shelf.ask("b"))
    await until(lambda: shelf.member("a").leaving)
    late = [asyncio.create_task(shelf.ask("a")) for _ in range(5)]
    await until(lambda: sum(task.done() for task in late) == 3)
    assert all(isinstance(task.exception(), QueueFull) for task in late if task.done())
    gate.open_gate()
    await asyncio.gather(running, other, *(task for task in late if not task.done()))


async def test_idle_models_go_on_being_unloaded_after_one_was_unloaded_by_hand(
    shelves: Shelves, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "SWEEP_SECONDS", 0.01)
    shelf = shelves(100, a=10, b=10, c=10)
    slow = SlowToEnd()
    shelf.make = made(a=slow)
    brief = Profile(ttl=0.05)
    shelf.member("a", brief)
    await shelf.ask("a")
    await shelf.pool.load(on_demand(shelf, "b", brief))
    await until(slow.ending.is_set)
    if (other := shelf.pool.find("b")) is not None:
        await shelf.pool.unload(other)
    slow.may_end.set()
    shelf.member("c", brief)
    await shelf.ask("c")
    await until(lambda: not shelf.loaded())


async def test_a_failed_load_that_nobody_waits_for_is_forgotten(
    shelves: Shelves, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "SWEEP_SECONDS", 0.01)
    shelf = shelves(100, a=10)
    shelf.failing.add("a")
    shelf.held.clear()
    asking = asyncio.create_task(shelf.pool.lease(on_demand(shelf, "a")))
    await asyncio.sleep(0.02)
    asking.cancel()
    shelf.held.set()
    await until(lambda: not list(shelf.pool))


class Dying(EchoModel):
    def step(self, work: object) -> list[object]:  # type: ignore[override]
        raise RuntimeError("boom")


async def test_a_model_that_broke_down_is_loaded_anew_for_whoever_asks_next(shelves: Shelves) -> None:
    shelf = shelves(100, a=60)
    shelf.make = lambda _: Dying(LoadOptions()) if len(shelf.loads) < 8 else EchoModel(LoadOptions())
    answers: list[object] = []
    for _ in range(10):
        answers += await asyncio.wait_for(asyncio.gather(shelf.ask("a"), return_exceptions=True), PATIENCE)
        if answers[-1] == "hello":
            break
    assert answers[-1] == "hello"
    assert shelf.taken == 1060


async def test_whoever_is_interrupted_by_an_unload_is_told_so(shelves: Shelves) -> None:
    shelf = shelves(100, a=60)
    gate = GatedEcho()
    shelf.make = made(a=gate)
    running = await busy(shelf, "a", gate)
    await shelf.pool.unload(shelf.member("a"))
    with pytest.raises(ModelNotReady, match="being unloaded"):
        await running


class WithoutControls(EchoTokenizer):
    @property
    def controls(self) -> frozenset[str]:  # type: ignore[override]
        raise RuntimeError("the tokenizer is damaged")


async def test_a_model_that_cannot_be_taken_over_is_freed(shelves: Shelves) -> None:
    model = EchoModel(LoadOptions())
    model.tokenizer = WithoutControls()
    shelf = shelves(100, a=60)
    shelf.make = lambda _: model
    with pytest.raises(LoadFailed, match="tokenizer"):
        await shelf.ask("a")
    assert shelf.taken == 1000


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_is_asked_in_whatever_order_everything_ends_and_the_limit_holds(
    shelves: Shelves, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(pools, "SWEEP_SECONDS", 0.01)
    chance = random.Random(seed)
    shelf = shelves(100, max_queue=0, **{name: chance.choice([20, 30, 45]) for name in "abcdef"})
    shelf.make = lambda _: Hesitant(chance)

    async def ask(name: str) -> None:
        member = on_demand(shelf, name) if seed % 2 else shelf.member(name)
        lease = await shelf.pool.lease(member)
        await (await lease.submit(asks("word " * chance.randint(1, 8), name))).reply()

    async def something() -> None:
        name, what = chance.choice("abcdef"), chance.random()
        asking = asyncio.create_task(ask(name))
        await asyncio.sleep(chance.random() * 0.02)
        if what < 0.15:
            asking.cancel()
        elif what < 0.3 and (member := shelf.pool.find(name)) is not None:
            await shelf.pool.unload(member)
        elif what < 0.4 and (member := shelf.pool.find(name)) is not None:
            shelf.pool.pin(member, True)
            await asyncio.sleep(chance.random() * 0.02)
            shelf.pool.pin(member, False)
        (ended,) = await asyncio.gather(asking, return_exceptions=True)
        assert ended is None or isinstance(ended, BenchtopError | asyncio.CancelledError), ended

    async with asyncio.timeout(60):
        await asyncio.gather(*(something() for _ in range(80)))
    assert all(member.leases == 0 for member in shelf.pool)
    assert shelf.pool.snapshot().used <= 100
    await until(lambda: shelf.taken <= 1100)
    for member in shelf.pool:
        if member.host is not None and member.host.state is ModelState.READY:
            assert member.size == shelf.sizes[member.name]


class Hesitant(EchoModel):
    """Takes a moment for each step, and to end."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__(LoadOptions())
        self._moment = chance.random() * 0.004

    def step(self, work):  # type: ignore[no-untyped-def]
        time.sleep(self._moment)
        return super().step(work)

    def shutdown(self) -> None:
        time.sleep(self._moment)
        super().shutdown()
