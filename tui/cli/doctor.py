"""`tui doctor`: what runs here, what does not, and the command that mends it."""

from __future__ import annotations

import logging
import platform
from typing import TYPE_CHECKING

from msgspec import Struct
from rich.table import Table
from rich.text import Text

from core.devices.device import DeviceKind
from core.foreign_text import make_printable
from core.hardware import Machine, describe_machine, measure_available_memory
from core.settings.load import load_settings
from core.settings.schema import find_folders
from core.sizes import format_size
from core.trial.verdict import describe_settings
from core.workbench import Workbench
from tui.cli.arguments import Arguments
from tui.cli.console import Paper
from tui.cli.output import write_json
from tui.palettes import Palettes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from core.devices.device import Device
    from core.devices.survey import DeviceSurvey
    from core.engines.registry import EngineReport
    from core.plugins import Plugin
    from core.trial.verdict import ProbeVerdict


class Examination(Struct, frozen=True):
    """What there is to tell, as `--json` tells it."""

    python: str
    machine: Machine
    memory_available: int
    """Bytes."""
    devices: DeviceSurvey
    engines: tuple[EngineReport, ...]
    """Those that run first, by priority."""
    computes_on: Mapping[str, tuple[str, ...]]
    """By the engines' names."""
    plugins: tuple[Plugin, ...]
    broken_plugins: tuple[str, ...]
    """Sentences on why those are left out."""
    trial_runs: tuple[str, ...]
    """Sentences, the mishaps first."""


def run_doctor(given: Arguments) -> int:
    """Print the report on stdout. Raises ConfigError."""
    # What is wrong with plugins is told on stdout, not as a warning of the log as well.
    logging.getLogger("core.plugins").addHandler(logging.NullHandler())
    found = _examine(Workbench(load_settings(config_file=given.config)))
    if given.json:
        write_json(found)
        return 0
    console, survey = Paper(), found.devices
    console.print(build_machine_table())
    if survey.accelerators or survey.unused:
        console.print(build_device_table(survey))
    console.print(build_engine_table(found.engines, found.computes_on))
    for line in [
        *list_device_lines(survey),
        *mend_lines(found.engines),
        *list_plugin_lines(found.plugins, found.broken_plugins),
        *list_trial_lines(found.trial_runs),
    ]:
        console.tell(line)
    return 0


def _examine(workbench: Workbench) -> Examination:
    bench, palettes = workbench.bench, Palettes(find_folders().config / "themes")
    broken = (*bench.find_broken_plugins(), *palettes.find_broken())
    return Examination(
        platform.python_version(),
        describe_machine(),
        measure_available_memory(),
        workbench.devices.survey(),
        tuple(sort_engines(bench.engines())),
        bench.list_engine_devices(),
        (*bench.plugins(), *palettes.plugins),
        tuple(map(str, broken)),
        tuple(describe_verdicts(bench.verdicts())),
    )


def build_machine_table() -> Table:
    here = describe_machine()
    table = Table(title="This machine", title_justify="left", show_header=False)
    table.add_row("system", f"{platform.system()} {platform.release()} ({here.architecture})")
    table.add_row("python", platform.python_version())
    table.add_row("processor", here.processor)
    table.add_row("cores", f"{here.cores} physical, {here.threads} logical")
    table.add_row("memory", f"{format_size(here.memory)}, {format_size(measure_available_memory())} available")
    return table


def build_device_table(survey: DeviceSurvey) -> Table:
    table = Table(title="Accelerators", title_justify="left")
    for heading in ("device", "name", "memory", "load", "runs models"):
        table.add_column(heading, overflow="fold")
    for device in survey.accelerators:
        table.add_row(device.id, *_describe_device(device), Text("yes", "green"))
    for unused in survey.unused:
        table.add_row("-", *_describe_device(unused.card), Text("no", "red"))
    return table


