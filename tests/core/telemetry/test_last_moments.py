"""What is done when native code is about to end the process."""

import threading

import pytest

from core.telemetry import last_moments
from core.telemetry.last_moments import LastMoments


class Keeper:
    def __init__(self, gate: threading.Event) -> None:
        self._gate = gate
        self.told: list[str] = []

    def keep(self, why: str) -> None:
        self._gate.wait()
        self.told.append(why)


def test_all_are_told_why_and_nobody_is_waited_for_for_long(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(last_moments, "MOMENT_SECONDS", 0.2)
    opened, never = threading.Event(), threading.Event()
    opened.set()
    moments = LastMoments()
    quick, slow, left = Keeper(opened), Keeper(never), Keeper(opened)
    for each in (slow, quick, left):
        moments.add(each.keep)
    moments.remove(left.keep)
    moments.spend("It is over.")
    assert (quick.told, slow.told, left.told) == (["It is over."], [], [])
    assert [record.message for record in caplog.records] == ["It is over."]
    never.set()
