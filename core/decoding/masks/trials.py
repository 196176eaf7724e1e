"""Trying forms before any model meets them, in processes of their own, and remembering what came of it."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import Final

import msgspec
from msgspec import Struct

from core.confined.process import CLOCK_FACTOR, ConfinedProcess, ProcessEnded, ProcessUnstarted
from core.decoding.masks.wire import REPORT_BYTES, FormFits, FormReport, FormUnfit, TryForm
from core.errors import Overloaded
from core.requests import MaskForm

FORM_SECONDS: Final = 3.0
"""Of the processor, that a form may take; a large one takes a tenth of it."""
MOST_KEPT_FORMS: Final = 512
"""Forms of which the outcome is remembered."""
MOST_KEPT_BYTES: Final = 32 << 20
"""That the remembered forms and grammars may have together."""
ENDED_SECONDS: Final = 60.0
"""For which a form that ended its process is not tried again: a busy machine may have been at fault."""


class UnfitForm(Exception):
    """The form cannot be enforced; the words are a sentence that says why."""


class _FormOutcome(Struct, frozen=True):
    report: FormReport
    size: int
    until: float | None
    """When it is forgotten, on the monotonic clock; None keeps it for as long as there is room."""


class FormTrials:
    """Tries forms for all models of a workbench. Safe to call from any thread; each call waits for its outcome.

    There are as many processes as calls at once, started when they are first needed.
    """

    def __init__(self, seconds: float = FORM_SECONDS) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._idle: list[ConfinedProcess[FormReport]] = []
        self._outcomes: OrderedDict[MaskForm, _FormOutcome] = OrderedDict()
        self._size = 0
        self._closed = False

    def write_grammar(self, form: MaskForm) -> str:
        """The form as the library's grammar, which is known to compile.

        Raises UnfitForm, and Overloaded where the machine has no room for a process to try it in.
        """
        report = self._remembered(form)
        if report is None:
            report, until = self._tried(form)
            outcome = _weigh_outcome(form, report, until)
            with self._lock:
                self._remember(form, outcome)
        if isinstance(report, FormUnfit):
            raise UnfitForm(report.words)
        return report.grammar

    def refuse(self, form: MaskForm, words: str) -> None:
        """Have `write_grammar` raise UnfitForm with these words for some time."""
        outcome = _weigh_outcome(form, FormUnfit(words), time.monotonic() + ENDED_SECONDS)
        with self._lock:
            if form in self._outcomes:
                self._forget(form)
            self._remember(form, outcome)

    def close(self) -> None:
        """End the idle processes; those that work end with their form. Idempotent."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for process in idle:
            process.end()

    def _tried(self, form: MaskForm) -> tuple[FormReport, float | None]:
        try:
            process = self._process()
            report = process.ask(TryForm(form), self._seconds, CLOCK_FACTOR * self._seconds)
        except UnicodeEncodeError as error:
            # Nothing of it was sent.
            self._give_back(process)
            raise UnfitForm("It holds half a surrogate pair, which is no character; send text as UTF-8.") from error
        except ProcessUnstarted as error:
            raise Overloaded(f"The trial of the answer's form {error}; ask again later.") from error
        except ProcessEnded as error:
            return FormUnfit(f"Compiling it {error}; make it smaller or simpler."), time.monotonic() + ENDED_SECONDS
        self._give_back(process)
        return report, None

    def _give_back(self, process: ConfinedProcess[FormReport]) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(process)
                return
        process.end()

    def _process(self) -> ConfinedProcess[FormReport]:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return ConfinedProcess("core.decoding.masks.worker", FormReport, REPORT_BYTES)  # type: ignore[arg-type]

    def _remembered(self, form: MaskForm) -> FormReport | None:
        with self._lock:
            outcome = self._outcomes.get(form)
            if outcome is None:
                return None
            if outcome.until is not None and time.monotonic() > outcome.until:
                self._forget(form)
                return None
            self._outcomes.move_to_end(form)
            return outcome.report

    # With the lock held.

    def _remember(self, form: MaskForm, outcome: _FormOutcome) -> None:
        if form in self._outcomes or outcome.size > MOST_KEPT_BYTES:
            return
        self._outcomes[form] = outcome
        self._size += outcome.size
        while len(self._outcomes) > MOST_KEPT_FORMS or self._size > MOST_KEPT_BYTES:
            self._forget(next(iter(self._outcomes)))

    def _forget(self, form: MaskForm) -> None:
        self._size -= self._outcomes.pop(form).size


def _weigh_outcome(form: MaskForm, report: FormReport, until: float | None) -> _FormOutcome:
    said = report.grammar if isinstance(report, FormFits) else report.words
    return _FormOutcome(report, len(said) + len(msgspec.msgpack.encode(form)), until)
