"""An app that an error does not end. What a handler, a timer, a worker or a widget's drawing raises is told in one
sentence and logged with its traceback; the widget it happened in takes its next message as if nothing had been.

Textual ends the app, and prints all local variables, at the first exception it meets anywhere; before that it ends the
message loop of the widget. It offers no public place to stand in between, so the few methods that its message pumps
call on themselves are taken over here, each on the very objects of this app.
"""

# ruff: noqa: SLF001 - see above

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar
from weakref import WeakSet

from textual import events
from textual._callback import invoke
from textual._context import active_message_pump
from textual.app import App, ScreenStackError
from textual.css.query import NoMatches
from textual.dom import DOMNode, NoScreen
from textual.geometry import Region, Size
from textual.message import Message
from textual.message_pump import CallbackError, MessagePump
from textual.screen import Screen
from textual.strip import Strip
from textual.visual import Visual, visualize
from textual.widget import AwaitMount, Widget
from textual.worker import WorkerFailed

from tui.mishaps import Mishaps, describe_mishap

Handler = Callable[[Message], Awaitable[Any]]


class BrokenOff(Exception):
    """Something that was awaited was cancelled, and whoever awaited it was not."""


class Covered:
    """A handler of one message, which raises nothing."""

    _param_count: ClassVar[int] = 1
    """Textual counts parameters by inspection, which is slow, unless it is told."""

    def __init__(self, app: UnbreakableApp, pump: MessagePump, handler: Handler) -> None:
        self._app = app
        self._pump = pump
        self._handler = handler

    async def __call__(self, message: Message) -> None:
        with self._app.caught(self._pump):
            await invoke(self._handler, message)


