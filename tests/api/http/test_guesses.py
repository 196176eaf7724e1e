"""Who tries one key after another."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.http.errors import Denied, RateLimited
from api.http.gatekeeper import Gatekeeper
from api.http.guesses import FREE_GUESSES, GUESSES_PER_SECOND, MOST_ADDRESSES, GuessWatch, group_address
from core.settings.keys import list_keys
from core.settings.schema import ServerSettings

HERE, ELSEWHERE = "192.0.2.1", "192.0.2.2"
RIGHT, WRONG = b"right", b"wrong"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def gate() -> Gatekeeper:
    return Gatekeeper(list_keys(ServerSettings(api_keys=("right",))))


def show(gate: Gatekeeper, key: bytes, address: str = HERE) -> str:
    """What comes of a key."""
    try:
        gate.check(gate.identify(key), key, address)
    except Denied as error:
        return error.code
    except RateLimited:
        return "slowed"
    return "in"


def test_an_address_that_sent_many_wrong_keys_is_slowed_down_and_no_other_is() -> None:
    door = gate()
    assert {show(door, WRONG) for _ in range(FREE_GUESSES)} == {"invalid_api_key"}
    assert show(door, WRONG) == "slowed"
    assert show(door, WRONG, ELSEWHERE) == "invalid_api_key"
    assert show(door, RIGHT, ELSEWHERE) == "in"


def test_what_a_guesser_is_told_does_not_tell_a_right_key_from_a_wrong_one() -> None:
    door = gate()
    for _ in range(FREE_GUESSES):
        show(door, WRONG)
    assert show(door, RIGHT) == show(door, WRONG) == "slowed"


def test_a_key_that_was_right_from_an_address_is_let_in_whatever_a_stranger_sends_from_there() -> None:
    door = gate()
    assert show(door, RIGHT) == "in"
    for _ in range(10 * FREE_GUESSES):
        show(door, WRONG)
    assert show(door, RIGHT) == "in"
    assert show(door, WRONG) == "slowed"


def test_who_shows_no_key_guesses_none() -> None:
    door = gate()
    assert {show(door, b"") for _ in range(10 * FREE_GUESSES)} == {"missing_api_key"}
    assert show(door, RIGHT) == "in"


@given(st.lists(st.floats(0, 10), min_size=1, max_size=200))
def test_no_more_wrong_keys_are_looked_at_than_the_free_ones_and_those_of_the_time(pauses: list[float]) -> None:
    clock = Clock()
    watch = GuessWatch(clock)
    looked = 0
    for pause in pauses:
        clock.now += pause
        if watch.find_delay(HERE, WRONG) == 0:
            watch.note_wrong(HERE)
            looked += 1
    assert looked <= FREE_GUESSES + (clock.now - 1000.0) * GUESSES_PER_SECOND + 1e-6


def test_after_the_delay_that_was_told_one_more_key_is_looked_at() -> None:
    clock = Clock()
    watch = GuessWatch(clock)
    for _ in range(FREE_GUESSES):
        watch.note_wrong(HERE)
    clock.now += watch.find_delay(HERE, WRONG)
    assert watch.find_delay(HERE, WRONG) == 0
    watch.note_wrong(HERE)
    assert watch.find_delay(HERE, WRONG) > 0


def test_who_guesses_is_told_in_the_log_once_a_minute_by_address(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    watch = GuessWatch(clock)
    for _ in range(400):
        clock.now += 0.5
        if watch.find_delay(HERE, WRONG) == 0:
            watch.note_wrong(HERE)
    told = [vars(record)["fields"] for record in caplog.records]
    assert told == [{"address": HERE}] * 4


def test_strangers_with_many_addresses_take_no_more_memory_than_there_is_for_them() -> None:
    watch = GuessWatch(Clock())
    for number in range(MOST_ADDRESSES + 100):
        watch.note_wrong(f"stranger {number}")
    assert len(watch._wrong) == MOST_ADDRESSES


@pytest.mark.parametrize(
    ("address", "narrowed"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::"),
        ("2001:db8::ffff:1", "2001:db8::"),
        ("fe80::1%eth0", "fe80::"),
        ("", ""),
    ],
)
def test_a_network_of_version_6_counts_as_one_address(address: str, narrowed: str) -> None:
    assert group_address(address) == narrowed
