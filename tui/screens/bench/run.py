"""What a run of the benchmark suite has told so far. Knows no widgets."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import takewhile

from core.bench.results import BenchRow, Change, Setting, convert_row
from core.bench.suite import CaseDone, CaseSampled, CaseStarted, SuiteEvent
from core.trial.standing import Standing, judge_standing
from tui import format as fmt

BOUNDS = {"rounds": (1, 1000), "prompt": (1, 100_000), "decoded": (2, 100_000)}
"""Least and most of the plan's plain numbers, as on the command line."""


NAMES = ("threads", "batch", "micro_batch", "kv_type", "depth")
"""Of the settings that a run may sweep, as attributes of a Setting."""


class CaseState(Enum):
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass
class Case:
    """One engine with one setting."""

    number: int
    """From one."""
    setting: Setting
    rates: list[float] = field(default_factory=list)
    """Decode rate of each round so far, tokens a second."""
    prefill: float = 0.0
    """Of the last round."""
    row: BenchRow | None = None
    """The verdict, once there is one."""
    ratio: float | None = None
    """Decode rate against the last run with the same setting."""
    state: CaseState = CaseState.RUNNING

    @property
    def decode(self) -> float:
        """Tokens a second: the median once it is known, the last round until then, zero before any."""
        if self.row is not None:
            return self.row.decode
        return self.rates[-1] if self.rates else 0.0


class Lineup:
    """The cases of one run, in the order they are measured."""

    def __init__(self, rounds: int) -> None:
        self.rounds = rounds
        """Wanted of each case."""
        self.total = 0
        """Cases of the run; zero until the first begins."""
        self.cases: list[Case] = []

    def take(self, event: SuiteEvent) -> None:
        match event:
            case CaseStarted(number=number, total=total, setting=setting):
                self.total = total
                self.cases.append(Case(number, setting))
            case CaseSampled(prefill=prefill, decode=decode) if self.cases:
                self.cases[-1].prefill = prefill
                self.cases[-1].rates.append(decode)
            case CaseDone(row=row) if self.cases:
                self.cases[-1].row = row
                self.cases[-1].state = CaseState.DONE if row.problem is None else CaseState.FAILED

    def halt(self) -> None:
        """The run is over: a case still under way was stopped."""
        for case in self.cases:
            if case.state is CaseState.RUNNING:
                case.state = CaseState.STOPPED

    def compare(self, changes: Iterable[Change]) -> None:
        """Put each row beside its predecessor."""
        ratios = {change.row.setting: change.ratio for change in changes}
        for case in self.cases:
            case.ratio = ratios.get(case.setting)

    @property
    def running(self) -> Case | None:
        return next((case for case in self.cases if case.state is CaseState.RUNNING), None)

    @property
    def standing(self) -> Standing:
        """How the cases that were measured to their end stand, each by its engine and what is swept."""
        names = list_swept([case.setting for case in self.cases])
        return _judged(self._done, lambda case: self.label(case, names))

    def label(self, case: Case, names: Iterable[str]) -> str:
        """The engine, and what tells the case from others: the model where there are several, and those settings."""
        model = shorten_names([each.setting.model for each in self.cases])[case.setting.model]
        return " ".join(filter(None, (case.setting.engine, model, abbreviate_setting(case.setting, names))))

    @property
    def models(self) -> tuple[str, ...]:
        """In the order in which they are measured."""
        return tuple(dict.fromkeys(case.setting.model for case in self.cases))

    @property
    def engines(self) -> Standing:
        """The same of engines, each with its fastest setting."""
        best: dict[str, Case] = {}
        for case in self._done:
            before = best.get(case.setting.engine)
            if before is None or case.decode > before.decode:
                best[case.setting.engine] = case
        return _judged(best.values(), lambda case: case.setting.engine)

    @property
    def leader(self) -> Case | None:
        """With the highest rate so far, whether that means anything or not; the earlier of equals."""
        return max(self._done, key=lambda case: case.decode, default=None)

    @property
    def fastest(self) -> Case | None:
        """Of those measured to their end, the one that is faster than all others by more than the noise; none where
        several models were measured, of which the smallest is the fastest anyway."""
        return self.leader if self.standing.clear and len(self.models) < 2 else None

    @property
    def _done(self) -> list[Case]:
        return [case for case in self.cases if case.state is CaseState.DONE and case.decode > 0]

    @property
    def best(self) -> float:
        """The highest decode rate so far, which bars are drawn against."""
        return max((case.decode for case in self.cases), default=0.0)

    @property
    def rows(self) -> tuple[BenchRow, ...]:
        return tuple(case.row for case in self.cases if case.row is not None)


def _judged(cases: Iterable[Case], name: Callable[[Case], str]) -> Standing:
    return judge_standing([convert_row(case.row, name(case)) for case in cases if case.row is not None])


def shorten_names(names: Iterable[str]) -> dict[str, str]:
    """Each name without the words that all of them begin and end with; nothing of a name that is the only one."""
    whole = list(dict.fromkeys(names))
    if len(whole) < 2:
        return dict.fromkeys(whole, "")
    words = [re.split(r"(?<=[-:/ ])", name) for name in whole]
    rest = [each[_count_common(words) :] for each in words]
    last = _count_common([each[::-1] for each in rest])
    short = ["".join(each[: len(each) - last]).rstrip("-:/ ") for each in rest]
    return {name: part or name for name, part in zip(whole, short, strict=True)}


def _count_common(lists: Sequence[Sequence[str]]) -> int:
    """How many of their first words are the same."""
    return sum(1 for _ in takewhile(lambda each: len(set(each)) == 1, zip(*lists, strict=False)))


def list_swept(settings: Sequence[Setting]) -> tuple[str, ...]:
    """Which of model settings differ among `settings`, as attribute names."""
    return tuple(name for name in NAMES if len({getattr(setting, name) for setting in settings}) > 1)


def abbreviate_setting(setting: Setting, names: Iterable[str]) -> str:
    """Those settings briefly: `2t b512 q8_0 d1024`."""
    said = {
        "threads": f"{setting.threads}t",
        "batch": f"b{setting.batch}",
        "micro_batch": f"u{setting.micro_batch or setting.batch}" if setting.divides else "u-",
        "kv_type": setting.kv_type.value,
        "depth": f"d{setting.depth}",
    }
    return " ".join(said[name] for name in names)


def describe_setting(setting: Setting, names: Iterable[str]) -> str:
    """Those settings in words: `2 threads, batch 512, KV q8_0, depth 1,024`; no micro-batch of engines without."""
    micro = setting.micro_batch or setting.batch
    said = {
        "threads": fmt.format_plural(setting.threads, "thread"),
        "batch": f"batch {setting.batch}",
        "micro_batch": f"micro-batch {micro}" if setting.divides else "",
        "kv_type": f"KV {setting.kv_type.value}",
        "depth": f"depth {fmt.format_count(setting.depth)}",
    }
    return ", ".join(filter(None, (said[name] for name in names)))
