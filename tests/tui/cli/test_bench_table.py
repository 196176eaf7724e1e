"""What `tui bench` prints: whole figures at 80 columns, and a word for whatever a figure does not say."""

from __future__ import annotations

import io
import itertools
import re

import pytest
from msgspec.structs import replace

from core.bench.results import BenchRow, BenchRun, Change, Setting
from core.bench.suite import CaseDone, SuitePlan, parse_sweeps
from core.contract.options import KvType
from tui.cli.bench import Reporter, list_inapplicable
from tui.cli.bench_table import print_tables
from tui.cli.console import Paper

SETTING = Setting("guide", "abc", "llamacpp", "1", "gguf", 1, 512, KvType.F16, 0, 256, 48)
OTHERS = [replace(SETTING, engine=name, threads=2, divides=False) for name in ("mlx", "onnxruntime-genai")]


def row(setting: Setting) -> BenchRow:
    return BenchRow(setting, prefill=127_789.04, decode=13_454.44, spread=0.034, first_token=0.5067, memory=10**10)


def printed(*rows: BenchRow, before: bool = True) -> str:
    out = io.StringIO()
    console = Paper(file=out, width=80)
    print_tables(console, [Change(each, replace(each, decode=9000.0) if before else None) for each in rows])
    return out.getvalue()


def assert_whole(text: str, rows: int) -> None:
    """Each row has all its figures, in one line that is not too long."""
    assert max(map(len, text.splitlines())) <= 80
    figures = re.compile(r"127,789 +13,454 +3% +506\.7 +10000 +1\.49x$", re.MULTILINE)
    assert len(figures.findall(text)) == rows


def test_figures_stay_whole_where_engines_and_micro_batches_differ() -> None:
    settings = [*(replace(SETTING, micro_batch=size) for size in (64, 128, None)), *OTHERS]
    text = printed(*map(row, settings))
    assert_whole(text, 5)
    assert "All with batch 512, KV f16, depth 0." in text


def test_an_engine_without_micro_batches_has_a_dash_for_them() -> None:
    settings = [replace(SETTING, micro_batch=64), SETTING, *(replace(each, threads=1) for each in OTHERS)]
    lines = printed(*map(row, settings)).splitlines()
    found = {tuple(line.split()[:2]) for line in lines if "127,789" in line}
    assert found == {("llamacpp", "64"), ("llamacpp", "512"), ("mlx", "-"), ("onnxruntime-genai", "-")}


def test_figures_stay_whole_where_every_setting_is_swept() -> None:
    swept = itertools.product((1, 2), (128, 256), (64, None), (KvType.F16, KvType.Q8_0), (0, 1024))
    settings = [
        replace(SETTING, engine="onnxruntime-genai", threads=n, batch=b, micro_batch=u, kv_type=kv, depth=d)
        for n, b, u, kv, d in swept
    ]
    text = printed(*map(row, settings))
    assert_whole(text, 32)
    assert "2 threads, batch 256, micro-batch 64, KV q8_0, depth 1,024" in " ".join(text.split())
    assert "All with" not in text


def test_each_model_has_a_table_of_its_own_below_its_name() -> None:
    name = "some-owner-with-a-name/" + "A-Model-With-A-Very-Long-Name-" * 3
    text = printed(row(SETTING), row(replace(SETTING, model=name)))
    assert_whole(text, 2)
    assert name in "".join(text.split())


@pytest.mark.parametrize("before", [True, False])
def test_the_comparison_is_explained_where_there_is_one(before: bool) -> None:
    text = " ".join(printed(row(SETTING), before=before).split())
    assert ("before: decode against the last run with the same settings" in text) is before
    assert ("before" in text) is before


def test_what_guesses_do_is_told_below_the_table_of_engines_that_guess() -> None:
    text = printed(replace(row(SETTING), copying=26_908.9, acceptance=(0.98, 0.91)), row(OTHERS[0]))
    told = "llamacpp, 1 thread: guessing ahead while it copies 26,909 tok/s (2.0x); by position 98%, 91% came true."
    assert told in " ".join(text.split())
    assert text.count("guessing ahead") == 1


def test_a_failure_is_told_once_below_the_table_with_its_setting() -> None:
    failed = BenchRow(replace(SETTING, micro_batch=64), problem="crashed with SIGILL [sic]")
    text = printed(failed, row(SETTING))
    assert "failed" in text
    assert "llamacpp, micro-batch 64: crashed with SIGILL [sic]" in text


def test_a_line_of_progress_says_which_case_it_is_about() -> None:
    plan = parse_sweeps(["micro_batch=64,128", "kv=q8_0"], SuitePlan())
    for several, said in (
        (False, "[benchmark] llamacpp, micro-batch 64: 13454.4"),
        (True, "guide with llamacpp, micro"),
    ):
        out = io.StringIO()
        reporter = Reporter(Paper(file=out, width=200), lambda _: None, plan, several=several)
        reporter.tell(CaseDone(row(replace(SETTING, micro_batch=64))))
        assert said in out.getvalue()


def test_a_sweep_that_an_engine_has_no_setting_for_is_told() -> None:
    run = BenchRun(1.0, "m", "p", tuple(map(row, (SETTING, *OTHERS))))
    assert list_inapplicable(run, SuitePlan()) == []
    assert list_inapplicable(run, parse_sweeps(["micro_batch=64,128"], SuitePlan())) == [
        "mlx has no micro-batch, so that sweep does not apply to it.",
        "onnxruntime-genai has no micro-batch, so that sweep does not apply to it.",
    ]
