"""Which models go for another: pure decisions."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from core.serving.pool.eviction import (
    Claim,
    EvictionPlan,
    NoRoom,
    Occupant,
    choose_memory_limit,
    find_coldest,
    list_expired,
    make_room,
)

GIB = 2**30


def idle(name: str, size: int, used: float = 0.0, **fields: object) -> Occupant:
    return Occupant(name, size, used, **fields)  # type: ignore[arg-type]


def test_nothing_goes_while_there_is_room() -> None:
    assert make_room([idle("a", 4)], 4, 8) == EvictionPlan()


def test_the_one_used_longest_ago_goes_first() -> None:
    assert make_room([idle("new", 4, 2.0), idle("old", 4, 1.0)], 4, 8) == EvictionPlan(evict=("old",))


def test_a_small_one_stays_where_a_larger_one_had_to_go_anyway() -> None:
    assert make_room([idle("small", 1, 1.0), idle("large", 8, 2.0)], 5, 10) == EvictionPlan(evict=("large",))


def test_a_busy_one_goes_only_when_idle_ones_are_not_enough_and_then_after_its_requests() -> None:
    there = [idle("busy", 4, 1.0, busy=True), idle("idle", 4, 2.0)]
    assert make_room(there, 4, 8) == EvictionPlan(evict=("idle",))
    assert make_room(there, 8, 8) == EvictionPlan(evict=("idle",), drain=("busy",))


def test_a_pinned_one_never_goes_and_what_is_lacking_is_told() -> None:
    assert make_room([idle("pinned", 6, pinned=True), idle("b", 1)], 4, 8) == NoRoom(2, limit=8)


def test_what_goes_for_a_card_lies_on_it() -> None:
    there = [idle("host", 4, 1.0), idle("card", 1, 2.0, elsewhere={"CUDA0": 8}), idle("other", 1, elsewhere={"X": 9})]
    assert make_room(there, 1, 9, {"CUDA0": Claim(5, 10)}) == EvictionPlan(evict=("card",))
    assert make_room(there, 1, 9, {"CUDA0": Claim(12, 10)}) == NoRoom(2, "CUDA0", 10)
    # A card of which nothing is wanted may be fuller than its limit.
    assert make_room(there, 1, 9, {"CUDA0": Claim(0, 1)}) == EvictionPlan()
    # One that must go for main memory makes room on the card as well.
    assert make_room(there, 8, 9, {"CUDA0": Claim(5, 10)}) == EvictionPlan(evict=("host", "card"))


def test_the_limit_leaves_a_fifth_of_a_small_machine_and_eight_gigabytes_of_a_large_one() -> None:
    assert choose_memory_limit(10_000_000_000) == 8_000_000_000
    assert choose_memory_limit(64_000_000_000) == 56_000_000_000


def test_only_idle_unpinned_models_with_a_time_to_live_expire() -> None:
    there = [
        idle("gone", 1, 0.0, ttl=10.0),
        idle("fresh", 1, 95.0, ttl=10.0),
        idle("kept", 1, 0.0),
        idle("at once", 1, 100.0, ttl=0.0),
        idle("busy", 1, 0.0, ttl=10.0, busy=True),
        idle("pinned", 1, 0.0, ttl=10.0, pinned=True),
    ]
    assert list_expired(there, 100.0) == ["gone", "at once"]
    assert find_coldest([idle("b", 1, 2.0), idle("a", 1, 1.0, pinned=True)]) == "b"
    assert find_coldest([]) is None


occupants = st.lists(
    st.builds(
        Occupant,
        st.uuids().map(str),
        st.integers(0, 100),
        st.floats(0, 100),
        busy=st.booleans(),
        pinned=st.booleans(),
    ),
    max_size=8,
)


@given(occupants, st.integers(0, 200), st.integers(1, 300))
def test_what_goes_is_enough_and_none_of_it_is_needless(there: list[Occupant], need: int, limit: int) -> None:
    sizes = {each.name: each.size for each in there}
    total = sum(sizes.values())
    room = make_room(there, need, limit)
    if isinstance(room, NoRoom):
        fixed = sum(each.size for each in there if each.pinned)
        assert fixed + need - limit == room.lacking > 0
        return
    gone = (*room.evict, *room.drain)
    freed = sum(sizes[name] for name in gone)
    assert total - freed + need <= limit
    assert not any(each.pinned for each in there if each.name in gone)
    assert all(total - freed + sizes[name] + need > limit for name in gone)


@given(occupants, st.lists(st.integers(0, 100), min_size=8, max_size=8), st.integers(0, 150), st.integers(1, 300))
def test_what_goes_is_enough_on_every_memory(there: list[Occupant], held: list[int], need: int, limit: int) -> None:
    there = [replace(each, elsewhere={"CUDA0": size}) for each, size in zip(there, held, strict=False)]
    room = make_room(there, need, limit, {"CUDA0": Claim(limit - need % limit, limit)})
    if isinstance(room, NoRoom):
        pinned = sum(each.count_bytes(room.memory) for each in there if each.pinned)
        wanted = need if room.memory == "" else limit - need % limit
        assert pinned + wanted - limit == room.lacking > 0
        return
    left = [each for each in there if each.name not in (*room.evict, *room.drain)]
    assert not any(each.pinned for each in there if each not in left)
    if room != EvictionPlan():
        assert sum(each.size for each in left) + need <= limit
        assert sum(each.count_bytes("CUDA0") for each in left) + limit - need % limit <= limit
