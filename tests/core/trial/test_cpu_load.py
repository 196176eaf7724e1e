"""How much others took of a machine while it was measured."""

import subprocess
import sys

import pytest

from core.trial.cpu_load import Times, measure_other_load, read_times


@pytest.mark.parametrize(
    ("after", "share"),
    [
        (Times(10.0, 0.0, 0.0), 0.0),
        (Times(10.0, 5.0, 5.0), 0.0),
        (Times(10.0, 7.5, 5.0), 0.25),
        (Times(10.0, 10.0, 0.0), 1.0),
        # Clocks that tick apart tell of more than there was.
        (Times(10.0, 4.9, 5.0), 0.0),
        (Times(0.1, 0.1, 0.0), 0.0),
    ],
)
def test_what_the_children_did_not_take_was_taken_by_others(after: Times, share: float) -> None:
    assert measure_other_load(Times(0.0, 0.0, 0.0), after) == share


def test_the_time_of_a_child_that_has_ended_is_ours() -> None:
    before = read_times()
    subprocess.run([sys.executable, "-c", "sum(range(10**7))"], check=True)
    after = read_times()
    assert after.mine > before.mine
    assert after.whole >= after.busy >= before.busy
