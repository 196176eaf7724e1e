"""Models that come and go within a limit of memory. The models are echo's; what they take is told by the test."""

import asyncio
import math
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

import pytest

from core.contract.artifact import SCRIPT, Artifact
from core.contract.options import LoadOptions
from core.decoding.lookup import PromptLookup
from core.engines.echo import EchoModel
from core.errors import Cancelled, LoadFailed, ModelNotFound, ModelNotReady, QueueFull
from core.serving.host import Host
from core.serving.loaded import LoadedModel, Loader
from core.serving.pool import life
from core.serving.pool import pool as pools
from core.serving.pool.eviction import Occupant
from core.serving.pool.member import Member
from core.serving.pool.pool import Pool
from core.serving.pool.room import Expected
from core.settings.profile import Profile
from core.snapshots import MemoryUse, ModelState, UnloadCause
from tests.fakes.support import GatedEcho, asks

PATIENCE = 10.0


class EchoShelf:
    """Echo models under many names. `sizes` is what each takes when it is loaded."""

    def __init__(self, limit: int, *, ttl: float = 0.0, max_queue: int = 32, **sizes: int) -> None:
        self.sizes = sizes
        self.taken = 1000
        self.loads: list[str] = []
        self.memory: dict[str, int] = {}
        """Bytes that each model was allowed when it was last loaded."""
        self.failing: set[str] = set()
        self.held = threading.Event()
        self.held.set()
        self.models: dict[str, EchoModel] = {}
        self.make: Callable[[str], EchoModel] = lambda _: EchoModel(LoadOptions())
        self.hand_over: Callable[[LoadedModel], LoadedModel] = lambda loaded: loaded
        self.max_queue = max_queue
        self.card = 0
        """Bytes of an accelerator that all models together may take; zero where there is none."""
        self.on_card: dict[str, dict[str, int]] = {}
        """What models take of it."""
        self.given: dict[str, Mapping[str, int]] = {}
        self.pool = Pool(
            self,
            limit=limit,
            ttl=ttl,
            resident=lambda: self.taken,
            max_queue=max_queue,
        )

    def member(self, name: str, profile: Profile = Profile()) -> Member:
        artifact = Artifact(name, SCRIPT, Path(name), self.sizes[name])
        return self.pool.add(artifact, profile, kept=True)

    async def ask(self, name: str, text: str = "hello") -> str:
        lease = await self.pool.lease(self.member(name))
        reply = await (await lease.submit(asks(text, name))).reply()
        return reply.choices[0].text

    def loaded(self) -> set[str]:
        return {member.name for member in self.pool if member.loaded}

    def expect(self, member: Member, _: int, _others: Sequence[Occupant]) -> Expected:
        capacities = {"CUDA0": self.card} if self.card else {}
        return Expected(member.artifact.size, self.on_card.get(member.name, {}), capacities)

    def host(self, member: Member, loader: Loader) -> Host:
        return Host(member.name, loader, max_queue=self.max_queue, queue_timeout=60.0, slots=1)

    def load(
        self,
        member: Member,
        stop: threading.Event,
        tell: Callable[[str], None],
        memory: int,
        elsewhere: Mapping[str, int],
    ) -> LoadedModel:
        self.given[member.name] = elsewhere
        while not self.held.wait(0.01):
            if stop.is_set():
                raise Cancelled("Loading was cancelled.")
        self.loads.append(member.name)
        self.memory[member.name] = memory
        if member.name in self.failing:
            raise LoadFailed(member.name, f"{member.name} is damaged.")
        model = self.models[member.name] = self.make(member.name)
        self.taken += self.sizes[member.name]
        ending = model.shutdown

        def shutdown() -> None:
            if model in self.models.values():
                self.models = {name: each for name, each in self.models.items() if each is not model}
                self.taken -= self.sizes[member.name]
            ending()

        model.shutdown = shutdown  # type: ignore[method-assign]
        return self.hand_over(LoadedModel(model, "echo"))


