"""What a supervisor and the server that it starts tell each other: a handover on the way in, a journal on the way out.

The journal is a small file that the server writes over and over, one record in one write: whatever a process dies of,
its last record is whole.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, Protocol

import msgspec
from msgspec import Struct

VARIABLE: Final = "_BENCHTOP_SUPERVISED"
"""Of the environment; the server takes it out before it starts anything itself."""


class Past(Struct, frozen=True):
    """What became of a server's predecessors."""

    restarts: int = 0
    last_death: str = ""
    """A sentence; empty while none has died."""
    refused: Mapping[str, str] = {}
    """Models that are not to be loaded, since loading or serving them ended the process, each with the reason."""


class Handover(Struct, frozen=True):
    """What a server is started with."""

    past: Past
    journal: str
    """Where it keeps its `Note`."""
    port: int
    """The one to listen on, also where a free one was asked for."""
    sockets: tuple[int, ...] = ()
    """Descriptors that listen already; none where they cannot be inherited."""
    ollama_port: int | None = None
    """The one for Ollama's clients, where they have one."""
    ollama_sockets: tuple[int, ...] = ()
    """Descriptors that listen there."""
    made_key: str | None = None
    """The key of this run, where none was given and one is needed."""


class Note(Struct, frozen=True):
    """What a server was about when it wrote this."""

    loading: tuple[str, ...] = ()
    """Models, by name."""
    requests: Mapping[str, int] = {}
    """How many each model had."""
    outside: str = ""
    """What outside of the process ended it, in a sentence; empty where nothing is known of such a thing."""


class Witness(Protocol):
    """Told by a workbench what may be the last it does. From any thread."""

    def loading(self, model: str) -> None: ...

    def loaded(self, model: str) -> None: ...

    def asked(self, model: str) -> None: ...

    def ending(self, why: str) -> None:
        """Something outside is about to end the process."""
        ...


class NoWitness:
    """The witness of a server without a supervisor: it writes nothing."""

    def loading(self, model: str) -> None:
        pass

    loaded = asked = ending = loading


class ServerJournal:
    """A `Witness` that writes all down at once. What cannot be written is left: the server matters more."""

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO | None
        try:
            self._file = path.open("r+b", buffering=0)
        except OSError:
            self._file = None
        self._lock = threading.Lock()
        self._loading: list[str] = []
        self._requests: Counter[str] = Counter()
        self._outside = ""

    def loading(self, model: str) -> None:
        with self._changed():
            self._loading.append(model)

    def loaded(self, model: str) -> None:
        """It is in memory, or will not be."""
        with self._changed():
            self._loading.remove(model)

    def asked(self, model: str) -> None:
        with self._changed():
            self._requests[model] += 1

    def ending(self, why: str) -> None:
        with self._changed():
            self._outside = why

    def settle(self, requests: Mapping[str, int]) -> None:
        """The requests that there are now."""
        if requests != self._requests:
            with self._changed():
                self._requests = Counter(requests)

    @contextmanager
    def _changed(self) -> Iterator[None]:
        with self._lock:
            yield
            if self._file is None:
                return
            running = {model: count for model, count in self._requests.items() if count}
            note = Note(tuple(self._loading), running, self._outside)
            try:
                self._file.seek(0)
                self._file.write(msgspec.json.encode(note) + b"\n")
            except OSError:
                self._file = None


def read_note(path: Path) -> Note:
    """The last record of a journal; an empty record where the journal is empty."""
    try:
        return msgspec.json.decode(path.read_bytes().split(b"\n", 1)[0], type=Note)
    except (OSError, msgspec.MsgspecError):
        return Note()


def take_handover() -> Handover | None:
    """The supervision that this process was started with; None without a supervisor, and from the second call on."""
    told = os.environ.pop(VARIABLE, None)
    return None if told is None else msgspec.json.decode(told, type=Handover)
