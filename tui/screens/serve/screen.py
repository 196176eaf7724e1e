"""Serve the loaded models over HTTP, and see what that does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final, final

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Container, Horizontal, Vertical
from textual.content import Content
from textual.widgets import Button, Static

from api.curl import KEY_VARIABLE
from core.errors import BenchtopError, ServerError
from core.settings.keys import can_others_read, has_keys
from core.settings.merge import Key
from core.sizes import format_size
from core.snapshots import ModelKind, Snapshot
from tui import format as fmt
from tui import glyphs
from tui.actions.action import build_bindings
from tui.launch.programs.registry import PROGRAMS
from tui.screens.base import WorkbenchScreen
from tui.screens.serve.actions import ACTIONS
from tui.screens.serve.address import AddressDialog, AddressForm, ServerChange, list_changes
from tui.screens.serve.captures import CapturesScreen
from tui.screens.serve.details import RequestDialog
from tui.screens.serve.request_facts import describe_guesses, list_notes
from tui.screens.serve.requests import Board, describe_use
from tui.screens.serve.snippets import SnippetsDialog, list_snippets
from tui.screens.serve.usage import UsageDialog
from tui.session import DRAIN_SECONDS, find_model
from tui.widgets.device_gauges import DeviceGauges
from tui.widgets.gauge import Gauge
from tui.widgets.plain import Plain, make_drawable, set_subtitle
from tui.widgets.plot import Trend

API_KEYS: Final = ("server", "api_keys")


@final
class ServeScreen(WorkbenchScreen):
    """The server's switch and address, gauges, the request board, the log."""

    NAME = "serve"
    ACTIONS = ACTIONS
    BINDINGS = build_bindings(ACTIONS)
    AUTO_FOCUS = "#board"

    def __init__(self) -> None:
        super().__init__()
        self._busy = ""
        self._refused: AddressForm | None = None
        """An address that could not be bound."""
        self._unkept: dict[Key, object] = {}
        """What was changed here and does not stand in the config file."""
        self._revealed = False
        """Whether the API key is shown to whoever sees this screen."""
        self._shown: tuple[object, ...] = ()
        self._log_version: tuple[object, ...] = ()
        self._of_model = False
        """Whether the log of the model in use is shown, in place of that of everything."""

    def body(self) -> ComposeResult:
        with Container(classes="panel", id="server") as server:
            server.border_title = "server"
            with Horizontal(id="switch"):
                yield Plain(id="address")
                yield Button("Start", id="toggle")
            yield Plain(id="curl")
        with Container(classes="panel", id="gauges") as gauges:
            gauges.border_title = "load"
            with Horizontal():
                with Vertical():
                    yield Gauge("queue", dom_id="queue")
                    yield Gauge("slots", dom_id="slots")
                    yield Gauge("KV cells", dom_id="cells")
                with Vertical():
                    yield Gauge("hits", steady=True, dom_id="hits")
                    yield Gauge("CPU", dom_id="cpu")
                    yield Gauge("memory", dom_id="memory")
            yield DeviceGauges()
            with Horizontal(id="trends"):
                yield Trend("decode", "$decode", dom_id="decode")
                yield Trend("prefill", "$prefill", dom_id="prefill")
        with Container(classes="panel", id="requests") as requests:
            requests.border_title = "requests"
            yield Board(dom_id="board")
            yield Plain(id="request-note")
            yield Plain(id="idle")
        with Container(classes="panel", id="log") as log:
            log.border_title = "log"
            yield Plain(id="lines")

    def show(self, snapshot: Snapshot) -> None:
        self._draw_server()
        self._draw_gauges(snapshot)
        self._draw_board(snapshot)
        self._draw_log()

    def _draw_server(self) -> None:
        server = self.desk.live_server
        model = self.desk.model
        wanted = (
            server.url if server else None,
            model,
            self._kind,
            self._busy,
            self.desk.ending,
            self._revealed,
            glyphs.find_glyphs(self),
        )
        if wanted == self._shown:
            return
        self._shown = wanted
        marks = glyphs.find_glyphs(self)
        button = self.query_one("#toggle", Button)
        button.label = "Cut off" if self.desk.ending else "Stop" if server is not None else "Start"
        button.disabled = bool(self._busy) and not self.desk.ending
        address, curl = self.query_one("#address", Static), self.query_one("#curl", Static)
        if server is None:
            host, port = self.desk.settings.server.host, self.desk.settings.server.port
            where = f"{host}:{port}" if port else f"a free port of {host}"
            address.update(Content.assemble((f"{marks.idle} {self._busy or 'stopped'}", "$quiet")))
            told = "" if self._busy else f"Press s to serve {model} at {where} to any OpenAI client."
            curl.update(Content.styled(told, "$quiet"))
            return
        key, verb = server.api_key, "hides" if self._revealed else "shows"
        told = "no API key needed" if key is None else f"API key: v {verb} it"
        if server.asks_for_key and key is None:
            told = "API keys: those of the file"
        address.update(
            Content.assemble(
                (f"{marks.running} {self._busy or 'serving'}", "$gauge-ok"),
                ("  ", ""),
                (f"{server.url}/v1", "bold"),
                (f"  {told}", "$quiet"),
            )
        )
        line = Content.assemble(("$ ", "$quiet"), server.curl(model, self._kind))
        if key is not None and self._revealed:
            line = Content.assemble(("API key ", "$quiet"), key, "\n").append(line)
        if server.ollama_url is not None:
            line = Content.assemble(("Ollama's clients: ", "$quiet"), server.ollama_url, "\n").append(line)
        curl.update(line)

    @property
    def _kind(self) -> ModelKind:
        """Of the model in use: speech and embeddings are asked for in another way."""
        model = find_model(self.desk.snapshot(), self.desk.model)
        return model.kind if model is not None else ModelKind.CHAT

    def _draw_gauges(self, snapshot: Snapshot) -> None:
        models, machine = snapshot.models, snapshot.machine
        pending = sum(model.queue.pending for model in models)
        room = sum(model.queue.max_depth for model in models)
        used, slots = sum(model.slots_used for model in models), sum(model.slots for model in models)
        cells, all_cells = sum(model.kv_cells_used for model in models), sum(model.kv_cells for model in models)
        hits, lookups = sum(model.cache.hits for model in models), sum(model.cache.lookups for model in models)
        taken = machine.memory_total - machine.memory_available
        self._gauge("queue", pending, room, f"{pending} of {room}" if room else f"{pending} waiting")
        self._gauge("slots", used, slots, f"{used} of {slots}" if slots else "-")
        self._gauge(
            "cells",
            cells,
            all_cells,
            f"{fmt.shorten_count(cells)} of {fmt.shorten_count(all_cells)}" if all_cells else "-",
        )
        self._gauge(
            "hits",
            hits,
            lookups,
            f"{hits} of {lookups}, {fmt.format_percent(hits, lookups)}" if lookups else "none yet",
        )
        self._gauge("cpu", machine.cpu_percent, 100, f"{machine.cpu_percent:.0f}%")
        self._gauge("memory", taken, machine.memory_total, f"{format_size(machine.memory_available)} free")
        self.query_one(DeviceGauges).show(machine)
        self.query_one("#decode", Trend).push(sum(model.decode_rate for model in models))
        self.query_one("#prefill", Trend).push(sum(model.prefill_rate for model in models))

        set_subtitle(self.query_one("#gauges"), describe_use(snapshot.used_today))

    def _gauge(self, name: str, part: float, whole: float, text: str) -> None:
        self.query_one(f"#{name}", Gauge).show(part / whole if whole else 0.0, text)

    def _draw_board(self, snapshot: Snapshot) -> None:
        requests, board = snapshot.requests, self.query_one(Board)
        board.show_requests(requests, self.desk.workbench.recent)
        set_subtitle(self.query_one("#requests"), self._tell_number(len(requests)))
        self._draw_note(snapshot)
        idle = self.query_one("#idle", Static)
        idle.display = not requests and not (board.rows and self.has_class("-low"))
        done = sum(model.queue.total_processed for model in snapshot.models)
        idle.update(
            Content.styled(f"No requests now; {fmt.format_plural(done, 'request')} served since the start.", "$quiet")
        )

    def _tell_number(self, under_way: int) -> str:
        look = "enter looks at one" if self.query_one(Board).rows else ""
        return ", ".join(part for part in (look, f"{under_way} now" if under_way else "") if part)

    def _draw_note(self, snapshot: Snapshot) -> None:
        """How the selected request's prompt came to be, where there is anything to say, else what is amiss; and what
        was guessed ahead."""
        request = self.query_one(Board).chosen
        guesses = describe_guesses(request) if request is not None else ""
        told = list_notes(request) if request is not None else ()
        asked = f"Asked with the API key {request.key}." if request is not None and request.key else ""
        notes = [note for note in (asked, guesses, *(told or (snapshot.prefixes_on_disk.problem,))) if note]
        line = self.query_one("#request-note", Plain)
        line.display = bool(notes)
        line.update(" ".join(notes))

    @on(Board.Moved)
    def _look_at(self) -> None:
        if (snapshot := self.desk.snapshot()) is not None:
            self._draw_note(snapshot)

    def _draw_log(self) -> None:
        panel = self.query_one("#log")
        height = max(1, panel.size.height)
        if self._of_model:
            model = self.desk.model
            kept = self.desk.workbench.logs.read_lines(model)[-height:]
            lines = [f"{time.strftime('%H:%M:%S', time.localtime(line.time))} {line.text}" for line in kept]
            version: tuple[object, ...] = (model, *lines)
        else:
            tail = self.bench.log_tail
            lines, version = list(tail.lines)[-height:], (tail.version,)
        if version == self._log_version:
            return
        self._log_version = version
        panel.border_title = make_drawable(f"log of {self.desk.model}" if self._of_model else "log")
        self.query_one("#lines", Static).update("\n".join(lines) or "Nothing was logged yet.")

    def action_switch_log(self) -> None:
        if not self.query_one("#log").display:
            self.notify("The log is shown in terminals with more rows.", severity="warning")
            return
        self._of_model = not self._of_model
        self._draw_log()

    @on(Button.Pressed, "#toggle")
    def action_switch(self) -> None:
        if not self._busy:
            self.flip()
        elif self.desk.ending:
            self.hurry()

    @work(group="hurry", exclusive=True)
    async def hurry(self) -> None:
        """Cut off the answers that a server which stops still waits for."""
        await self.desk.hurry_server()

    def _tell_drain(self, what: str, seconds: float) -> str:
        """What is being done, and what it waits for."""
        if not (number := self.desk.answering()):
            return what
        answers = fmt.format_plural(number, "answer")
        return f"{what}: {answers} may go on for {fmt.format_seconds(seconds)}; s cuts off"

    @work(group="server", exclusive=True)
    async def flip(self) -> None:
        """Start the server or stop it; requests in flight may finish."""
        stop = self.desk.live_server is not None
        self._busy = self._tell_drain("stopping", DRAIN_SECONDS) if stop else "starting"
        self._draw_server()
        try:
            await (self.desk.stop_server() if stop else self.desk.start_server())
        except ServerError as error:
            self.notify(f"{error} Here e changes the address.", severity="error", timeout=12)
        except BenchtopError as error:
            self.complain(error)
        finally:
            self._busy = ""
            self.bench.pulse()

    def action_edit_address(self) -> None:
        if self._busy:
            self.notify(f"The server is {self._busy}; one moment.", severity="warning")
            return
        server = self.desk.settings.server
        form, self._refused = self._refused or AddressForm.of(server), None
        self.app.push_screen(AddressDialog(server, form, str(self.bench.config_file), self.change_address))

    @work(group="server", exclusive=True)
    async def change_address(self, change: ServerChange) -> None:
        """Have the server listen as it is wanted; what cannot be had stands in the dialog when that is opened again."""
        changes = list_changes(self.desk.settings.server, change.server)
        runs = self.desk.live_server is not None
        drain = self.desk.settings.server.drain_timeout
        self._busy = self._tell_drain("restarting", drain) if runs else "starting"
        self._draw_server()
        try:
            await self.desk.change_server(change.server)
        except BenchtopError as error:
            self._refused = AddressForm.of(change.server)
            self.complain(error)
            return
        finally:
            self._busy = ""
            self.bench.pulse()
        self._unkept |= changes
        server = self.desk.live_server
        told = [f"Clients find it at {server.url}." if server is not None else "Press s to serve."]
        if change.keep:
            told += await self._keep_changes()
        self.notify(" ".join(told))

    async def _keep_changes(self) -> Sequence[str]:
        """Write to the config file what does not stand there; what there is to say of that, in sentences."""
        changes, file = self._unkept, self.bench.config_file
        if not changes:
            return ("Nothing was changed here that the config does not say.",)
        if not await self.bench.keep_settings(changes):
            return ()
        self._unkept = {}
        if changes.get(API_KEYS) and await asyncio.to_thread(can_others_read, file):
            return (f"It stands in {file}, key and all, which others of this machine can read: chmod 600 mends that.",)
        return (f"It stands in {file}.",)

    @on(Board.Chosen)
    def action_look(self) -> None:
        if (chosen := self.query_one(Board).chosen) is None:
            self.notify("There is no request to look at.", severity="warning")
            return
        self.app.push_screen(RequestDialog(self.desk, chosen.id))

    def action_cancel(self) -> None:
        selected = self.query_one(Board).selected
        if selected is None:
            self.notify("There is no request to cancel.", severity="warning")
        elif not self.desk.workbench.requests.cancel(selected):
            self.notify("That request has ended already.", severity="warning")

    def action_board(self) -> None:
        self.query_one(Board).focus()

    def action_copy_curl(self) -> None:
        if (server := self.desk.live_server) is None:
            self.notify("Start the server first: press s.", severity="warning")
            return
        self.app.copy_to_clipboard(server.curl(self.desk.model, self._kind))
        self.notify("The curl line is in the clipboard.")

    def action_show_snippets(self) -> None:
        if (server := self.desk.live_server) is None:
            self.notify("Start the server first: press s.", severity="warning")
            return
        at = server.describe_for(self.desk.model, self._kind)
        snippets = list_snippets(at, self.desk.settings.server, server.port, PROGRAMS)
        self.app.push_screen(SnippetsDialog(snippets))

    def action_show_usage(self) -> None:
        self.app.push_screen(UsageDialog(self.desk.workbench.usage))

    def action_show_captured(self) -> None:
        server = self.desk.live_server
        settings = self.desk.settings.server
        url = server.url if server is not None else f"http://{settings.host}:{settings.port}"
        needs_key = server.asks_for_key if server is not None else has_keys(settings)
        self.app.push_screen(CapturesScreen(self.desk.workbench.captures, url, KEY_VARIABLE if needs_key else None))

    def action_reveal_key(self) -> None:
        if self.desk.live_server is None or self.desk.live_server.api_key is None:
            self.notify("There is no API key to show.", severity="warning")
            return
        self._revealed = not self._revealed
        self._draw_server()

    def action_copy_key(self) -> None:
        server = self.desk.live_server
        if server is None or server.api_key is None:
            self.notify("There is no API key to copy.", severity="warning")
            return
        self.app.copy_to_clipboard(server.api_key)
        self.notify("The API key is in the clipboard.")