@pytest.fixture
async def shelves() -> AsyncIterator[Callable[..., EchoShelf]]:
    made: list[EchoShelf] = []

    def make(limit: int, **fields: int) -> EchoShelf:
        made.append(EchoShelf(limit, **fields))
        return made[-1]

    yield make
    for shelf in made:
        shelf.held.set()
        for model in shelf.models.values():
            if isinstance(model, GatedEcho):
                model.open_gate()
        await shelf.pool.close()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not true():
            await asyncio.sleep(0.005)


Shelves = Callable[..., EchoShelf]


async def test_a_model_is_loaded_by_the_first_request_for_it_and_once(shelves: Shelves) -> None:
    shelf = shelves(100, a=10)
    answers = await asyncio.gather(*(shelf.ask("a", f"text {i}") for i in range(5)))
    assert answers == [f"text {i}" for i in range(5)]
    assert shelf.loads == ["a"]
    assert shelf.member("a").size == 10


async def test_the_model_used_longest_ago_goes_when_another_wants_its_memory(shelves: Shelves) -> None:
    shelf = shelves(100, a=40, b=40, c=40)
    for name in ("a", "b", "a", "c"):
        await shelf.ask(name)
    assert shelf.loaded() == {"a", "c"}
    assert shelf.pool.snapshot().evictions == 1
    assert [absent.name for absent in shelf.pool.snapshot().absent] == ["b"]
    assert shelf.pool.snapshot().used == 80
    assert await shelf.ask("b") == "hello"
    assert shelf.loads == ["a", "b", "c", "b"]


async def test_room_on_a_card_is_made_by_models_that_lie_there(shelves: Shelves) -> None:
    shelf = shelves(100, host=10, first=10, second=10, large=10)
    shelf.card = 50
    shelf.on_card = {name: {"CUDA0": size} for name, size in (("first", 20), ("second", 20), ("large", 30))}
    for name in ("host", "first", "second", "large"):
        await shelf.ask(name)
    assert shelf.loaded() == {"host", "second", "large"}
    assert shelf.pool.snapshot().elsewhere == (MemoryUse("CUDA0", 50, 50),)
    # What others have of a card is not a model's to take.
    assert [shelf.given[name] for name in ("first", "second")] == [{"CUDA0": 50}, {"CUDA0": 30}]
    shelf.on_card["host"] = {"CUDA0": 60}
    await shelf.pool.unload(shelf.member("host"))
    shelf.member("host").measured = False
    with pytest.raises(LoadFailed, match=r"host is expected to take 60 B of CUDA0, .* may take 50 B of CUDA0; 10 B"):
        await shelf.ask("host")


async def test_a_model_in_use_is_let_finish_before_it_goes(shelves: Shelves) -> None:
    shelf = shelves(100, a=60, b=60)
    gate = GatedEcho()
    shelf.make = lambda name: gate if name == "a" else EchoModel(LoadOptions())
    first = asyncio.create_task(shelf.ask("a", "slow"))
    await until(gate.stepping.is_set)
    second = asyncio.create_task(shelf.ask("b"))
    await until(lambda: "finish" in (shelf.pool.models()[-1].detail))
    assert shelf.loaded() == {"a", "b"}
    assert shelf.loads == ["a"]
    gate.open_gate()
    assert await first == "slow"
    assert await second == "hello"
    assert shelf.loaded() == {"b"}


async def test_requests_for_a_model_that_is_leaving_have_it_loaded_again_afterwards(shelves: Shelves) -> None:
    shelf = shelves(100, a=60, b=60)
    gates: list[GatedEcho] = []

    def make(name: str) -> EchoModel:
        if name == "b" or gates:
            return EchoModel(LoadOptions())
        gates.append(GatedEcho())
        return gates[0]

    shelf.make = make
    running = asyncio.create_task(shelf.ask("a", "one"))
    await until(lambda: bool(gates) and gates[0].stepping.is_set())
    other = asyncio.create_task(shelf.ask("b", "two"))
    await until(lambda: shelf.member("a").leaving)
    late = asyncio.create_task(shelf.ask("a", "three"))
    await asyncio.sleep(0)
    gates[0].open_gate()
    assert [*await asyncio.gather(running, other, late)] == ["one", "two", "three"]
    assert shelf.loads == ["a", "b", "a"]


