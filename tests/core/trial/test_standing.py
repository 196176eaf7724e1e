"""A fastest is named only where the difference is more than noise."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from core.bench.documents import ExportFormat
from core.bench.results import BenchRow, BenchRun, Setting, export_run
from core.contract.artifact import Artifact
from core.contract.options import KvType, LoadOptions
from core.trial.choose_engine import CandidateRow, Selection
from core.trial.standing import Measured, judge_standing
from core.trial.verdict import ProbeVerdict, Rate

SETTING = Setting("m", "f", "a", "1", "gguf", 1, 512, KvType.F16, 0, 256, 48)
GUIDE = Artifact("guide", "gguf", Path("guide.gguf"), 1)


def run(*rows: tuple[str, float, float], rounds: int = 5) -> BenchRun:
    return BenchRun(
        1.0,
        "m1",
        "A processor",
        tuple(
            BenchRow(replace(SETTING, engine=engine), decode=decode, spread=spread, rounds=rounds)
            for engine, decode, spread in rows
        ),
    )


@pytest.mark.parametrize(
    ("one", "other", "clear"),
    [
        ((100.0, 0.02), (90.0, 0.02), True),
        ((100.0, 0.57), (90.0, 0.02), False),
        ((100.0, 0.02), (90.0, 0.57), False),
        ((100.0, 0.10), (90.0, 0.0), False),
        ((100.0, 0.57), (40.0, 0.57), True),
        ((100.0, 0.0), (100.0, 0.0), False),
    ],
)
def test_a_difference_counts_where_it_is_larger_than_either_spread(
    one: tuple[float, float], other: tuple[float, float], clear: bool
) -> None:
    for order in (1, -1):
        standing = judge_standing([Measured("a", *one), Measured("b", *other)][::order])
        assert standing.clear is clear


def test_the_first_must_be_told_from_all_others_and_the_doubt_names_those_it_cannot() -> None:
    standing = judge_standing([Measured("a", 100.0, 0.3), Measured("b", 95.0, 0.01), Measured("c", 10.0, 0.01)])
    assert [each.name for each in standing.rivals] == ["b"]
    assert standing.doubt.startswith("No winner: a (100 tok/s) and b (95.0 tok/s) differ by less than")
    assert "30%" in standing.doubt
    assert "More rounds" in standing.doubt


def test_one_round_has_no_spread_and_names_nobody() -> None:
    standing = judge_standing([Measured("a", 100.0, 0.0, 1), Measured("b", 10.0, 0.0, 1)])
    assert not standing.clear
    assert "measure more rounds" in standing.doubt


def test_exports_say_what_the_screen_says() -> None:
    noisy, clear = run(("a", 100.0, 0.57), ("b", 90.0, 0.02)), run(("a", 100.0, 0.02), ("b", 50.0, 0.02))
    assert "m: No winner: a" in export_run(noisy, ExportFormat.MARKDOWN)
    assert "m: No winner: a" in json.loads(export_run(noisy, ExportFormat.JSON))["verdicts"][0]
    assert export_run(clear, ExportFormat.MARKDOWN).endswith("m: fastest with a, 100.0 tokens/s.\n")
    assert "winner" not in export_run(run(("a", 100.0, 0.57)), ExportFormat.MARKDOWN)


def test_what_an_engine_is_chosen_by_is_told_as_it_is() -> None:
    def row(engine: str, decode: float, spread: float) -> CandidateRow:
        rate = Rate(LoadOptions(), 1, decode, 1.0, 0.1, spread)
        return CandidateRow(engine, GUIDE, ProbeVerdict(engine, "1", "guide", "m", LoadOptions(), (rate,)))

    clear = Selection((row("a", 100.0, 0.1), row("b", 50.0, 0.1)), 0)
    assert clear.lines[-1] == "[engine] Selected: a (fastest)"
    noisy = Selection((row("a", 100.0, 0.57), row("b", 90.0, 0.1)), 0)
    assert noisy.lines[-1] == "[engine] Selected: a (too close to tell from b: rounds spread by up to 57%)"
