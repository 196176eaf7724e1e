"""Who asks, and what that one may."""

import pytest

from core.requests import Caller, Priority

INTERACTIVE, NORMAL, BATCH = Priority


@pytest.mark.parametrize(
    ("most_urgent", "wanted", "given"),
    [
        (INTERACTIVE, INTERACTIVE, INTERACTIVE),
        (NORMAL, INTERACTIVE, NORMAL),
        (NORMAL, NORMAL, NORMAL),
        (NORMAL, BATCH, BATCH),
        (BATCH, INTERACTIVE, BATCH),
    ],
)
def test_a_priority_above_what_a_caller_may_ask_becomes_the_most_urgent_that_it_may(
    most_urgent: Priority, wanted: Priority, given: Priority
) -> None:
    assert Caller(most_urgent=most_urgent).bound_priority(wanted) is given


def test_a_caller_whose_models_are_told_may_use_no_other() -> None:
    caller = Caller(models=("echo", "owner/*"))
    assert [name for name in ("echo", "owner/any:q4", "echo2", "Echo", "other/echo", "") if caller.may_use(name)] == [
        "echo",
        "owner/any:q4",
    ]
    assert Caller().may_use("anything")