async def test_a_pinned_model_stays_and_the_other_is_told_why_there_is_no_room(shelves: Shelves) -> None:
    shelf = shelves(100, a=60, b=60)
    await shelf.ask("a")
    shelf.pool.pin(shelf.member("a"), True)
    with pytest.raises(LoadFailed, match="beside a, pinned"):
        await shelf.ask("b")
    shelf.pool.pin(shelf.member("a"), False)
    assert await shelf.ask("b") == "hello"


async def test_models_that_wait_for_their_turn_take_no_room(shelves: Shelves) -> None:
    shelf = shelves(100, a=60, b=60, c=60)
    for name in ("a", "b", "c"):
        await shelf.ask(name)
    shelf.loads.clear()
    answers = await asyncio.wait_for(asyncio.gather(*(shelf.ask(name) for name in "abcabcabc")), PATIENCE)
    assert answers == ["hello"] * 9
    assert set(shelf.loads) >= {"a", "b"}
    assert len(shelf.loaded()) == 1


async def test_others_make_room_for_a_model_that_took_more_than_was_expected(shelves: Shelves) -> None:
    shelf = shelves(100, a=30, b=30, c=10)
    for name in ("a", "b"):
        await shelf.ask(name)
    member = shelf.member("c")
    shelf.sizes["c"] = 60
    assert await shelf.ask("c") == "hello"
    assert member.size == 60
    assert shelf.loaded() == {"b", "c"}
    assert shelf.pool.snapshot().used == 90


async def test_a_model_may_take_what_pinned_ones_leave(shelves: Shelves) -> None:
    shelf = shelves(100, a=30, b=30)
    await shelf.ask("a")
    shelf.pool.pin(shelf.member("a"), True)
    await shelf.ask("b")
    assert shelf.memory == {"a": 100, "b": 70}


async def test_a_model_that_took_more_than_all_may_take_is_freed_again(shelves: Shelves) -> None:
    shelf = shelves(100, a=10)
    member = shelf.member("a")
    shelf.sizes["a"] = 200
    with pytest.raises(LoadFailed, match="memory-limit"):
        await shelf.ask("a")
    assert not shelf.models
    assert member.host is None
    assert shelf.taken == 1000


async def test_a_failed_load_is_told_to_each_that_waited_and_tried_again_for_the_next(shelves: Shelves) -> None:
    shelf = shelves(100, a=10)
    shelf.failing.add("a")
    shelf.held.clear()
    waiting = [asyncio.create_task(shelf.ask("a")) for _ in range(3)]
    await asyncio.sleep(0)
    shelf.held.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [str(each) for each in results] == ["a is damaged."] * 3
    assert shelf.loads == ["a"]
    shelf.failing.clear()
    assert await shelf.ask("a") == "hello"


