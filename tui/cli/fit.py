"""`tui fit`: which quants of a model fit, here or on another machine, where they would lie, how fast they would be."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from rich import box
from rich.table import Table
from rich.text import Text

from core.devices.device import Device
from core.devices.listing import describe_host, list_devices
from core.errors import UsageError
from core.foreign_text import make_printable
from core.models.fit.estimate import Judged, Verdict
from core.models.fit.plan import DeviceShare
from core.models.fit.plan_words import describe_load, describe_place, describe_plan
from core.models.fit.what_if import make_devices
from core.models.offers import Offer, list_own_offers
from core.settings.load import load_settings
from core.sizes import format_size, parse_size
from core.workbench import Workbench
from tui import format as fmt
from tui.cli.arguments import Arguments
from tui.cli.console import Paper
from tui.cli.output import write_json, write_text

LEAST_CONTEXT_TOKENS, MOST_CONTEXT_TOKENS = 16, 16_777_216
STYLES = {Verdict.FITS: "green", Verdict.TIGHT: "yellow", Verdict.DOES_NOT_FIT: "red"}


class DeviceNeed(Struct, frozen=True):
    """What one device has of a model, as `--json` tells it; bytes."""

    device: str
    name: str
    layers: int
    weights: int
    kv: int
    compute: int
    other: int
    needed: int
    room: int
    reserve: int


class QuantFit(Struct, frozen=True):
    """A quant of a model, as `--json` tells it; what depends on its header is null where that could not be read."""

    model: str
    format: str
    size: int
    fit: str | None = None
    context: int | None = None
    slots: int | None = None
    kv_type: str | None = None
    largest_context: int | None = None
    place: str | None = None
    plan: str | None = None
    devices: tuple[DeviceNeed, ...] = ()
    lacking: int = 0
    tokens_per_second: float | None = None
    speed_basis: str | None = None
    notes: tuple[str, ...] = ()


def run_fit(given: Arguments) -> int:
    """Print the table on stdout. Raises BenchtopError."""
    if given.context is not None and not LEAST_CONTEXT_TOKENS <= given.context <= MOST_CONTEXT_TOKENS:
        raise UsageError(f"--context must be from {LEAST_CONTEXT_TOKENS} to {MOST_CONTEXT_TOKENS:,} tokens.")
    settings = load_settings(given.flags(), config_file=given.config)
    workbench = Workbench(settings)
    store = workbench.models.store
    elsewhere = bool(given.vram or given.ram)
    if given.card is not None and not given.vram:
        raise UsageError("--card says what the cards of another machine are; give their memory with --vram as well.")
    devices = read_devices(given.vram, given.ram, given.card) if elsewhere else list_devices()
    profile = store.find_profile(given.model)
    name = store.read_own(settings.source(given.model))
    offers = list_own_offers(store, name, given.context, memory=devices, profile=profile)
    if given.json:
        write_json([describe_offer(offer) for offer in offers])
        return 0
    write_text(f"{given.model}, with {describe_devices(devices)}")
    Paper().print(build_fit_table(offers))
    for line in explain_offers(offers, None if elsewhere else given.model):
        write_text(line)
    return 0


def read_devices(cards: Sequence[str], main: str | None, chip: str | None = None) -> tuple[Device, ...]:
    """Another machine of the sizes that a user gives. Raises UsageError for what is no size."""
    host = describe_host()
    try:
        return make_devices(
            host,
            [parse_size(size, host.total) for size in cards],
            parse_size(main, host.total) if main is not None else None,
            chip,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error


def describe_devices(devices: Sequence[Device]) -> str:
    """What is free of each memory, in words."""
    host, *others = devices
    words = [f"{format_size(device.free)} free on {device.name}" for device in others]
    return ", ".join((*words, f"{format_size(host.free)} of main memory"))


def build_fit_table(offers: Sequence[Offer]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("model", overflow="fold")
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("fit", no_wrap=True)
    table.add_column("where", overflow="fold")
    table.add_column("most", justify="right", no_wrap=True)
    table.add_column("tokens/s", justify="right", no_wrap=True)
    for offer in offers:
        row = [make_printable(offer.name.rpartition(":")[2] or offer.name), format_size(offer.size)]
        if (judged := offer.judged) is None:
            table.add_row(*row, "", "its header could not be read", "", "")
            continue
        verdict = judged.fit.verdict
        most = fmt.format_count(judged.largest) if judged.largest else "-"
        table.add_row(
            *row,
            Text(verdict.value, STYLES[verdict]),
            make_printable(describe_place(judged.fit.plan)) if judged.fit.plan.fits else "",
            most,
            judged.speed.bound if judged.speed is not None and judged.fit.plan.fits else "",
        )
    return table


def explain_offers(offers: Sequence[Offer], asked: str | None) -> list[str]:
    """What stands below the table: the plan of the first that fits, what each memory holds, how the speed was found;
    and what verifies it, of a model of this machine that was `asked` for so."""
    told = [(offer, offer.judged) for offer in offers if offer.judged is not None]
    if not told:
        return []
    offer, judged = next((each for each in told if each[1].fit.plan.fits), told[0])
    setup = judged.setup
    lines = [f"{offer.name}, {setup.context:,} tokens, {fmt.format_plural(setup.slots, 'slot')}, KV {setup.kv.value}:"]
    lines.append(f"  {describe_plan(judged.fit.plan)}")
    lines += [f"  {_describe_share(share)}" for share in judged.fit.plan.shares]
    lines += [f"  {note}" for note in judged.fit.notes]
    if asked is not None and judged.seen is not None:
        lines.append(f"  {describe_load(judged.seen)}")
    if judged.speed is not None and judged.fit.plan.fits:
        lines.append(f"  {judged.speed.words}: bytes that a token reads over the {judged.speed.basis.value}.")
    if asked is not None and judged.fit.plan.fits:
        lines.append(f"`tui bench {asked if len(offers) == 1 else offer.name}` measures it.")
    return lines


def describe_offer(offer: Offer) -> QuantFit:
    """A row as `--json` tells it."""
    row = QuantFit(offer.name, offer.format, offer.size)
    judged = offer.judged
    return row if judged is None else _complete(row, judged)


def _complete(row: QuantFit, judged: Judged) -> QuantFit:
    plan, setup, speed = judged.fit.plan, judged.setup, judged.speed
    return QuantFit(
        *(row.model, row.format, row.size, judged.fit.verdict.value),
        context=setup.context,
        slots=setup.slots,
        kv_type=setup.kv.value,
        largest_context=judged.largest,
        place=describe_place(plan),
        plan=describe_plan(plan),
        devices=tuple(map(_build_need, plan.shares)),
        lacking=plan.lacking,
        tokens_per_second=round(speed.tokens, 1) if speed is not None else None,
        speed_basis=speed.basis.value if speed is not None else None,
        notes=judged.fit.notes,
    )


def _build_need(share: DeviceShare) -> DeviceNeed:
    parts = share.parts
    counted = parts.weights + parts.kv + parts.compute
    return DeviceNeed(
        device=share.device.id,
        name=share.device.name,
        layers=share.layers,
        weights=parts.weights,
        kv=parts.kv,
        compute=parts.compute,
        other=parts.needed - counted,
        needed=parts.needed,
        room=share.room,
        reserve=share.reserve,
    )


def _describe_share(share: DeviceShare) -> str:
    parts = share.parts
    sums = {"weights": parts.weights, "KV": parts.kv, "compute": parts.compute}
    rest = parts.needed - sum(sums.values())
    words = [f"{name} {format_size(size)}" for name, size in (*sums.items(), ("other", rest)) if size > 0]
    name = share.device.name if share.device.is_accelerator else "main memory"
    kept = f", {format_size(share.reserve)} kept free" if share.reserve else ""
    return f"{name}: {' + '.join(words)} = {format_size(parts.needed)} of {format_size(share.room)}{kept}"
