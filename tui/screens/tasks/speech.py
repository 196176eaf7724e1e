"""Speech: an audio file in, what is said in it out, as it is heard."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.events import Paste
from textual.screen import ModalScreen

from core.errors import BenchtopError, Cancelled
from core.events import Event, Heard, SpeechSegment
from core.files import expand_home, has_file, read_regular, write_new
from core.foreign_text import make_printable
from core.requests import Transcription
from core.snapshots import ModelKind
from core.tasks.transcribe import Transcript, fold_transcript, format_markdown, format_srt, format_text, format_vtt
from tui import format as fmt
from tui import glyphs
from tui.dialogs.ask import Ask
from tui.screens.tasks.ask_audio import ask_audio
from tui.screens.tasks.task_model import TaskModel
from tui.terminal.dropped import read_dropped_path
from tui.widgets.gauge import Gauge
from tui.widgets.plain import Plain

if TYPE_CHECKING:
    from core.serving.stream import Stream
    from tui.session import Desk

MOST_FILE_BYTES: Final = 1 << 30
NAME_CHARACTERS: Final = 40
"""Of the file, beside what is told of it."""
AUDIO_SUFFIXES: Final = frozenset(
    (".aac", ".flac", ".m4a", ".mka", ".mkv", ".mov", ".mp3", ".mp4", ".oga", ".ogg", ".opus", ".wav", ".webm")
)
"""Of files that are offered; others are heard as well where they hold audio."""
WRITERS: Final[Mapping[str, Callable[[Transcript], str]]] = {
    ".srt": lambda whole: format_srt(whole.segments),
    ".vtt": lambda whole: format_vtt(whole.segments),
    ".txt": lambda whole: format_text(whole.segments),
    ".md": lambda whole: format_markdown(whole.segments),
}
"""By the suffix of the file that a transcript is exported to."""


@final
class SpeechScreen(ModalScreen[None]):
    """Hears one file after another, whichever is chosen or dropped here."""

    BINDINGS = [
        Binding("escape", "leave", "Stop, then close"),
        Binding("o", "choose", "Another file"),
        Binding("e", "export", "Export"),
        Binding("c", "copy", "Copy"),
        Binding("t", "translate", "In English or as spoken"),
    ]
    AUTO_FOCUS = "#heard"

    def __init__(self, desk: Desk, path: Path) -> None:
        super().__init__()
        self._desk = desk
        self._model = TaskModel(desk, ModelKind.TRANSCRIPTION)
        self._path = path
        self._translate = False
        self._stream: Stream | None = None
        self._events: list[Event] = []
        self._began = 0.0

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = "speech"
            dialog.border_subtitle = "o another file, e exports, c copies, t in English, escape leaves"
            yield Plain(id="about")
            yield Gauge("heard", steady=True, value_width=24, dom_id="share")
            yield VerticalScroll(id="heard")

    def on_mount(self) -> None:
        self.hear()

    @work(group="hear", exclusive=True)
    async def hear(self) -> None:
        """Write down the file, from its beginning."""
        self._events, self._began = [], time.monotonic()
        heard = self.query_one("#heard", VerticalScroll)
        await heard.remove_children()
        self._tell("reading the file")
        try:
            await self._hear_all(heard)
        except Cancelled:
            self._tell("stopped; what was heard so far stays")
        except BenchtopError as error:
            self._tell(str(error))
        finally:
            self._stream = None

    async def _hear_all(self, heard: VerticalScroll) -> None:
        audio = await asyncio.to_thread(read_audio, self._path)
        model = await self._model.find(self._tell)
        asked = Transcription(model, audio, translate=self._translate)
        self._tell(f"{model} listens")
        self._stream = stream = await self._desk.workbench.requests.submit(asked)
        async for batch in stream:
            self._events += batch
            for event in batch:
                if isinstance(event, Heard):
                    await self._show(event, heard)
        whole = fold_transcript(self._events)
        seconds = time.monotonic() - self._began
        language = f" in {whole.language}" if whole.language else ""
        length, pace = fmt.format_seconds(whole.duration), whole.duration / max(seconds, 1e-9)
        self._tell(f"{model}: {length} of audio{language}, heard in {fmt.format_seconds(seconds)}, {pace:.1f} a second")
        if not whole.text:
            await heard.mount(Plain("Nothing is said in it.", classes="quiet"))

    async def _show(self, event: Heard, heard: VerticalScroll) -> None:
        far = fmt.format_seconds(event.share * event.duration)
        self.query_one("#share", Gauge).show(event.share, f"{far} of {fmt.format_seconds(event.duration)}")
        lines = [_draw_segment(segment) for segment in event.segments if segment.text.strip()]
        if lines:
            at_end = heard.scroll_y >= heard.max_scroll_y
            await heard.mount(Plain(Content("\n").join(lines)))
            if at_end:
                heard.scroll_end(animate=False)

    def _tell(self, sentence: str) -> None:
        name = fmt.clip_text(self._path.name, NAME_CHARACTERS, glyphs.find_glyphs(self).cut)
        self.query_one("#about", Plain).update(Content.assemble((name, "bold"), "  ", (sentence, "$quiet")))

    @property
    def _transcript(self) -> Transcript:
        """Of what was heard so far."""
        return fold_transcript(event for event in self._events if isinstance(event, Heard))

    async def action_leave(self) -> None:
        """Stop what is under way; where nothing is, close."""
        if self._stream is not None:
            self._stream.cancel()
        else:
            self.dismiss()

    def action_choose(self) -> None:
        self.app.push_screen(ask_audio(AUDIO_SUFFIXES, self.take))

    def on_paste(self, event: Paste) -> None:
        """A file that is dropped here."""
        event.stop()
        path = read_dropped_path(event.text)
        problem = "That is no path of a file." if path is None else self.take(path)
        if problem:
            self.notify(problem, severity="warning", markup=False)

    def take(self, path: Path) -> str | None:
        """Hear this file next; a sentence where there is none."""
        if not has_file(path):
            return f"{make_printable(str(path))} is no file."
        if self._stream is not None:
            self._stream.cancel()
        self._path = path
        self.hear()
        return None

    def action_translate(self) -> None:
        self._translate = not self._translate
        self.notify("In English, whatever is spoken." if self._translate else "As it is spoken.")
        self.take(self._path)

    def action_copy(self) -> None:
        if text := self._transcript.text:
            self.app.copy_to_clipboard(make_printable(text, lines=True))
            self.notify(f"Copied {fmt.format_count(len(text))} characters.")
        else:
            self.notify("There is nothing to copy yet.", severity="warning")

    def action_export(self) -> None:
        if not self._transcript.segments:
            self.notify("There is nothing to export yet.", severity="warning")
            return
        suggested = Path.cwd() / f"{self._path.stem}.srt"
        kinds = ", ".join(WRITERS)
        self.app.push_screen(Ask(f"Export what was heard ({kinds})", str(suggested), self._write))

    def _write(self, answer: str) -> str | None:
        path = expand_home(answer)
        if (write := WRITERS.get(path.suffix.lower())) is None:
            return f"Give a name that ends in one of {', '.join(WRITERS)}."
        try:
            write_new(path, make_printable(write(self._transcript), lines=True))
        except FileExistsError:
            return f"{make_printable(str(path))} exists already; choose another name."
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            return f"{make_printable(str(path))} cannot be written: {why}."
        self.notify(f"Exported to {path}", markup=False)
        return None


def read_audio(path: Path) -> bytes:
    """A file's bytes. Touches the disk. Raises BenchtopError."""
    try:
        return read_regular(path, MOST_FILE_BYTES)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise BenchtopError(f"{make_printable(str(path))} cannot be read: {why}.") from error


def _draw_segment(segment: SpeechSegment) -> Content:
    return Content.assemble(
        (f"{fmt.format_seconds(segment.start) if segment.start >= 1 else '0 s':>7}  ", "$quiet"),
        make_printable(segment.text.strip()),
    )
