"""Textual's driver for terminals, with a reader of keys that nothing which is sent can end."""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Callable, Iterable, Iterator

from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver
from textual.events import Key, Resize
from textual.message import Message

from core.telemetry import log
from tui.terminal.intake import ESCAPE_HOLD_SECONDS, Intake

LOG = log.get_logger(__name__)
READ_BYTES = 4096
"""Bytes of a read, at most."""
MOST_CELLS = 5_000
"""Of a side of the screen."""
TICK_SECONDS = 0.1
"""Seconds between two looks at the clock while nothing comes."""


class KeyParser:
    """From text to messages. What Textual's parser cannot take costs that sequence alone."""

    def __init__(self) -> None:
        self._parser = XTermParser()

    def feed(self, text: str) -> Iterator[Message]:
        """The messages that `text` completes."""
        for index, part in enumerate(text.split("\x1b")):
            # An escape begins a sequence, so what follows a broken one is whole again there.
            whole = part if index == 0 else f"\x1b{part}"
            if whole:
                yield from self._tried(lambda whole=whole: self._parser.feed(whole))  # type: ignore[misc]

    def tick(self) -> Iterator[Message]:
        """The messages that are complete because nothing followed."""
        yield from self._tried(self._parser.tick)

    def _tried(self, step: Callable[[], Iterable[Message]]) -> Iterator[Message]:
        try:
            for message in step():
                if _possible(message):
                    yield message
        except Exception as error:  # noqa: BLE001 - the loop that reads keys must go on, whatever is sent
            LOG.error("a sequence from the terminal was not understood", cause=error)
            before, self._parser = self._parser, XTermParser()
            self._parser.mouse_pixels = before.mouse_pixels
            self._parser.terminal_size = before.terminal_size
            self._parser.terminal_pixel_size = before.terminal_pixel_size


def _possible(message: Message) -> bool:
    """Whether a terminal can mean it. Half a surrogate is no character, though a key's number may say so: it could not
    be encoded again. No screen has no cells, or more of them than memory."""
    match message:
        case Key(character=str(character)):
            return not "\ud800" <= character <= "\udfff"
        case Resize(size=size):
            return 0 < size.width <= MOST_CELLS and 0 < size.height <= MOST_CELLS
        case _:
            return True


class SteadyDriver(LinuxDriver):
    """For Linux and macOS."""

    def write(self, data: str) -> None:
        """Nothing while another program has the terminal: the app goes on behind it, and is drawn anew afterwards."""
        if self._writer_thread is not None and self._writer_thread.is_alive():
            super().write(data)

    def run_input_thread(self) -> None:
        """Read until the app ends, or the terminal is gone; then the app ends too."""
        intake, keys = Intake(), KeyParser()
        with selectors.SelectSelector() as selector:
            selector.register(self.fileno, selectors.EVENT_READ)
            while not self.exit_event.is_set():
                if selector.select(ESCAPE_HOLD_SECONDS if intake.waits else TICK_SECONDS):
                    if not (data := self._read()):
                        self._app.call_later(self._app.exit)
                        return
                    text = intake.take(data, time.monotonic())
                else:
                    text = intake.wait(time.monotonic())
                for message in (*keys.feed(text), *keys.tick()):
                    self.process_message(message)

    def _read(self) -> bytes:
        """Nothing where the terminal was hung up."""
        try:
            return os.read(self.fileno, READ_BYTES)
        except OSError:
            return b""
