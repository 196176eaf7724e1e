"""Benchmark results: what was measured, with all it depends on; kept, compared with earlier ones, exported."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from core.bench.documents import ExportFormat, write_document
from core.contract.options import KvType
from core.foreign_text import make_printable
from core.kept import keep_line, load_kept_lines
from core.trial.standing import Measured, Standing, judge_standing

UNIT = "tokens/s"
SHOWN_POSITIONS = 6
"""Of the guesses of a step that words tell of, the first ones."""


class Setting(Struct, frozen=True):
    """What a row was measured with; two rows with equal settings on one machine can be compared."""

    model: str
    fingerprint: str
    """Of the model's files."""
    engine: str
    version: str
    format: str
    threads: int
    batch: int
    kv_type: KvType
    depth: int
    """Tokens in the context before the clock started."""
    prompt: int
    decoded: int
    extra_buffers: bool = True
    flash_attention: bool | None = None
    micro_batch: int | None = None
    """None: as large as the batch."""
    divides: bool = True
    """Whether the engine has micro-batches at all. It follows from the engine, so rows are compared without it."""


class BenchRow(Struct, frozen=True):
    """One engine with one setting. Rates in tokens a second of a single sequence, medians over the rounds."""

    setting: Setting
    prefill: float = 0.0
    decode: float = 0.0
    spread: float = 0.0
    """(largest - smallest) / median of the decode rates."""
    first_token: float = 0.0
    """Seconds."""
    memory: int = 0
    """Resident bytes of the process that ran it."""
    rounds: int = 0
    problem: str | None = None
    """Why there are no figures."""
    copying: float = 0.0
    """Decode rate while a text is copied and tokens are guessed ahead; zero where nothing is guessed."""
    acceptance: tuple[float, ...] = ()
    """Share of the first guesses of each step that came true, of the second ones, and so on."""


class BenchRun(Struct, frozen=True):
    """A run of the suite on one machine."""

    taken: float
    """Seconds since the epoch."""
    machine: str
    """Fingerprint of the machine."""
    processor: str
    rows: tuple[BenchRow, ...]


def rank_engines(rows: Iterable[BenchRow]) -> dict[str, Standing]:
    """How the engines stand, for each model of which something was measured: every engine with its fastest setting."""
    found: dict[str, dict[str, BenchRow]] = {}
    for row in rows:
        if row.problem is None and row.decode > 0:
            engines = found.setdefault(row.setting.model, {})
            best = engines.get(row.setting.engine)
            if best is None or row.decode > best.decode:
                engines[row.setting.engine] = row
    return {model: judge_standing([convert_row(row) for row in engines.values()]) for model, engines in found.items()}


def convert_row(row: BenchRow, name: str = "") -> Measured:
    """A row as its standing is judged by; `name` in place of its engine's."""
    return Measured(name or row.setting.engine, row.decode, row.spread, row.rounds or None)


class Change(Struct, frozen=True):
    """A row beside the latest earlier row with the same setting on the same machine."""

    row: BenchRow
    before: BenchRow | None

    @property
    def ratio(self) -> float | None:
        """Decode rate now over then; None when there is nothing to compare."""
        if self.before is None or not self.before.decode or not self.row.decode:
            return None
        return self.row.decode / self.before.decode


class History:
    """Runs of this machine's user, a line of JSON each; a damaged line is passed over, never the rest."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, run: BenchRun) -> None:
        """Where it cannot be kept, later runs are not compared with it; the log says so."""
        keep_line(self._path, run)

    def runs(self) -> list[BenchRun]:
        """Oldest first."""
        return load_kept_lines(self._path, BenchRun)

    def compare(self, run: BenchRun) -> list[Change]:
        """Each row of `run` with its latest predecessor."""
        earlier: dict[Setting, BenchRow] = {}
        for old in self.runs():
            if old.machine == run.machine and old.taken < run.taken:
                earlier.update({_drop_divides(row.setting): row for row in old.rows if row.problem is None})
        return [Change(row, earlier.get(_drop_divides(row.setting))) for row in run.rows]

    def trace(self, run: BenchRun) -> list[tuple[float, ...]]:
        """For each row of `run` the decode rates of its setting on this machine, oldest first, its own last; whatever
        the engine's version was."""
        before: dict[Setting, list[float]] = {}
        for old in self.runs():
            if old.machine == run.machine and old.taken < run.taken:
                for row in old.rows:
                    if row.problem is None:
                        before.setdefault(_drop_version(row.setting), []).append(row.decode)
        return [(*before.get(_drop_version(row.setting), ()), row.decode) for row in run.rows]


def _drop_version(setting: Setting) -> Setting:
    return replace(_drop_divides(setting), version="")


def _drop_divides(setting: Setting) -> Setting:
    """Without what rows of earlier versions do not tell."""
    return replace(setting, divides=True)


HEAD = (
    "model",
    "engine",
    "threads",
    "batch",
    "micro-batch",
    "KV",
    "depth",
    f"prefill {UNIT}",
    f"decode {UNIT}",
    "spread",
    "first token ms",
    "memory MB",
    f"copying {UNIT}",
    "came true by position",
    "problem",
)


def format_cells(row: BenchRow) -> tuple[str, ...]:
    """A row in words, as wide as `HEAD`."""
    setting = row.setting
    micro_batch = setting.micro_batch or setting.batch if setting.divides else "-"
    numbers = (setting.threads, setting.batch, micro_batch)
    known = (
        make_printable(setting.model),
        setting.engine,
        *map(str, numbers),
        setting.kv_type.value,
        str(setting.depth),
    )
    if row.problem is not None:
        return (*known, "", "", "", "", "", "", "", make_printable(row.problem))
    return (
        *known,
        f"{row.prefill:.1f}",
        f"{row.decode:.1f}",
        f"{row.spread:.0%}",
        f"{row.first_token * 1000:.1f}",
        f"{row.memory / 1e6:.0f}",
        f"{row.copying:.1f}" if row.copying else "",
        " ".join(f"{share:.0%}" for share in row.acceptance),
        "",
    )


def describe_copying(row: BenchRow) -> str:
    """In words how fast the row's engine copies with guesses, and how often they came true; empty where none were
    made."""
    if not row.copying:
        return ""
    shares = [f"{share:.0%}" for share in row.acceptance[:SHOWN_POSITIONS]]
    true = f"; by position {', '.join(shares)} came true" if shares else "; no guess paid"
    gain = f" ({row.copying / row.decode:.1f}x)" if row.decode else ""
    return f"guessing ahead while it copies {row.copying:,.0f} tok/s{gain}{true}"


def describe_fastest(rows: Iterable[BenchRow]) -> Iterator[str]:
    """A sentence for each model of which several engines were measured: the fastest, or why there is none."""
    for model, standing in rank_engines(rows).items():
        if standing.first is not None and standing.others:
            first = f"fastest with {standing.first.name}, {standing.first.decode:.1f} {UNIT}."
            yield f"{model}: {standing.doubt or first}"


class _Told(BenchRun, frozen=True):
    """A run in the form of its export."""

    verdicts: tuple[str, ...] = ()


def export_run(run: BenchRun, form: ExportFormat) -> str:
    """The run as a document; in Markdown its verdicts are sentences behind the table."""
    verdicts = tuple(describe_fastest(run.rows))
    told = _Told(run.taken, run.machine, run.processor, run.rows, verdicts)
    document = write_document(form, HEAD, [*map(format_cells, run.rows)], told)
    if form is not ExportFormat.MARKDOWN:
        return document
    return f"{run.processor}, machine {run.machine}\n\n{document}" + "".join(f"\n{verdict}\n" for verdict in verdicts)