async def test_no_more_wait_for_a_loading_model_than_its_queue_holds(shelves: Shelves) -> None:
    shelf = shelves(100, a=10, max_queue=2)
    shelf.held.clear()
    waiting = [asyncio.create_task(shelf.ask("a")) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(QueueFull):
        await shelf.ask("a")
    shelf.held.set()
    assert await asyncio.gather(*waiting) == ["hello"] * 3


async def test_one_model_loads_at_a_time(shelves: Shelves) -> None:
    shelf = shelves(100, a=10, b=10)
    shelf.held.clear()
    both = [asyncio.create_task(shelf.ask(name)) for name in ("a", "b")]
    await until(lambda: {model.detail for model in shelf.pool.models()} >= {"waiting for its turn"})
    shelf.held.set()
    assert await asyncio.gather(*both) == ["hello", "hello"]
    assert {member.size for member in shelf.pool} == {10}


async def test_unloading_a_model_that_waits_for_its_turn_lets_the_others_go_on(shelves: Shelves) -> None:
    shelf = shelves(100, a=10, b=10, c=10)
    shelf.held.clear()
    tasks = {}
    for name in ("a", "b", "c"):
        tasks[name] = asyncio.create_task(shelf.ask(name))
        await until(lambda name=name: shelf.member(name).host is not None)  # type: ignore[misc]
    await until(lambda: shelf.member("b").turn is not None)
    await shelf.pool.unload(shelf.member("b"))
    with pytest.raises(ModelNotReady):
        await tasks["b"]
    shelf.held.set()
    assert [*await asyncio.gather(tasks["a"], tasks["c"])] == ["hello", "hello"]


async def test_unloading_while_loading_ends_the_load_and_its_requests(shelves: Shelves) -> None:
    shelf = shelves(100, a=10)
    shelf.held.clear()
    task = asyncio.create_task(shelf.ask("a"))
    await until(lambda: shelf.member("a").host is not None)
    await shelf.pool.unload(shelf.member("a"))
    with pytest.raises(ModelNotReady):
        await task
    shelf.held.set()
    assert await shelf.ask("a") == "hello"


async def test_an_idle_model_is_unloaded_when_its_time_is_over_and_not_while_it_is_used(
    shelves: Shelves, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "SWEEP_SECONDS", 0.01)
    shelf = shelves(100, a=10, b=10, c=10)
    gate = GatedEcho()
    shelf.make = lambda name: gate if name == "b" else EchoModel(LoadOptions())
    shelf.member("a", Profile(ttl=0.05))
    shelf.member("b", Profile(ttl=0.05))
    await shelf.ask("c")
    running = asyncio.create_task(shelf.ask("b"))
    await until(gate.stepping.is_set)
    await shelf.ask("a")
    await until(lambda: shelf.loaded() == {"b", "c"})
    gate.open_gate()
    assert await running == "hello"
    await until(lambda: shelf.loaded() == {"c"})
    assert await shelf.ask("a") == "hello"


async def test_a_process_that_has_grown_over_the_limit_lets_the_coldest_go_but_never_the_last(
    shelves: Shelves, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "SWEEP_SECONDS", 0.01)
    shelf = shelves(100, a=10, b=10)
    await shelf.ask("a")
    await shelf.ask("b")
    shelf.taken += 500
    await until(lambda: shelf.loaded() == {"b"})
    await asyncio.sleep(0.05)
    assert shelf.loaded() == {"b"}


async def test_a_lease_keeps_a_model_until_its_stream_has_ended_or_it_is_given_back(shelves: Shelves) -> None:
    shelf = shelves(100, a=10)
    gate = GatedEcho()
    shelf.make = lambda _: gate
    member = shelf.member("a")
    lease = await shelf.pool.lease(member)
    assert member.leases == 1
    lease.release()
    lease.release()
    assert member.leases == 0
    stream = await (await shelf.pool.lease(member)).submit(asks("many words to say here", "a"))
    await until(gate.stepping.is_set)
    assert member.leases == 1
    stream.cancel()
    gate.open_gate()
    await until(lambda: member.leases == 0)


async def test_a_model_that_was_not_named_at_the_start_is_forgotten_when_it_is_unloaded(shelves: Shelves) -> None:
    shelf = shelves(100, a=10)
    member = shelf.pool.add(Artifact("a", SCRIPT, Path("a"), 10), Profile())
    await shelf.pool.load(member)
    assert shelf.pool.models()[0].state is ModelState.READY
    await shelf.pool.unload(member)
    assert list(shelf.pool) == []
    with pytest.raises(ModelNotFound):
        await shelf.pool.lease(member)
    assert member.leases == 0


async def test_mixed_requests_for_three_models_of_which_two_fit_all_succeed(shelves: Shelves) -> None:
    shelf = shelves(100, a=45, b=45, c=45)
    names = ["a", "b", "c"]
    answers = await asyncio.gather(*(shelf.ask(names[i * 7 % 3], f"number {i}") for i in range(60)))
    assert answers == [f"number {i}" for i in range(60)]
    assert len(shelf.loaded()) == 2
    assert all(member.leases == 0 for member in shelf.pool)


class FreedLookup(PromptLookup):
    """Notes that it was freed."""

    freed = False
    promised = 30

    def shutdown(self) -> None:
        self.freed = True
        super().shutdown()


async def test_what_drafts_for_a_model_counts_and_goes_with_it(shelves: Shelves) -> None:
    shelf, follower = shelves(100, a=90), FreedLookup()
    shelf.hand_over = lambda loaded: LoadedModel(loaded.model, "echo", (), follower)
    assert await shelf.ask("a") == "hello"
    assert shelf.member("a").size == 90
    await shelf.pool.unload(shelf.member("a"))
    assert follower.freed


async def test_a_draft_is_freed_when_its_model_turns_out_too_large(shelves: Shelves) -> None:
    shelf, follower = shelves(100, a=90), FreedLookup()
    member = shelf.member("a")
    shelf.sizes["a"] = 120
    shelf.hand_over = lambda loaded: LoadedModel(loaded.model, "echo", (), follower)
    with pytest.raises(LoadFailed):
        await shelf.pool.load(member)
    assert follower.freed


async def test_a_model_is_kept_as_long_as_was_said_last_and_by_the_settings_after_it_went(shelves: Shelves) -> None:
    shelf = shelves(100, a=10)
    member = shelf.member("a", Profile(ttl=3600))
    await shelf.ask("a")
    assert [each.idle_limit for each in shelf.pool.models()] == [3600]
    shelf.pool.keep(member, math.inf)
    assert [each.idle_limit for each in shelf.pool.models()] == [math.inf]
    shelf.pool.keep(member, 0.0)
    await shelf.ask("a")
    await until(lambda: not shelf.loaded())
    await shelf.ask("a")
    assert [each.idle_limit for each in shelf.pool.models()] == [3600]


async def test_a_model_that_is_let_go_stays_while_it_answers_and_while_it_is_pinned(shelves: Shelves) -> None:
    shelf = shelves(100, a=10)
    member = shelf.member("a")
    lease = await shelf.pool.lease(member)
    await shelf.pool.let_go(member)
    assert shelf.loaded() == {"a"}
    lease.release()
    shelf.pool.pin(member, True)
    await shelf.pool.let_go(member)
    assert shelf.loaded() == {"a"}
    shelf.pool.pin(member, False)
    await shelf.pool.let_go(member)
    assert shelf.loaded() == set()


async def test_loads_and_unloads_are_counted_by_model_over_all_its_loads(shelves: Shelves) -> None:
    shelf = shelves(100, a=40, b=40, c=40)
    for name in ("a", "b", "a", "c", "b"):
        await shelf.ask(name)
    await shelf.pool.unload(shelf.member("b"))
    shelf.failing.add("b")
    with pytest.raises(LoadFailed):
        await shelf.ask("b")
    a, b, c = shelf.pool.snapshot().lives
    assert (a.name, a.loads, a.unloads) == ("a", 1, {UnloadCause.ROOM: 1})
    assert (b.name, b.loads, b.load_failures) == ("b", 2, 1)
    assert b.unloads == {UnloadCause.ROOM: 1, UnloadCause.ASKED: 1}
    assert (c.loads, c.load_failures, c.unloads) == (1, 0, {})
    assert b.load_seconds > 0


async def test_a_load_for_which_there_is_no_room_has_failed_and_a_cancelled_one_has_not(shelves: Shelves) -> None:
    shelf = shelves(100, a=200, b=10)
    with pytest.raises(LoadFailed):
        await shelf.ask("a")
    shelf.held.clear()
    waiting = asyncio.create_task(shelf.ask("b"))
    await until(lambda: shelf.member("b").loaded)
    await shelf.pool.unload(shelf.member("b"))
    with pytest.raises(ModelNotReady):
        await waiting
    (a,) = shelf.pool.snapshot().lives
    assert (a.name, a.loads, a.load_failures) == ("a", 0, 1)


async def test_models_beyond_the_bound_are_counted_together(shelves: Shelves, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(life, "MOST_LIVES", 1)
    shelf = shelves(100, a=10, b=10, c=10)
    for name in ("a", "b", "c"):
        await shelf.ask(name)
    assert [(each.name, each.loads) for each in shelf.pool.snapshot().lives] == [("a", 1), ("", 2)]