class UnbreakableApp(App[None]):
    """`fault` says why it ended all the same: it could not be set up, or no screen of it can be shown."""

    log_file: Path | None = None
    """Where the log is, for sentences that say so."""

    def __init__(self) -> None:
        super().__init__()
        self.fault: Exception | None = None
        self._mishaps = Mishaps()
        self._looping = False
        self._composing: WeakSet[MessagePump] = WeakSet()
        self._abandoned: WeakSet[Screen[Any]] = WeakSet()
        """Screens that could not be composed; what else fails there is no news."""
        self._unfit: set[str] = set()
        """Modes whose screen could not be composed the last time."""

    # What is told.

    @contextmanager
    def caught(self, pump: MessagePump) -> Iterator[None]:
        """Nothing is raised out of this, save what ends a task from outside."""
        try:
            yield
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            broken = BrokenOff("what it waited for was cancelled")
            self._mishap(broken.with_traceback(error.__traceback__), pump)
        except Exception as error:  # noqa: BLE001 - the edge of every loop of the app, where it is logged and told
            self._mishap(error, pump)

    def _mishap(self, error: Exception, pump: MessagePump) -> None:
        error = _cause(error)
        screen = _screen_of(pump)
        if screen is not None and screen is pump and pump in self._composing:
            self._composing.discard(pump)
            self._abandoned.add(screen)
            self._mishaps.log(error, repr(screen))
            self.call_later(self._give_up, screen, error)
            return
        going = not self._running or screen is None or not pump.is_running
        if going and isinstance(error, (NoMatches, NoScreen, ScreenStackError)):
            # What is taken down while something is under way has lost its children; nothing is amiss.
            return
        fresh = self._mishaps.log(error, repr(pump))
        if not fresh or self._exit or not self._looping or screen in self._abandoned:
            return
        if self._mishaps.may_tell():
            self._tell(describe_mishap(error, _part(screen), self.log_file))

    def _tell(self, sentence: str) -> None:
        try:
            self.notify(sentence, severity="error", timeout=12, markup=False)
        except Exception as error:  # noqa: BLE001 - telling of one error must not be the next one
            self._mishaps.log(error, "telling")

    def _handle_exception(self, error: Exception) -> None:
        """Where Textual itself catches what was raised."""
        pump = active_message_pump.get(self)
        if pump is self and not self._looping and not self._exit:
            self._end(error)
        else:
            self._mishap(error, pump)

    def _end(self, error: Exception) -> None:
        """It cannot go on. Whoever ran it finds `fault`, and tells of it once the terminal is as it was."""
        self.fault = error
        self._return_code = 1
        if self._exception is None:
            self._exception = error
            self._exception_event.set()
        self._mishaps.log(error, repr(self))
        self._close_messages_no_wait()

    # The app's own loop.

    async def _process_messages_loop(self) -> None:
        self._looping = True
        try:
            await super()._process_messages_loop()
        finally:
            self._looping = False

    def _get_dispatch_methods(
        self, method_name: str, message: Message
    ) -> Iterable[tuple[type, Callable[[Message], Awaitable[Any]]]]:
        for owner, handler in super()._get_dispatch_methods(method_name, message):
            yield owner, handler if isinstance(message, events.Compose) else Covered(self, self, handler)

    async def _dispatch_message(self, message: Message) -> None:
        if isinstance(message, (events.Load, events.Compose)):
            await super()._dispatch_message(message)
            return
        with self.caught(self):
            await super()._dispatch_message(message)

    async def _flush_next_callbacks(self) -> None:
        await self._run_callbacks(self)

    async def _run_callbacks(self, pump: MessagePump) -> None:
        """As Textual's own, which forgets the callbacks behind one that fails."""
        callbacks = pump._next_callbacks.copy()
        pump._next_callbacks.clear()
        for callback in callbacks:
            with self.caught(pump), pump.prevent(*callback._prevent):
                await invoke(callback.callback)

    def _check_action_state(self, action: str, default_namespace: DOMNode) -> bool | None:
        """The footer asks for all actions at once; one that cannot be told of is not to be had."""
        with self.caught(default_namespace):
            return super()._check_action_state(action, default_namespace)
        return False

    async def _dispatch_action(self, namespace: DOMNode, action_name: str, params: Any) -> bool:
        """An action belongs to a screen or a widget, though the app runs it."""
        with self.caught(namespace):
            return await super()._dispatch_action(namespace, action_name, params)
        return True

    # Every widget.

    def _register_child(self, parent: DOMNode, child: Widget, before: int | None, after: int | None) -> None:
        super()._register_child(parent, child, before, after)
        if "_dispatch_message" not in vars(child):
            self._cover(child)

    def _cover(self, widget: Widget) -> None:
        find, dispatch = widget._get_dispatch_methods, widget._dispatch_message
        mounted: Callable[[], None] = widget._post_mount

        def covered(method_name: str, message: Message) -> Iterable[tuple[type, Handler]]:
            for owner, handler in find(method_name, message):
                yield owner, Covered(self, widget, handler)

        async def dispatched(message: Message) -> None:
            if isinstance(message, events.Compose):
                self._composing.add(widget)
            with self.caught(widget):
                await dispatch(message)
            self._composing.discard(widget)

        def post_mount() -> None:
            # Watchers are called for the first time.
            with self.caught(widget):
                mounted()

        async def flush() -> None:
            await self._run_callbacks(widget)

        taken: dict[str, Callable[..., object]] = {
            "_get_dispatch_methods": covered,
            "_dispatch_message": dispatched,
            "_flush_next_callbacks": flush,
            "_post_mount": post_mount,
            **self._drawing(widget),
        }
        if isinstance(widget, Screen):
            taken["_invoke_later"] = self._later(widget)
        for name, method in taken.items():
            setattr(widget, name, method)

    def _later(self, screen: Screen[Any]) -> Callable[..., None]:
        """One callback that fails after a refresh would take those behind it along."""
        later = screen._invoke_later

        def put(callback: Callable[[], Any], sender: MessagePump) -> None:
            async def call() -> None:
                with self.caught(sender):
                    await invoke(callback)

            later(call, sender)

        return put

    def _drawing(self, widget: Widget) -> dict[str, Callable[..., object]]:
        """A widget that cannot be drawn is blank; without this nothing around it would be drawn either."""
        render, lines = widget._render, widget.render_lines
        width, height = widget.get_content_width, widget.get_content_height

        def rendered() -> Visual:
            with self.caught(widget):
                return render()
            return visualize(widget, "", markup=False)

        def drawn(crop: Region) -> list[Strip]:
            with self.caught(widget):
                return lines(crop)
            return [Strip.blank(crop.width)] * crop.height

        def wide(container: Size, viewport: Size) -> int:
            with self.caught(widget):
                return width(container, viewport)
            return 0

        def high(container: Size, viewport: Size, given: int) -> int:
            with self.caught(widget):
                return height(container, viewport, given)
            return 1

        return {"_render": rendered, "render_lines": drawn, "get_content_width": wide, "get_content_height": high}

    # Screens that cannot be shown.

    def _init_mode(self, mode: str) -> AwaitMount:
        """At the start another screen will do; later `switch_mode` tells."""
        try:
            return super()._init_mode(mode)
        except Exception as error:
            if self._looping or self._unfit.issuperset(self._modes):
                raise
            self._unfit.add(mode)
            self._mishaps.log(error, mode)
            other = next((each for each in self._modes if each not in self._unfit), None)
            if other is None:
                raise
            self._current_mode = other
            # Found, not made, by what Textual looks for before the screen stands in it.
            self._screen_stacks.pop(mode, None)
            self._screen_stacks[other] = []
            self.call_later(self._tell, describe_mishap(error, f"the {mode} screen", self.log_file))
            return self._init_mode(other)

    def switch_mode(self, mode: str) -> AwaitMount:
        """As ever; where the screen cannot be made, the one there is stays."""
        before = self._current_mode
        self._unfit.discard(mode)
        try:
            return super().switch_mode(mode)
        except Exception as error:
            if mode not in self._modes or self._current_mode != before:
                raise
            self.screen.post_message(events.ScreenResume())
            self._mishaps.log(error, mode)
            self._tell(describe_mishap(error, f"the {mode} screen", self.log_file))
            return AwaitMount(self.screen, [])

    def _give_up(self, screen: Screen[Any], error: Exception) -> None:
        """Leave a screen that could not be composed, for one that can be seen; it is made anew the next time."""
        mode = next((mode for mode, stack in self._screen_stacks.items() if screen in stack), None)
        if mode is None or mode not in self._modes:
            return
        if self._screen_stacks[mode][0] is not screen:
            if self.screen is screen:
                self.pop_screen()
            self._tell(describe_mishap(error, "a dialog", self.log_file))
            return
        self._unfit.add(mode)
        if mode == self._current_mode and not any(self._shows(other) for other in self._fit_modes()):
            self._end(error)
            return
        factory = self._modes[mode]
        self.remove_mode(mode)
        self._modes[mode] = factory
        self._tell(describe_mishap(error, f"the {mode} screen", self.log_file))

    def _fit_modes(self) -> list[str]:
        """Those that were not tried in vain; first the ones whose screen is there already."""
        fit = [mode for mode in self._modes if mode not in self._unfit]
        return sorted(fit, key=lambda mode: not self._screen_stacks.get(mode))

    def _shows(self, mode: str) -> bool:
        """Whether it could be gone to."""
        try:
            super().switch_mode(mode)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next one is tried
            self._unfit.add(mode)
            self._mishaps.log(error, mode)
            return False
        return True


def _cause(error: Exception) -> Exception:
    """What was raised, out of what Textual wraps it in."""
    if isinstance(error, WorkerFailed) and isinstance(error.error, Exception):
        return error.error
    if isinstance(error, CallbackError) and isinstance(error.__context__, Exception):
        return error.__context__
    return error


def _screen_of(pump: MessagePump) -> Screen[Any] | None:
    if not isinstance(pump, DOMNode):
        return None
    return next((node for node in pump.ancestors_with_self if isinstance(node, Screen)), None)


def _part(screen: Screen[Any] | None) -> str:
    name = getattr(screen, "NAME", "")
    return f"the {name} screen" if name else "the app"
