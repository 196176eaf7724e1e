"""What is known of a model, in lines of words."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from textual.content import Content

from core.foreign_text import make_printable
from core.models.catalog import Task
from core.models.fit.estimate import Judged, Verdict
from core.models.fit.plan_words import describe_load, describe_plan
from core.models.formats.header import Header
from core.models.formats.registry import load_formats
from core.sizes import format_size
from core.snapshots import DraftStats, ModelSnapshot
from tui import format as fmt
from tui.glyphs import Glyphs
from tui.screens.models.fit import Dial, compute_shares, describe_where
from tui.screens.models.rows import Item
from tui.widgets.gauge import draw_bar

PAIR_CHARACTERS = 28
"""Characters for a value where two facts share a line."""
SLIDER_CELLS = 16
SHOWN_POSITIONS = 5
"""Of the guesses of a step, the first ones; they tell how fast the chance falls."""
COMMIT = re.compile(r"\b([0-9a-f]{7})[0-9a-f]{33}\b")
BASE_MODEL = (
    "It came without a chat template, as base models do: it goes on with a text instead of answering. "
    "An instruct variant answers; --chat-template gives this one a template."
)
STYLES = {Verdict.FITS: "$gauge-ok", Verdict.TIGHT: "$gauge-warn", Verdict.DOES_NOT_FIT: "$gauge-full"}


def list_fit_notes(judged: Judged) -> list[Content]:
    """What a user should know before the model is loaded, in lines."""
    notes = [Content.styled(note, "$quiet") for note in judged.fit.notes]
    return [*notes, Content.styled(BASE_MODEL, "$warning")] if is_base_model(judged.header) else notes


def is_base_model(header: Header) -> bool:
    """Whether a model that writes text came without a chat template."""
    known = load_formats().get(header.format)
    writes = known is None or known.task in (None, Task.CHAT)
    return writes and not header.template and header.pooling is None


def format_verdict_word(verdict: Verdict | None, *, rough: bool = False) -> Content:
    """In its own word, coloured alike; with a tilde where only the size was looked at."""
    if verdict is None:
        return Content("")
    return Content.styled(f"{'~' if rough else ''}{verdict.value}", STYLES[verdict])


def format_place(judged: Judged | None) -> Content:
    """The verdict in a word; where it fits and there are accelerators, where it would lie in place of that."""
    if judged is None:
        return Content("")
    where = describe_where(judged.fit.plan) if judged.fit.plan.whole else ""
    return Content.styled(where, STYLES[judged.fit.verdict]) if where else format_verdict_word(judged.fit.verdict)


def shorten_name(name: str, width: int, cut: str) -> str:
    """Where it is too long, without its owner: what tells models apart comes last."""
    name = make_printable(name)
    if len(name) <= width or "/" not in name:
        return name
    return f"{cut}/{name.rpartition('/')[2]}"


def shorten_path(path: Path, width: int, cut: str) -> str:
    """Its end, as much of it as fits but at least the name; the names of commits are forty characters long."""
    with suppress(RuntimeError, ValueError):
        path = Path("~") / path.relative_to(Path.home())
    text = COMMIT.sub(rf"\1{cut}", make_printable(str(path)))
    if len(text) <= width:
        return text
    parts = Path(text).parts
    ends = (str(Path(cut, *parts[-number:])) for number in range(len(parts) - 1, 1, -1))
    return next((end for end in ends if len(end) <= width), parts[-1])


def format_item(item: Item, cut: str, *, paired: bool) -> Content:
    """Everything known of a model, a line each; two facts to a line where `paired`. `cut` stands for what is
    left out."""
    lines = [Content.styled(make_printable(item.name), "bold")]
    if item.title and item.title != item.name:
        lines.append(Content.styled(item.title, "$quiet"))
    if item.entry is not None and item.entry.problem:
        bad = item.entry.problem
        # Names of repositories stay as they are.
        first = bad[0] if "/" in bad.partition(" ")[0] else bad[0].upper()
        lines.append(Content.styled(f"{first}{bad[1:].rstrip('.')}.", "$warning"))
    lines += [
        Content("").join([_fact(name, value, PAIR_CHARACTERS if paired else 0) for name, value in line])
        for line in _group_facts(_facts(item), paired=paired)
    ]
    if item.model is not None:
        lines += [Content.styled(note, "$quiet") for note in (item.model.detail, *item.model.notes) if note]
    if item.entry is not None and item.entry.path.name:
        # Last: it may be long, and the name says most of it.
        lines.append(
            _fact(
                "file", shorten_path(item.entry.path, 2 * PAIR_CHARACTERS + 9 if paired else PAIR_CHARACTERS + 4, cut)
            )
        )
    return Content("\n").join(lines)


def _group_facts(facts: Iterable[tuple[str, str]], *, paired: bool) -> list[list[tuple[str, str]]]:
    """Those that share a line. A fact that is wider than its half has a line of its own."""
    lines: list[list[tuple[str, str]]] = []
    room = False
    for fact in facts:
        narrow = paired and len(fact[1]) < PAIR_CHARACTERS
        if narrow and room:
            lines[-1].append(fact)
        else:
            lines.append([fact])
        room = narrow and not room
    return lines


def _kv(model: ModelSnapshot) -> str:
    """What a token takes of the KV cache, and in which type where it is known."""
    size = f"{format_size(model.kv_bytes_per_token)} a token" if model.kv_bytes_per_token else ""
    return f"{size}, {model.kv_type}" if size and model.kv_type else size


def _facts(item: Item) -> list[tuple[str, str]]:
    facts: list[tuple[str, str]] = []
    if item.entry is not None and item.size and item.model is None:
        facts.append(("on disk", format_size(item.size)))
    if (model := item.model) is not None:
        threads = f", {fmt.format_plural(model.threads, 'thread')}" if model.threads else ""
        # Of one that is still loading little is known.
        facts += [
            ("engine", model.engine + threads),
            ("kind", " ".join(filter(None, (model.architecture, model.quantization)))),
            ("params", fmt.shorten_count(model.parameters) if model.parameters else ""),
            ("context", f"{fmt.format_count(model.context)} tokens" if model.context else ""),
            ("slots", f"{model.slots_used} of {model.slots} in use" if model.slots else ""),
            ("weights", format_size(model.weight_bytes) if model.weight_bytes else ""),
            ("KV", _kv(model)),
            ("memory", format_size(model.resident) if model.resident else ""),
            ("draft", _draft(model.draft) if model.draft else ""),
            ("guesses", _draft_positions(model.draft) if model.draft else ""),
        ]
        return [(name, value) for name, value in facts if value]
    if item.parameters:
        facts.append(("params", fmt.shorten_count(item.parameters)))
    if item.entry is None and item.formats:
        facts.append(("formats", ", ".join(item.formats)))
    if item.task is not None and item.task is not Task.CHAT:
        facts.append(("for", item.task.value))
    if item.licence:
        facts.append(("licence", item.licence))
    if item.found is not None:
        facts.append(
            ("pulls", f"{fmt.shorten_count(item.found.downloads)} a month, {fmt.shorten_count(item.found.likes)} likes")
        )
    if item.entry is not None and item.entry.engines:
        facts.append(("runs on", ", ".join(item.entry.engines)))
    return facts


def _draft(stats: DraftStats) -> str:
    """What guesses ahead, how often it is right, and what that gained or lost in time."""
    if stats.problem:
        return f"{stats.by}, off: {stats.problem}"
    if not stats.guessed:
        return stats.by
    net = stats.seconds_gained - stats.seconds_lost
    told = f"{fmt.format_seconds(abs(net))} {'gained' if net >= 0 else 'lost'}"
    return f"{stats.by}, {fmt.format_percent(stats.kept, stats.guessed)} true, {told}"


def _draft_positions(stats: DraftStats) -> str:
    """How often the first guess of a step is right, the second, and so on."""
    shown = [each.acceptance for each in stats.positions[:SHOWN_POSITIONS] if each.guessed]
    return "" if stats.problem else " ".join(f"{share:.0%}" for share in shown)


def format_dial(dial: Dial, marks: Glyphs, *, paired: bool) -> Content:
    """The slider, and what it stands at."""
    return Content.assemble(
        ("context  ", "$quiet"),
        draw_bar(dial.share, SLIDER_CELLS, marks, "$primary"),
        f" {fmt.format_count(dial.context)}",
        (f" of {fmt.format_count(dial.steps[-1])}{'  ' if paired else chr(10)}", "$quiet"),
        ("KV type " if paired else "KV type  ", "$quiet"),
        dial.kv.value,
    )


def format_sum(judged: Judged, *, paired: bool) -> Content:
    """What loading takes, part by part, against what is free now; on one line where `paired`."""
    share = compute_shares(judged)
    lacking = judged.fit.lacking
    end = f", {format_size(lacking)} too much" if lacking else ""
    free = f"{format_size(share.free)} free now{end}"
    parts = {"weights": share.weights, "KV cache": share.kv, "overhead": share.overhead}
    if not paired:
        lines = [_fact(name, f"{format_size(size):>7}") for name, size in parts.items()]
        total = _fact("needed", f"{format_size(share.needed):>7}").append(Content.styled(f" of {free}", "$quiet"))
        return Content("\n").join([*lines, total])
    sums = Content.styled(" + ", "$quiet").join(
        [Content.assemble((f"{name.split()[0]} ", "$quiet"), format_size(size)) for name, size in parts.items()]
    )
    return sums.append(Content.assemble((" = ", "$quiet"), format_size(share.needed), (f" of {free}", "$quiet")))


def format_verdict(judged: Judged) -> Content:
    """For a model that is here."""
    most = f"; at most {fmt.format_count(judged.largest)} tokens" if judged.largest else "; no context fits"
    return format_verdict_word(judged.fit.verdict).append(Content.styled(most, "$quiet"))


def format_plan(judged: Judged, *, imagined: bool) -> list[Content]:
    """Where it would lie, where there is a choice, what it took when it was loaded here, and how fast it would be with
    where that is known from. `imagined`: on another machine."""
    plan, speed = judged.fit.plan, judged.speed
    lines = [describe_plan(plan)] if plan.whole else []
    if judged.seen is not None and not imagined:
        lines.append(describe_load(judged.seen))
    if speed is not None and plan.fits:
        lines.append(f"{speed.words[:1].upper()}{speed.words[1:]}, by the {speed.basis.value}; tui bench measures it.")
    return [Content.styled(line, "$quiet") for line in lines]


def _fact(name: str, value: str, width: int = 0) -> Content:
    return Content.assemble((f"{name:<8} ", "$quiet"), f"{value:<{width}}" if width else value)
