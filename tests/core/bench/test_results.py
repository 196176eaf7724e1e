"""Results are kept with all they depend on, and can be taken elsewhere."""

import csv
import io
import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from core.bench.documents import ExportFormat
from core.bench.results import HEAD, BenchRow, BenchRun, History, Setting, export_run, format_cells
from core.contract.options import KvType

SETTING = Setting("guide", "abc", "llamacpp", "1", "gguf", 1, 512, KvType.F16, 0, 256, 48)
ROW = BenchRow(SETTING, prefill=900.5, decode=100.25, spread=0.034, first_token=0.01234, memory=123_456_789, rounds=5)
BROKEN = BenchRow(replace(SETTING, engine="mlx"), problem="crashed with SIGILL | badly")
RUN = BenchRun(1000.0, "m1", "A processor", (ROW, BROKEN))


def test_runs_come_back_in_order_and_damage_costs_one_line(tmp_path: Path) -> None:
    history = History(tmp_path / "deep" / "runs.jsonl")
    assert history.runs() == []
    history.add(RUN)
    with (tmp_path / "deep" / "runs.jsonl").open("ab") as file:
        file.write(b'{"half a line\n')
    later = replace(RUN, taken=2000.0)
    history.add(later)
    assert history.runs() == [RUN, later]


def test_a_row_is_compared_with_the_latest_of_the_same_setting_on_the_same_machine(tmp_path: Path) -> None:
    history = History(tmp_path / "runs.jsonl")
    history.add(replace(RUN, taken=1.0, rows=(replace(ROW, decode=10.0),)))
    history.add(
        replace(RUN, taken=2.0, rows=(replace(ROW, decode=50.0), replace(ROW, setting=replace(SETTING, threads=2))))
    )
    history.add(replace(RUN, taken=3.0, machine="m2", rows=(replace(ROW, decode=999.0),)))
    history.add(RUN)
    same, broken = history.compare(RUN)
    assert same.ratio == pytest.approx(100.25 / 50.0)
    assert broken.ratio is None
    assert broken.before is None


def test_a_setting_is_traced_over_all_runs_and_versions_of_its_engine(tmp_path: Path) -> None:
    history = History(tmp_path / "runs.jsonl")
    history.add(replace(RUN, taken=1.0, rows=(replace(ROW, decode=10.0, setting=replace(SETTING, version="old")),)))
    history.add(replace(RUN, taken=2.0, rows=(replace(ROW, setting=replace(SETTING, threads=2)),)))
    history.add(replace(RUN, taken=3.0, machine="m2", rows=(replace(ROW, decode=999.0),)))
    history.add(RUN)
    assert history.trace(RUN)[0] == (10.0, ROW.decode)


def test_rows_of_before_it_was_told_which_engines_divide_steps_are_compared_too(tmp_path: Path) -> None:
    history = History(tmp_path / "runs.jsonl")
    history.add(replace(RUN, taken=1.0, rows=(replace(ROW, decode=50.0),)))
    (change,) = history.compare(replace(RUN, rows=(replace(ROW, setting=replace(SETTING, divides=False)),)))
    assert change.ratio == pytest.approx(100.25 / 50.0)


def test_a_micro_batch_is_told_only_of_engines_that_have_one() -> None:
    told = [format_cells(replace(ROW, setting=replace(SETTING, divides=divides)))[4] for divides in (True, False)]
    assert told == ["512", "-"]


def test_every_row_has_a_cell_for_each_heading() -> None:
    assert len(format_cells(ROW)) == len(format_cells(BROKEN)) == len(HEAD)
    assert format_cells(ROW)[7:12] == ("900.5", "100.2", "3%", "12.3", "123")
    guessed = replace(ROW, copying=220.55, acceptance=(0.98, 0.91))
    assert format_cells(guessed)[12:14] == ("220.6", "98% 91%")
    assert format_cells(BROKEN)[-1] == "crashed with SIGILL | badly"


def test_exports_say_the_same_in_three_formats() -> None:
    assert json.loads(export_run(RUN, ExportFormat.JSON))["rows"][0]["decode"] == 100.25
    rows = list(csv.reader(io.StringIO(export_run(RUN, ExportFormat.CSV))))
    assert rows == [list(HEAD), list(format_cells(ROW)), list(format_cells(BROKEN))]
    markdown = export_run(RUN, ExportFormat.MARKDOWN).splitlines()
    assert len(markdown) == 6
    assert "SIGILL \\| badly" in markdown[-1]
