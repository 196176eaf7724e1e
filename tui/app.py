"""The app: screens around one desk. Imports nothing heavy, so that the first frame comes at once."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import logging
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from msgspec.structs import replace
from textual import constants, events, on, work
from textual.app import SystemCommand
from textual.css.query import NoMatches
from textual.dom import DOMNode
from textual.screen import Screen

from core.errors import BenchtopError
from core.files import has_file
from core.foreign_text import make_printable
from core.settings.schema import Settings, find_folders
from themes import PALETTES
from tui import format as fmt
from tui import glyphs, theming
from tui.actions.action import Action, build_bindings, format_keys
from tui.actions.registry import EVERYWHERE, JUMP_KEY, list_actions
from tui.actions.screens import SCREENS, make_screen
from tui.palettes import Palettes
from tui.screens.base import WorkbenchScreen
from tui.session import Desk, LoadWish, build_workbench, find_model, list_talk_notes
from tui.terminal.keys_in_turn import KeysInTurn
from tui.widgets.log_tail import LogTail
from tui.widgets.plain import Unobeyed
from tui.widgets.table import WIDE_COLUMNS
from tui.widgets.titlebar import Tab

if TYPE_CHECKING:
    from textual.driver import Driver
    from textual.filter import LineFilter
    from textual.notifications import SeverityLevel

    from core.settings.merge import Key
    from core.workbench import Workbench
    from tui.launch.program import Launchable

DEFAULT_THEME = "graphite"
SIXTEEN_THEME = "sixteen"
FEW_COLOURS = frozenset({"standard", "windows"})
"""What Rich calls terminals with sixteen colours."""


class BenchtopApp(KeysInTurn):
    """`make` builds the workbench after the first frame; tests put their own in its place."""

    TITLE = "benchtop"
    CSS_PATH = Path(__file__).with_name("app.tcss")
    MODES = {name: partial(make_screen, name) for name in SCREENS}
    DEFAULT_MODE = "chat"
    BINDINGS = build_bindings(EVERYWHERE)
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (WIDE_COLUMNS, "-wide")]
    VERTICAL_BREAKPOINTS = [(0, "-short"), (32, "-tall")]

    BEAT_SECONDS: ClassVar[float] = 0.5
    """Seconds between two snapshots: gauges are read by people."""

    def __init__(
        self,
        settings: Settings,
        model: str = "guide",
        make: Callable[[Settings], Workbench] = build_workbench,
        palettes: Palettes | None = None,
        config_file: Path | None = None,
    ) -> None:
        """`config_file`: where what the user wants kept is written, where that is not the usual one."""
        super().__init__()
        self.settings = settings
        folder = find_folders().config
        self.config_file = config_file or folder / "config.toml"
        self.desk = Desk(settings, model, make)
        self.glyphs = glyphs.choose_glyphs(os.environ, getattr(sys.stdout, "encoding", None))
        self.log_tail = LogTail()
        self._unobeyed = Unobeyed()
        self._palettes = palettes or Palettes(folder / "themes")
        for name in PALETTES:
            self.register_theme(theming.build_theme(self._palettes.get(name)))
        # Before the style sheets are parsed: a theme that is set later has them parsed twice.
        self._theme_trouble = self._find_theme(settings.ui.theme)
        self.theme = DEFAULT_THEME if self._theme_trouble else settings.ui.theme

    def get_driver_class(self) -> type[Driver]:
        """The one for this platform whose reader of keys goes on whatever is sent, unless the environment names one."""
        if constants.DRIVER is not None:
            return super().get_driver_class()
        if sys.platform == "win32":
            from tui.terminal.driver_windows import SteadyConsole

            return SteadyConsole
        from tui.terminal.driver import SteadyDriver

        return SteadyDriver

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return theming.build_fallback(self.current_theme)

    def on_mount(self) -> None:
        if self._theme_trouble:
            self.notify(self._theme_trouble, severity="warning", timeout=12)
        self.set_class(self.glyphs is glyphs.ASCII, "-ascii")
        self.call_after_refresh(self._open)

    def _open(self) -> None:
        """After the first frame: begin to load, and to take snapshots."""
        # The command line switched collecting off: nothing made so far is garbage, nor need it be looked at again.
        gc.enable()
        gc.freeze()
        logging.getLogger().addHandler(self.log_tail)
        self.set_interval(self.BEAT_SECONDS, self.pulse)
        self.load(self.desk.model)
        if self.settings.models:
            self.settle()
        self.go_on()
        self.warm()
        self.add_themes()

    def _find_theme(self, name: str) -> str:
        """Know the theme of the settings; why there is none, or nothing."""
        if name in self.available_themes:
            return ""
        try:
            self.register_theme(theming.build_theme(self._palettes.get(name)))
        except KeyError:
            return f"There is no theme called {name}; ctrl+t shows those there are."
        except BenchtopError as error:
            return str(error)
        return ""

    @work(group="themes")
    async def add_themes(self) -> None:
        """The user's own and those of plugins, which the first frame does not wait for; what is wrong with some is
        told."""
        palettes, broken = await asyncio.to_thread(lambda: ([*self._palettes], self._palettes.find_broken()))
        for palette in palettes:
            theme = theming.build_theme(palette)
            if theme != self.available_themes.get(palette.name):
                self.register_theme(theme)
                if palette.name == self.theme:
                    self.mutate_reactive(BenchtopApp.theme)
        for problem in broken:
            if str(problem) != self._theme_trouble:
                self.notify(str(problem), severity="warning", timeout=12)

    @work(group="downloads")
    async def go_on(self) -> None:
        """With the downloads that the end of the program broke off; what was paused stays so."""
        try:
            resumed = await self.desk.go_on()
        except BenchtopError as error:
            self.notify(str(error), severity="warning", markup=False)
            return
        if resumed.refused:
            # The others have the same reason, as a rule, and the list of downloads has each.
            self.notify(str(next(iter(resumed.refused.values()))), severity="warning", markup=False)
        if number := len(resumed.started):
            self.notify(f"{fmt.format_plural(number, 'download')} {'goes' if number == 1 else 'go'} on.", markup=False)

    @work(group="settle")
    async def settle(self) -> None:
        """Know the models of the settings; what hinders some of them is told, and the others are there."""
        for problem in await self.desk.settle():
            self.notify(str(problem), severity="warning", timeout=12, markup=False)

    @work(group="warm")
    async def warm(self) -> None:
        """Import what the first answer is drawn with, so that it need not wait then."""
        await asyncio.to_thread(importlib.import_module, "tui.screens.chat.markdown_rows")

    def pulse(self) -> None:
        """Hand a snapshot to the screen in sight, dialogs above it notwithstanding."""
        room = self.screen_stack[0] if self.screen_stack else None
        if isinstance(room, WorkbenchScreen) and self.desk.started:
            # A screen that is being taken down has lost some of its widgets already.
            with contextlib.suppress(NoMatches):
                room.pulse(self.desk.snapshot())

    @work(group="load")
    async def load(self, name: str, wish: LoadWish = LoadWish()) -> None:
        """Load a model and make it the one in use; a failure is told, and the app goes on."""
        try:
            served = await self.desk.load(name, wish)
        except BenchtopError as error:
            self.notify(str(error), severity="error", timeout=12)
        else:
            # In chat it stands above the message, which a toast would hide.
            notes = list_talk_notes(find_model(self.desk.snapshot(), served)) if self.current_mode != "chat" else ()
            for note in notes:
                self.notify(f"{served}: {note}", severity="warning", timeout=12)
        self.pulse()

    async def keep_settings(self, changes: Mapping[Key, object]) -> bool:
        """Write settings to the config file; False where that cannot be, which is told."""
        from core.settings.change import change_config

        try:
            await asyncio.to_thread(change_config, self.config_file, changes)
        except BenchtopError as error:
            self.notify(str(error), severity="error", timeout=12)
            return False
        return True

    @work(group="launch", exclusive=True)
    async def launch(self, program: Launchable) -> None:
        """Give the terminal to a program that talks with the model in use, and come back when it ends."""
        from tui.launch.within import launch_within

        try:
            code = await launch_within(self, self.desk, program, self.log_file)
        except BenchtopError as error:
            self.notify(str(error), severity="error", timeout=12)
        else:
            if code:
                self.notify(f"{program.title} ended with exit code {code}.", severity="warning")

    async def send_key(self, event: events.Key | events.Paste) -> None:
        """A field would write the letter of alt and a letter, and the key would never come to its action. Dialogs hide
        the keys of the app, and one may jump in them as well."""
        if isinstance(event, events.Key) and event.key == JUMP_KEY:
            self.action_jump()
            return
        alt = event.key if isinstance(event, events.Key) and event.key.startswith("alt+") else ""
        if alt and await self._check_bindings(alt):
            return
        if not alt or not (isinstance(event, events.Key) and event.character):
            # The letter of an action that is not to be had now is written nowhere either.
            await super().send_key(event)

    @on(Tab.Chosen)
    def choose(self, event: Tab.Chosen) -> None:
        self.action_go(event.screen_name)

    def action_go(self, screen: str) -> None:
        self.switch_mode(screen)

    def action_jump(self) -> None:
        from tui.dialogs.jump import JumpScreen

        if isinstance(self.screen, JumpScreen):
            self.pop_screen()
        else:
            self.push_screen(JumpScreen(self.screen))

    def action_change_theme(self) -> None:
        from tui.dialogs.themes import ThemeDialog

        self.push_screen(ThemeDialog(self.theme, self.add_themes))

    def copy_theme(self, name: str, called: str) -> str | None:
        """Write a theme as one of the user's own, and know it; a sentence where that cannot be."""
        try:
            path = self._palettes.copy_palette(name, called)
        except KeyError:
            return f"{name} is Textual's own, whose colours have other names; copy one of benchtop's."
        except BenchtopError as error:
            return str(error)
        self.notify(f"Its colours stand in {path}; change them there, and press r in the list of themes.", timeout=12)
        self.add_themes()
        return None

    async def use_theme(self, name: str) -> None:
        """Wear a theme from now on, and at the next start."""
        self.theme = name
        if name != self.settings.ui.theme and await self.keep_settings({("ui", "theme"): name}):
            self.settings = replace(self.settings, ui=replace(self.settings.ui, theme=name))

    def adapt_to_terminal(self) -> None:
        """Where there are sixteen colours, wear what was made for them, unless the user has chosen something. To be
        called before the app runs."""
        if self.settings.ui.theme == DEFAULT_THEME and self.console.color_system in FEW_COLOURS:
            self.theme = SIXTEEN_THEME

    def action_help(self) -> None:
        from tui.dialogs.help import HelpScreen

        self.push_screen(HelpScreen(self.current_mode))

    def action_hear_speech(self) -> None:
        """Ask for an audio file, and write down what is said in it."""
        from tui.screens.tasks.ask_audio import ask_audio
        from tui.screens.tasks.speech import AUDIO_SUFFIXES

        self.push_screen(ask_audio(AUDIO_SUFFIXES, self.hear_speech))

    def hear_speech(self, path: Path) -> str | None:
        """Write down what is said in a file; a sentence where there is none."""
        from tui.screens.tasks.speech import SpeechScreen

        if not has_file(path):
            return f"{make_printable(str(path))} is no file."
        # Behind the dialog that asked for the file.
        self.call_next(self.push_screen, SpeechScreen(self.desk, path))
        return None

    def action_compare_texts(self) -> None:
        """How alike two texts are."""
        from tui.screens.tasks.similarity import SimilarityScreen

        self.push_screen(SimilarityScreen(self.desk))

    def action_toggle_ascii(self) -> None:
        self.glyphs = glyphs.UNICODE if self.glyphs is glyphs.ASCII else glyphs.ASCII
        self.set_class(self.glyphs is glyphs.ASCII, "-ascii")
        for screen in self.screen_stack:
            screen.refresh(recompose=False, layout=True)
            for widget in screen.query("Gauge, Trend, Plot"):
                widget.refresh()

    def action_toggle_animations(self) -> None:
        self.animation_level = "full" if self.animation_level == "none" else "none"
        self.notify("Animations are off." if self.animation_level == "none" else "Animations are on.")

    async def action_quit(self) -> None:
        """Asks while clients of the server wait for answers: what chat and downloads have is kept. Once more while it
        asks is an answer too."""
        from tui.dialogs.confirm import Farewell

        served = self.desk.answering() - self._answering_here()
        if served <= 0 or isinstance(self.screen, Farewell):
            await self.leave()
        else:
            self.push_screen(Farewell(served, lambda: self.call_later(self.leave)))

    def answering(self, model: str | None = None) -> int:
        """Answers being written, for chat or for clients, by one model or by any."""
        here = self._answering_here() if model in (None, self.desk.model) else 0
        # The server counts what chat asked for too.
        return max(here, self.desk.answering(model))

    def _answering_here(self) -> int:
        """Answers that are being written for the app's own screens."""
        return sum(room.writing for room in self._rooms())

    def _rooms(self) -> Iterable[WorkbenchScreen]:
        rooms = [stack[0] for stack in self._screen_stacks.values() if stack]
        return (room for room in rooms if isinstance(room, WorkbenchScreen))

    async def leave(self) -> None:
        try:
            for room in self._rooms():
                room.leave_off()
            await self.desk.close()
        finally:
            # What cannot be closed must not hold anybody here.
            self.exit()

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
        markup: bool = False,
    ) -> None:
        """Names of a hundred characters would cover what is told of. No words are markup, whoever says them."""
        told = fmt.shorten_names(message, self.glyphs.cut)
        super().notify(told, title=make_printable(title), severity=severity, timeout=timeout, markup=False)

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Last of all, so that nothing drawn can be obeyed by the terminal."""
        return [*super().get_line_filters(), self._unobeyed]

    def copy_to_clipboard(self, text: str) -> None:
        """What is pasted into a shell is obeyed there, so the clipboard gets what was seen."""
        super().copy_to_clipboard(make_printable(text, lines=True))

    async def on_unmount(self) -> None:
        logging.getLogger().removeHandler(self.log_tail)
        await self.desk.close()

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """The actions of the screen in sight and of the app, those of the other screens, the programs to launch and the
        themes, by name."""
        from tui.launch.programs.registry import PROGRAMS

        room = self.screen_stack[0]
        for action in room.ACTIONS if isinstance(room, WorkbenchScreen) else ():
            if not action.selects or room.check_action(action.method, ()) is not False:
                yield from self._command(action, room)
        for action in EVERYWHERE:
            yield from self._command(action, self)
        for name in SCREENS:
            if name != self.current_mode:
                yield from self._list_commands_elsewhere(name)
        for program in PROGRAMS:
            yield SystemCommand(f"Launch: {program.title}", "Run it on the model in use", partial(self.launch, program))
        for name in sorted(self.available_themes):
            yield SystemCommand(f"Theme: {name}", "Use these colours", self._themer(name))

    def _command(self, action: Action, target: DOMNode) -> Iterable[SystemCommand]:
        if action.palette:
            run = partial(self.call_next, self.run_action, action.run, target)
            yield SystemCommand(action.name, _describe_action(action), run)

    def _list_commands_elsewhere(self, screen: str) -> Iterable[SystemCommand]:
        """What another screen can do; choosing it goes there first."""
        for action in list_actions(screen):
            if action.palette:
                run = partial(self.call_next, self._run_elsewhere, screen, action)
                yield SystemCommand(f"{screen.capitalize()}: {action.name}", _describe_action(action), run)

    async def _run_elsewhere(self, screen: str, action: Action) -> None:
        await self.switch_mode(screen)
        # A new screen has its widgets only once it is composed, and knows the models after a snapshot.
        self.pulse()
        room = self.screen_stack[0]
        room.call_after_refresh(self._run_there, action, room)

    async def _run_there(self, action: Action, room: Screen[object]) -> None:
        if room.check_action(action.method, ()) in (False, None):
            self.notify(f"{action.name}: not now.", severity="warning")
        else:
            await self.run_action(action.run, room)

    def _themer(self, name: str) -> Callable[[], None]:
        return lambda: self.call_next(self.use_theme, name)


def _describe_action(action: Action) -> str:
    """With its keys before it."""
    return f"{format_keys(action.keys)}: {action.help}" if action.keys else action.help