def _describe_device(device: Device) -> tuple[str, str, str]:
    """Name, memory and load in words."""
    shared = " of the machine's" if device.kind is DeviceKind.UNIFIED else ""
    memory = f"{format_size(device.free)} of {format_size(device.total)} free{shared}" if device.total else "not told"
    return make_printable(device.name), memory, "not told" if device.load is None else f"{device.load:.0f}%"


def list_device_lines(survey: DeviceSurvey) -> list[str]:
    """Why cards are not used, and what mends it; and what could not be found out."""
    lines = []
    for unused in survey.unused:
        lines.append(f"{make_printable(unused.card.name)}: {unused.reason}")
        if unused.mend:
            lines.append(f"  mend it with: {unused.mend}")
    lines += survey.problems
    if lines or survey.accelerators:
        return lines
    found = f"llama.cpp looks for one with {' and '.join(survey.parts)}" if survey.parts else "no accelerator was found"
    return [f"Models run on the processor: {found}{', and finds none' if survey.parts else ''}."]


def list_trial_lines(found: Sequence[str]) -> list[str]:
    """The sentences below a heading."""
    if not found:
        return ["Trial runs: none yet; an engine is tried in a child process before it first runs a kind of model."]
    return ["Trial runs:", *(f"  {sentence}" for sentence in found)]


def describe_verdicts(verdicts: Sequence[ProbeVerdict]) -> list[str]:
    """What trial runs have found here, the mishaps first."""
    notes = [note for verdict in verdicts for note in verdict.notes]
    notes += [f"{verdict.model}: {verdict.disturbed}." for verdict in verdicts if verdict.disturbed]
    measured = [verdict for verdict in verdicts if verdict.rates]
    # One that declined in good order has no rates; its reason is told whenever the model is loaded.
    declined = [
        f"{verdict.engine} {verdict.version} does not run {verdict.model}: it declined to, and `tui --serve` with that "
        "model says why."
        for verdict in verdicts
        if not verdict.rates
    ]
    fine = [
        f"{verdict.engine} {verdict.version} runs {verdict.model} here{_settings(verdict)}." for verdict in measured
    ]
    return list(dict.fromkeys(notes + declined + fine))


def _settings(verdict: ProbeVerdict) -> str:
    """What was found best, in the words that follow; nothing where an engine has no such settings."""
    words = [f"with {changed}"] if (changed := describe_settings(verdict.chosen)) else []
    if verdict.threads:
        words.append(f"fastest with {verdict.threads} decoding thread{'s'[: verdict.threads != 1]}")
    return " " + ", ".join(words) if words else ""


def build_engine_table(engines: Iterable[EngineReport], devices: Mapping[str, Sequence[str]]) -> Table:
    """`devices`: what engines compute on, by their names."""
    table = Table(title="Engines", title_justify="left")
    for heading in ("engine", "runs here", "version", "platform", "computes on"):
        table.add_column(heading, no_wrap=heading != "computes on")
    for engine in engines:
        state = Text("yes", "green") if engine.available else Text("no", "red")
        on = make_printable(", ".join(devices.get(engine.name, ())))
        table.add_row(engine.name, state, engine.version or "", engine.platform, on)
    return table


def mend_lines(engines: Iterable[EngineReport]) -> list[str]:
    """Why engines do not run here, and what mends it; in lines, since reasons are too long for a column."""
    lines = []
    for engine in engines:
        if not engine.available:
            lines.append(f"{engine.name} does not run here: {engine.reason}")
            if engine.mend:
                lines.append(f"  mend it with: {engine.mend}")
    return lines


def list_plugin_lines(used: Sequence[Plugin], broken: Sequence[str]) -> list[str]:
    """The plugins in use by their packages, and why others are left out; nothing where there are none."""
    lines = [f"  {plugin.package}: {plugin.group.removeprefix('benchtop.')} {plugin.name}" for plugin in used]
    lines += [f"  {why}" for why in broken]
    return ["Plugins:", *lines] if lines else []


def sort_engines(engines: Iterable[EngineReport]) -> list[EngineReport]:
    """Those that run first, by priority."""
    return sorted(engines, key=lambda engine: (not engine.available, engine.priority))
