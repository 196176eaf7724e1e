"""Bounded from the first moment; first in, first out, but for what is more urgent."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import QueueFull
from core.requests import Priority
from core.serving.queue import PATIENCE_SECONDS, AdmissionQueue, choose_yielding, find_turn

LONGEST = max(PATIENCE_SECONDS.values())
Arrival = tuple[float, Priority]
"""Seconds since the arrival before, and what came."""
arrivals = st.lists(st.tuples(st.floats(0, 30), st.sampled_from(Priority)), min_size=1, max_size=60)


def arrive(queue: AdmissionQueue[str], item: str) -> None:
    with queue.arrival():
        queue.put(item, 0.0)


def serve_in_turn(came: Sequence[Arrival], seconds: float) -> tuple[list[float], list[tuple[int, float]]]:
    """When each came; who was served, by the index of the arrival, and when that began: one every `seconds`, on a clock
    that only moves here."""
    queue: AdmissionQueue[int] = AdmissionQueue(0, 1)
    moments: list[float] = []
    served: list[tuple[int, float]] = []
    free = now = 0.0

    def serve_until(end: float) -> None:
        nonlocal free
        while free < end and (head := queue.peek()) is not None:
            assert queue.claim(head)
            served.append((head, free))
            free += seconds

    for index, (gap, priority) in enumerate(came):
        now += gap
        serve_until(now)
        free = max(free, now)
        moments.append(now)
        with queue.arrival():
            queue.put(index, find_turn(now, priority))
    serve_until(float("inf"))
    return moments, served


@given(arrivals, st.floats(0.1, 60))
def test_the_more_urgent_of_two_that_wait_goes_first_unless_it_came_much_later(
    came: Sequence[Arrival], seconds: float
) -> None:
    moments, served = serve_in_turn(came, seconds)
    for place, (index, began) in enumerate(served):
        for other, _ in served[place + 1 :]:
            if moments[other] < began:
                head_start = PATIENCE_SECONDS[came[index][1]] - PATIENCE_SECONDS[came[other][1]]
                assert moments[other] - moments[index] >= head_start - 1e-6


@given(arrivals, st.floats(0.1, 60))
def test_nothing_is_overtaken_by_what_came_much_later(came: Sequence[Arrival], seconds: float) -> None:
    moments, served = serve_in_turn(came, seconds)
    order = [index for index, _ in served]
    assert sorted(order) == list(range(len(came)))
    for place, index in enumerate(order):
        assert all(moments[before] <= moments[index] + LONGEST + 1e-6 for before in order[:place])


@given(st.lists(st.floats(0, 30), min_size=1, max_size=60), st.sampled_from(Priority), st.floats(0.1, 60))
def test_those_that_are_equally_urgent_are_served_as_they_came(
    gaps: Sequence[float], priority: Priority, seconds: float
) -> None:
    _, served = serve_in_turn([(gap, priority) for gap in gaps], seconds)
    assert [index for index, _ in served] == list(range(len(gaps)))


def test_requests_leave_in_the_order_they_came() -> None:
    queue: AdmissionQueue[str] = AdmissionQueue(8, 1)
    for item in "abc":
        arrive(queue, item)
    taken = []
    while (head := queue.peek()) is not None:
        assert queue.claim(head)
        taken.append(head)
    assert taken == ["a", "b", "c"]


def test_the_waiting_room_is_bounded_beyond_the_slots() -> None:
    queue: AdmissionQueue[str] = AdmissionQueue(2, 1)
    for item in "abc":
        arrive(queue, item)
    with pytest.raises(QueueFull) as refused:
        arrive(queue, "d")
    assert refused.value.retry_after >= 1
    assert queue.stats().total_rejected == 1


def test_what_is_being_served_counts_against_the_bound_until_it_is_done() -> None:
    queue: AdmissionQueue[str] = AdmissionQueue(1, 1)
    arrive(queue, "a")
    queue.claim("a")
    arrive(queue, "b")
    with pytest.raises(QueueFull):
        arrive(queue, "c")
    queue.done(0.1, cancelled=False)
    arrive(queue, "c")
    assert queue.stats().total_processed == 1


def test_a_burst_that_is_still_arriving_cannot_slip_past_the_bound() -> None:
    queue: AdmissionQueue[str] = AdmissionQueue(1, 1)
    with queue.arrival(), queue.arrival(), pytest.raises(QueueFull), queue.arrival():
        pass


def test_depth_zero_means_no_bound() -> None:
    queue: AdmissionQueue[str] = AdmissionQueue(0, 1)
    for item in range(1000):
        arrive(queue, str(item))
    assert queue.stats().pending == 1000


def test_withdrawing_and_claiming_exclude_each_other() -> None:
    queue: AdmissionQueue[str] = AdmissionQueue(8, 1)
    arrive(queue, "a")
    arrive(queue, "b")
    assert queue.withdraw("a", timed_out=True)
    assert not queue.claim("a")
    assert queue.claim("b")
    assert not queue.withdraw("b", timed_out=False)
    assert queue.stats().total_timed_out == 1


def test_retry_after_follows_how_long_requests_last() -> None:
    queue: AdmissionQueue[str] = AdmissionQueue(1, 2)
    for _ in range(60):
        arrive(queue, "a")
        queue.claim("a")
        queue.done(30.0, cancelled=False)
    for item in "abc":
        arrive(queue, item)
    with pytest.raises(QueueFull) as refused:
        arrive(queue, "d")
    assert refused.value.retry_after == 15


def test_a_batch_request_gives_its_slot_to_one_that_somebody_waits_for() -> None:
    running = [(0.0, Priority.INTERACTIVE), (41.0, Priority.BATCH), (45.0, Priority.BATCH), (50.0, Priority.NORMAL)]
    assert choose_yielding(running, find_turn(20.0, Priority.INTERACTIVE), Priority.INTERACTIVE) == 2
    assert choose_yielding(running, find_turn(20.0, Priority.NORMAL), Priority.NORMAL) == 2
    assert choose_yielding(running, find_turn(1.0, Priority.BATCH), Priority.BATCH) is None


@given(arrivals, st.sampled_from(Priority))
def test_no_slot_is_given_up_by_what_is_not_batch_or_has_waited_as_long_as_it_may(
    came: Sequence[Arrival], priority: Priority
) -> None:
    now, running = 0.0, []
    for gap, each in came:
        now += gap
        running.append((find_turn(now, each), each))
    turn = find_turn(now, priority)
    chosen = choose_yielding(running, turn, priority)
    assert (chosen is not None) == (
        priority is not Priority.BATCH and any(each is Priority.BATCH and its > turn for its, each in running)
    )
    if chosen is not None:
        arrived = running[chosen][0] - PATIENCE_SECONDS[Priority.BATCH]
        assert running[chosen][1] is Priority.BATCH
        assert now - arrived < PATIENCE_SECONDS[Priority.BATCH] - PATIENCE_SECONDS[priority]
