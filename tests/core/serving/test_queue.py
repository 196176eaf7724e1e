"""First in, first out, and bounded from the first moment."""

import pytest

from core.errors import QueueFull
from core.serving.queue import AdmissionQueue


def arrive(queue: AdmissionQueue[str], item: str) -> None:
    with queue.arrival():
        queue.put(item)


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
